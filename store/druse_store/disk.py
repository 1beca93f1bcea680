"""The edge to the operating system: its errors translated, durable small files, flocks."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from druse_store.errors import (
    AccessDenied,
    DiskFull,
    ReadOnlyStore,
    StorageFailed,
    StoreError,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer

_PARTS = 1000  # of one call: systems take 1024
FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_DENIED = frozenset((errno.EACCES, errno.EPERM))
_MISNAMED = frozenset((errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG))


def os_error(error: OSError, doing: str, path: object) -> StoreError:
    """The error of ours that says what `error` means for the one who was `doing` this."""
    what = f"{doing} {path}: {os.strerror(error.errno) if error.errno else error}"
    if error.errno in FULL:
        return DiskFull(f"{what}. Free some space (`druse gc --now` does), then try again")
    if error.errno in _DENIED:
        return AccessDenied(f"{what}. Check who owns the store, and its group and modes")
    if error.errno == errno.EROFS:
        return ReadOnlyStore(f"{what}. Only reading works here")
    if error.errno in _MISNAMED:
        return StorageFailed(f"{what}. Look at the path")
    return StorageFailed(f"{what}. Nothing that was durable is lost; look at the disk's health")


@contextmanager
def translated(doing: str, path: object) -> Iterator[None]:
    """Turns an OSError of the block into one of ours."""
    try:
        yield
    except OSError as error:
        raise os_error(error, doing, path) from error


class OpenFile:
    """A descriptor that is closed once nobody works with it any more, in whatever thread.

    Its number may be another file's a moment later, so that nothing may be written to it then.
    """

    __slots__ = ("_is_over", "_lock", "_writing", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._lock = threading.Lock()
        self._writing = 0
        self._is_over = False

    def write(self, data: bytes | memoryview, offset: int) -> int:
        """Writes all of `data` at `offset`; returns the offset behind it."""
        with self._lock:
            if self._is_over:
                raise ValueError("the file is closed")
            self._writing += 1
        try:
            return write_all(self.fd, data, offset)
        finally:
            with self._lock:
                self._writing -= 1
                self._close_if_over()

    def close(self) -> None:
        """Closes it, behind what is being written to it."""
        with self._lock:
            self._is_over = True
            self._close_if_over()

    def _close_if_over(self) -> None:
        if self._is_over and not self._writing and self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)

    def __del__(self) -> None:
        self.close()


def sync_folder(path: Path) -> None:
    """Makes the names in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_file(path: Path, data: bytes, mode: int | None) -> None:
    """Creates or replaces a small file: after this returns it is whole and durable.

    `mode` is set after creation, since a umask would take the group's rights away.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            write_all(fd, data, 0)
            if mode is not None:
                os.fchmod(fd, mode)
            os.fsync(fd)
        finally:
            os.close(fd)
        aside.replace(path)
        sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise


def write_all(fd: int, data: bytes | bytearray | memoryview, offset: int) -> int:
    """Writes all of `data` at `offset`; returns the offset behind it."""
    view = memoryview(data).cast("B")
    while view.nbytes:
        written = os.pwrite(fd, view, offset)
        offset += written
        view = view[written:]
    return offset


def read_into(fd: int, room: memoryview, offset: int) -> int:
    """Fills `room` with what lies at `offset`; returns how many bytes there were."""
    done = 0
    while done < room.nbytes and (count := os.preadv(fd, [room[done:]], offset + done)):
        done += count
    return done


def write_parts(fd: int, parts: Sequence[Buffer], offset: int) -> int:
    """Writes `parts` side by side at `offset`, few calls for many; returns the offset behind."""
    for start in range(0, len(parts), _PARTS):
        some = parts[start : start + _PARTS]
        size = sum(memoryview(part).nbytes for part in some)
        written = os.pwritev(fd, some, offset)
        if written < size:  # a full disk, or a signal
            write_all(fd, b"".join(some)[written:], offset + written)
        offset += size
    return offset


def usage(folder: Path) -> int:
    """The bytes that a folder takes on the disk: allocated blocks, since an index is sparse."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(parent, name).lstat().st_blocks * 512
    return total


def try_lock(fd: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Takes a flock if nobody stands against it."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Inherited(Protocol):
    """Something with a locked file, that a forked child must neither use nor keep open."""

    def leave_to_parent(self) -> None: ...


_inherited: weakref.WeakSet[Inherited] = weakref.WeakSet()


def close_in_child(thing: Inherited) -> None:
    """Has `thing.leave_to_parent()` called in every forked child.

    A flock belongs to the open file, which a child shares: its unlock would release the parent's,
    and while it keeps the file open, the lock outlives the parent. Closing does neither.
    """
    _inherited.add(thing)


def _close_all_in_child() -> None:
    for thing in list(_inherited):
        thing.leave_to_parent()


os.register_at_fork(after_in_child=_close_all_in_child)


def is_named(fd: int, path: Path) -> bool:
    """Whether the open file is still the one that lies at `path`."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(fd)
    return (here.st_ino, here.st_dev) == (there.st_ino, there.st_dev)
