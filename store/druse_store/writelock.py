"""The lock that stands before LMDB's write transaction, and names who holds it.

LMDB's own lock blocks without heeding signals, and for ever behind a process that was stopped.
This one is polled, says after 5 seconds whom it waits for, and gives up after a minute. The file
also says which log segment its holder is about to append to: whoever finds that still set knows
that the last holder died there, and cuts the frame that was never committed.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from druse_store import disk
from druse_store.errors import StoreBusy, StoreClosed

_NOTE = struct.Struct("<I8s")
_NOBODY = bytes(8)
_FIRST_PAUSE = 0.0002
_LONGEST_PAUSE = 0.005
_NAME_AFTER = 5.0
_GIVE_UP_AFTER = 60.0


class WriteLock:
    """Held by at most one thread of one process of the machine."""

    def __init__(self, path: Path, mode: int | None) -> None:
        self.path = path
        self._thread = threading.Lock()
        with disk.translated("opening", path):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            if mode is not None and os.fstat(self._fd).st_uid == os.getuid():
                os.fchmod(self._fd, mode)
        disk.close_in_child(self)

    def __enter__(self) -> bytes:
        """Waits for the lock. Returns the id of the segment that a dead holder left, or zeros."""
        if not self._thread.acquire(timeout=_GIVE_UP_AFTER):
            raise StoreBusy(f"another thread of this process holds {self.path}")
        try:
            return self._take()
        except BaseException:
            self._thread.release()
            raise

    @contextmanager
    def held(self) -> Iterator[None]:
        """For what appends nothing to the log: a note of a dead holder stays for the next one."""
        left = self.__enter__()
        try:
            self.note(left)
            yield
        finally:
            self.__exit__(None, None, None)

    def _take(self) -> bytes:
        if self._fd < 0:
            raise StoreClosed("this store has been closed")
        self._wait()
        data = os.pread(self._fd, _NOTE.size, 0)
        left = _NOTE.unpack(data)[1] if len(data) == _NOTE.size else _NOBODY
        self.note(left)
        return bytes(left)

    def note(self, segment: bytes) -> None:
        """Says who holds the lock, and which segment is about to be appended to."""
        with disk.translated("writing", self.path):
            os.pwrite(self._fd, _NOTE.pack(os.getpid(), segment), 0)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # An unlock, not a close: the file stays open. A forked child has closed its copy.
        try:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        finally:
            self._thread.release()

    def _wait(self) -> None:
        pause, began, named = _FIRST_PAUSE, time.monotonic(), False
        while not disk.try_lock(self._fd):
            waited = time.monotonic() - began
            if waited > _GIVE_UP_AFTER:
                raise StoreBusy(
                    f"{self._holder()} has been writing to the store for {waited:.0f} s and may "
                    "be stopped: let it go on (`kill -CONT`), or end it, then try again"
                )
            if waited > _NAME_AFTER and not named:
                self._warn()
                named = True
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _warn(self) -> None:
        import logging  # ten milliseconds that hardly any process needs

        logging.getLogger("druse_store").warning(
            "waiting to write: %s holds %s", self._holder(), self.path
        )

    def _holder(self) -> str:
        data = os.pread(self._fd, _NOTE.size, 0)
        return f"process {_NOTE.unpack(data)[0]}" if len(data) == _NOTE.size else "a process"

    def leave_to_parent(self) -> None:
        """In a forked child: closes its copy of the descriptor, and nothing else."""
        self.close()

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
