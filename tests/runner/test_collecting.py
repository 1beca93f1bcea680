from __future__ import annotations

import gc
import threading

import pytest

from druse.collecting import seldom_collected, uncollected


def test_the_oldest_objects_are_searched_seldom_while_a_run_goes_on() -> None:
    before = gc.get_threshold()
    with seldom_collected():
        young, middle, old = gc.get_threshold()
        assert (young, middle) == before[:2]
        assert old >= 100
    assert gc.get_threshold() == before


def test_runs_that_overlap_leave_the_thresholds_as_the_first_one_found_them() -> None:
    before = gc.get_threshold()
    goes_on, ends = threading.Event(), threading.Event()

    def run() -> None:
        with seldom_collected():
            goes_on.set()
            ends.wait(30)

    thread = threading.Thread(target=run)
    with seldom_collected():
        thread.start()
        assert goes_on.wait(30)
    assert gc.get_threshold()[2] >= 100
    ends.set()
    thread.join()
    assert gc.get_threshold() == before


@pytest.mark.skipif(gc.get_freeze_count() > 0, reason="this Python freezes objects of its own")
def test_what_is_made_in_great_numbers_is_old_at_once() -> None:
    with uncollected():
        made = [[n] for n in range(20_000)]
    assert any(each is made for each in gc.get_objects(generation=2))
    assert gc.get_count()[0] < 10_000


def test_what_others_have_frozen_stays_frozen() -> None:
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with uncollected():
            made = [[n] for n in range(20_000)]
        assert gc.get_freeze_count() > frozen // 2
        assert len(made) == 20_000
    finally:
        gc.unfreeze()
