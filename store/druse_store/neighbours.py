"""What other processes of this machine have in hand over the same store, so that work is divided.

One file, `claims`, of which nothing is ever read or written: processes lock bytes of it. A shared
lock on the first byte says that a process is at work; an exclusive one on a byte that a digest
names says that it is computing what the digest stands for. The kernel drops a process's locks when
it ends, however it ends, and a forked child has none. They are advice: without the file, or within
one process, everybody works for themselves, and what is computed twice is stored once.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from druse_store import disk
from druse_store.digest import Digest

if TYPE_CHECKING:
    from druse_store.store import Store

_PRESENT = 0
_LOOK_AGAIN = 0.01  # seconds


class Neighbours:
    """The claims of one process. Thread-safe. Use it as a context, or close it."""

    def __init__(self, store: Store) -> None:
        path, mode = store.path / "claims", store._session.location.file_mode
        self._seen = False
        self._looked = 0.0
        self._mine: set[Digest] = set()
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError:
            self._fd = -1
            return
        if mode is not None and os.fstat(self._fd).st_uid == os.geteuid():
            os.fchmod(self._fd, mode)
        disk.close_in_child(self)
        self._look()

    @property
    def were_there(self) -> bool:
        """Whether another process is at work, or was since this one began."""
        if not self._seen and time.monotonic() - self._looked > _LOOK_AGAIN:
            self._look()
        return self._seen

    def _look(self) -> None:
        self._looked = time.monotonic()
        self._seen = not self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB, _PRESENT)
        self._lock(fcntl.LOCK_SH, _PRESENT)

    def take(self, work: Digest) -> bool:
        """Whether this work is ours to do; `give_back` ends that."""
        if not self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB, _place(work)):
            return False
        self._mine.add(work)
        return True

    def has_taken(self, work: Digest) -> bool:
        """Whether another process has this work in hand."""
        if work in self._mine:
            return False
        if not self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB, _place(work)):
            return True
        self._lock(fcntl.LOCK_UN, _place(work))
        return False

    def give_back(self, works: Iterable[Digest]) -> None:
        """These works are done, and what came of them is durable; or they are given up."""
        if not self._mine:
            return
        for work in works:
            self._mine.discard(work)
            self._lock(fcntl.LOCK_UN, _place(work))

    def _lock(self, kind: int, place: int) -> bool:
        if self._fd < 0:
            return True
        try:
            fcntl.lockf(self._fd, kind, 1, place)
        except (BlockingIOError, PermissionError):  # both are what POSIX calls a conflict
            return False
        except OSError:  # no locks are left, or the filesystem has none
            return True
        return True

    def close(self) -> None:
        """Gives everything up."""
        self.leave_to_parent()

    def leave_to_parent(self) -> None:
        """In a forked child, which has none of the locks: closes its copy of the descriptor."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Neighbours:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _place(work: Digest) -> int:
    return 1 + int.from_bytes(work[:8], "little") % (2**62)
