"""Work that several threads draw from one source."""

import threading
import time

import pytest

from druse_store import parallel


@pytest.mark.parametrize("count", [0, 1, 2, 3, 500])
def test_results_come_in_the_order_of_the_items(count):
    def work(item):
        time.sleep(item % 3 / 10_000)
        return item * 2

    assert parallel.spread(work, range(count)) == [2 * item for item in range(count)]


def test_several_threads_take_part_and_one_at_a_time_draws():
    drawing = threading.Lock()
    seen = set()
    together = threading.Barrier(2)

    def items():
        for item in range(50):
            assert drawing.acquire(blocking=False)
            time.sleep(0.0001)
            drawing.release()
            yield item

    def work(item):
        seen.add(threading.get_ident())
        if item < 2:
            together.wait(10)
        time.sleep(0.001)

    parallel.spread(work, items())
    assert len(seen) > 1


@pytest.mark.parametrize("bad", [0, 1, 7, 99])
@pytest.mark.parametrize("where", ["work", "items"])
def test_an_error_ends_the_work_and_is_raised_once_nobody_works_any_more(bad, where):
    working = []

    def check(item, here):
        if item == bad and where == here:
            raise ValueError("bad")

    def items():
        for item in range(100):
            check(item, "items")
            yield item

    def work(item):
        working.append(item)
        check(item, "work")
        time.sleep(0.001)
        working.remove(item)

    with pytest.raises(ValueError, match="bad"):
        parallel.spread(work, items())
    assert [item for item in working if item != bad or where != "work"] == []
    assert parallel.spread(abs, [-1, -2, -3]) == [1, 2, 3]


def test_threads_that_are_busy_elsewhere_are_not_waited_for():
    go_on = threading.Event()
    busy = [parallel.pool().submit(go_on.wait, 10) for _ in range(parallel.cores())]
    try:
        assert parallel.spread(abs, [-1, -2, -3]) == [1, 2, 3]
        assert not busy[0].done()
    finally:
        go_on.set()
