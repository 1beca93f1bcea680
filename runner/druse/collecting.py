"""Python's search for cycles, put off where many new objects that hold none are made."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_MANY = 10_000  # objects


@contextmanager
def uncollected() -> Iterator[None]:
    """Within the block, nothing is searched: with 100,000 cells that would take most of the time.

    Keep the block short, and let no cell run in it.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            _keep_what_was_made()
            gc.enable()


def _keep_what_was_made() -> None:
    """Many new objects are old at once, so that nothing goes through all of them for being young.

    To be thawed is to be old; what others have frozen stays as it is.
    """
    if gc.get_count()[0] > _MANY and not gc.get_freeze_count():
        gc.freeze()
        gc.unfreeze()


_SELDOM = 100  # searches of the middle generation before one of everything; Python's own: 10
_lock = threading.Lock()
_under_way: list[tuple[int, int, int]] = []  # the thresholds, for each block that is under way
_is_frozen = False


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Within the block, only the oldest objects are searched more seldom than otherwise.

    What a run knows of its cells grows, and holds no cycles; what cells leave behind is found by
    the searches among young objects, which stay as they are. What is there as the block begins (the
    plan, for the most part) is not searched at all in it. Blocks may overlap.
    """
    global _is_frozen  # noqa: PLW0603 - there is one collector
    with _lock:
        found = _under_way[0] if _under_way else gc.get_threshold()
        if not _under_way and gc.get_freeze_count() == 0:  # else somebody has plans of their own
            gc.freeze()
            _is_frozen = True
        _under_way.append(found)
        gc.set_threshold(found[0], found[1], max(found[2], _SELDOM))
    try:
        yield
    finally:
        with _lock:
            before = _under_way.pop()
            if not _under_way:
                if _is_frozen:
                    gc.unfreeze()
                    _is_frozen = False
                gc.set_threshold(*before)
