"""The lock that stands before LMDB's write transaction, and names who holds it.

LMDB's own lock blocks without heeding signals, and for ever behind a process that was stopped.
This one is polled, says after 5 seconds whom it waits for, and gives up after a minute. Time in
which the waiting process did not run is left out (a whole job is stopped, or the machine stands
still), and a holder that waits for its disk is waited for longer.

The file also says which log segment its holder is about to append to: whoever finds that still set
knows that the last holder died there, and cuts the frame that was never committed.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
_DISK_GIVE_UP_AFTER = 600.0  # behind a holder that waits for its disk
_STILL = 1.0  # seconds between two looks: if it was more, this process did not run


class _Patience:
    """The seconds that somebody waited: from look to look, without those that it slept through."""

    def __init__(self) -> None:
        self.waited = self.before = 0.0
        self._last = time.monotonic()

    def look(self) -> float:
        now = time.monotonic()
        self.waited += min(now - self._last, _STILL)
        self._last = now
        return self.waited

    def begin_anew(self) -> None:
        self.before += self.waited
        self.waited = 0.0


class WriteLock:
    """Held by at most one thread of one process of the machine."""

    def __init__(self, path: Path, mode: int | None) -> None:
        self.path = path
        self._thread = threading.RLock()  # one that knows its owner, see `__enter__`
        self._owner = 0  # the thread that has it
        with disk.translated("opening", path):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            if mode is not None and os.fstat(self._fd).st_uid == os.getuid():
                os.fchmod(self._fd, mode)
        disk.close_in_child(self)

    def __enter__(self) -> bytes:
        """Waits for the lock. Returns the id of the segment that a dead holder left, or zeros."""
        if self._owner == threading.get_ident():  # it would wait for itself
            raise StoreBusy(f"this thread holds {self.path} already")
        try:
            self._wait_for_threads()
            return self._take()
        except BaseException:
            self._give_back()
            raise

    def _wait_for_threads(self) -> None:
        patience = _Patience()
        while not self._thread.acquire(timeout=min(_STILL, _GIVE_UP_AFTER) / 2):
            if patience.look() > _GIVE_UP_AFTER:
                self._give_up(patience)
        self._owner = threading.get_ident()

    def _give_back(self) -> None:
        """Whatever this thread has of it: an interrupt may come right behind what it waited for."""
        if not self._thread.acquire(blocking=False):
            return  # another thread has it
        self._owner = 0
        if self._fd >= 0:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        with suppress(RuntimeError):  # once, or twice
            while True:
                self._thread.release()

    def _leave(self) -> None:
        self._owner = 0
        self._thread.release()

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
        if data != _NOTE.pack(os.getpid(), left):
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
            self._leave()

    def _wait(self) -> None:
        pause, patience, named = _FIRST_PAUSE, _Patience(), False
        while not disk.try_lock(self._fd):
            waited = patience.look()
            if waited > _GIVE_UP_AFTER:
                self._give_up(patience)
            if waited > _NAME_AFTER and not named:
                self._warn()
                named = True
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _give_up(self, patience: _Patience) -> None:
        """Raises StoreBusy, unless it is the disk that is waited for, and not for too long."""
        holder, waited = self._holder(), patience.before + patience.waited
        if holder and _waits_for_disk(holder):
            if waited <= _DISK_GIVE_UP_AFTER:
                patience.begin_anew()
                return
            raise StoreBusy(
                f"process {holder} holds the store's write lock and has waited for the disk for "
                f"{waited:.0f} s: look at the disk's health, then try again"
            )
        if holder == os.getpid():
            raise StoreBusy(f"another thread of this process holds {self.path}")
        raise StoreBusy(
            f"{_named(holder)} holds the store's write lock, which was not to be had for "
            f"{waited:.0f} s, and may be stopped: let it go on (`kill -CONT`), or end it, then try "
            "again"
        )

    def _warn(self) -> None:
        import logging  # ten milliseconds that hardly any process needs

        logging.getLogger("druse_store").warning(
            "waiting to write: %s holds %s", _named(self._holder()), self.path
        )

    def _holder(self) -> int:
        """The process that has it; 0 if that is not to be read."""
        data = b"" if self._fd < 0 else os.pread(self._fd, _NOTE.size, 0)
        return int(_NOTE.unpack(data)[0]) if len(data) == _NOTE.size else 0

    def leave_to_parent(self) -> None:
        """In a forked child: closes its copy of the descriptor, and nothing else."""
        self.close()

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _named(holder: int) -> str:
    return f"process {holder}" if holder else "a process"


def _waits_for_disk(process: int) -> bool:
    """Whether a thread of a process is in a sleep that no signal ends (Linux says so)."""
    for path in Path(f"/proc/{process}/task").glob("*/stat"):
        with suppress(OSError):
            if path.read_text("utf-8", "replace").rpartition(")")[2].split()[0] == "D":
                return True
    return False
