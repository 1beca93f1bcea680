"""Python's search for cycles, put off where many new objects that hold none are made."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


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
            gc.enable()
