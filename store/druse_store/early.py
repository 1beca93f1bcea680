"""Making a file durable while it is being written, so that the end has little left to wait for."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

_EVERY = 16 << 20  # bytes


class EarlySync:
    """Syncs a file in the background as it grows. Counts only once `wait` has returned, and what
    was written meanwhile still needs a sync of its own."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._begun = 0
        self._running: threading.Thread | None = None
        self._error: OSError | None = None

    def start_at(self, end: int) -> None:
        """Says that the file is durable up to here."""
        self._begun = end

    def written(self, end: int) -> None:
        """Says that the file is written up to here; now and then, begins to sync it."""
        if end - self._begun >= _EVERY:
            self.begin(end)

    def begin(self, end: int) -> None:
        """Begins to sync what is written, which is all up to `end`."""
        before, self._begun = self._running, end

        def work() -> None:
            if before is not None:
                before.join()
            try:
                os.fdatasync(self._fd)
            except OSError as error:
                self._error = self._error or error

        running = threading.Thread(target=work, name="druse-sync", daemon=True)
        with suppress(RuntimeError):  # no thread is to be had: then the end has more to wait for
            running.start()  # before others see it: what has not started cannot be waited for
            self._running = running

    def wait(self) -> None:
        """Until nothing that was begun goes on: then the file may be closed."""
        running = self._running
        if running is not None:  # kept, since others may have begun another one meanwhile
            running.join()

    def check(self) -> None:
        """Raises the error of an early sync: the kernel reports a failed write-back only once."""
        if self._error is not None:
            raise self._error

    def leave_to_parent(self) -> None:
        """In a forked child, where the thread is not."""
        self._running = None
