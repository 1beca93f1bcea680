from __future__ import annotations

import gc
import threading

from druse.collecting import seldom_collected


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
