"""Who may change what a run knows: one thread at a time.

The run's own thread has the floor, and leaves it while it executes a cell itself. A few short cells
are executed one after the other before what came of them is taken in, which is faster than going
to and fro. Where one of them turns out to take long, the thread that commits takes the floor, so
that those before it do not wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress


class Floor:
    """As a context, held by the run's own thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.since: float | None = None  # when the oldest news that wait came
        self.on_note: Callable[[], None] = lambda: None

    def leave(self) -> None:
        """Before a cell is executed in this thread."""
        self._lock.release()

    def take(self, timeout: float = -1) -> bool:
        """Waits for the floor, for so many seconds at most. Whether it was to be had."""
        return self._lock.acquire(timeout=timeout)

    def note(self) -> None:
        """News wait to be taken in."""
        if self.since is None:
            self.since = time.monotonic()
            self.on_note()

    def forget(self) -> None:
        """All news are being taken in."""
        self.since = None

    def __enter__(self) -> Floor:
        self._lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(RuntimeError):  # a Ctrl-C came just before it was taken back
            self._lock.release()
