"""Who has the store open: one flocked file that every opener shares, and work alone takes whole.

It names the PID namespace of those who have it open. LMDB tells processes apart by their ids, so
that two containers, each with its own process 1, must not share an index.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from druse_store import disk
from druse_store.errors import ForeignNamespace, StoreBusy
from druse_store.location import Location

_NAMESPACE = "/proc/self/ns/pid"
_PATIENCE = 1.0  # seconds: others name their namespace, or leave, meanwhile


class Users:
    """Says that this process has the store open, until it is closed."""

    def __init__(
        self, location: Location, *, exclusive: bool = False, writable: bool = True
    ) -> None:
        self._location = location
        self.path = location.holds / "users"
        with disk.translated("opening", self.path):
            self._fd = self._open(writable)
        disk.close_in_child(self)
        try:
            if exclusive:
                self._take_alone()
            else:
                self._join()
        except BaseException:
            self.close()
            raise

    def _open(self, writable: bool) -> int:
        if not writable:
            with suppress(FileNotFoundError):
                return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        mode = self._location.file_mode
        if mode is not None and os.fstat(fd).st_uid == os.getuid():
            os.fchmod(fd, mode)
        return fd

    def _take_alone(self) -> None:
        if not disk.try_lock(self._fd):
            raise StoreBusy(
                f"the store at {self._location.root} is open in another process, and this has to "
                "be done alone: end the others, then try again"
            )
        self._write(_namespace())

    def _join(self) -> None:
        """Shares the lock with users of the same namespace. Raises ForeignNamespace."""
        mine = _namespace()
        until = time.monotonic() + _PATIENCE
        while True:
            shared = disk.try_lock(self._fd, fcntl.LOCK_SH)
            if shared and self._read() == mine:
                return
            # Nobody else is there if the lock is to be had whole: then the name may be changed.
            if shared and disk.try_lock(self._fd):
                self._write(mine)
            elif time.monotonic() > until:
                break
            else:
                time.sleep(0.01)
        if not shared:
            raise StoreBusy(
                f"another process works on the store at {self._location.root} alone (a repair or "
                "a collection); try again when it is done"
            )
        raise ForeignNamespace(
            f"the store at {self._location.root} is open in another container (PID namespace "
            f"{self._read()}): share that namespace (`--pid=host` or `--pid=container:…`), or "
            "use a store of its own there and exchange through a remote"
        )

    @contextmanager
    def alone(self) -> Iterator[None]:
        """For the block, nobody else may have the store open. Raises StoreBusy."""
        if not disk.try_lock(self._fd):
            # A lock that could not be widened may be lost; nobody takes it whole for long.
            fcntl.flock(self._fd, fcntl.LOCK_SH)
            raise StoreBusy(
                f"the store at {self._location.root} is open elsewhere, and this was to be done "
                "alone: end the others, or do it beside them"
            )
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_SH)

    def _read(self) -> str:
        return os.pread(self._fd, 256, 0).decode("utf-8", "replace")

    def _write(self, text: str) -> None:
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, text.encode(), 0)
        except OSError as error:
            if error.errno not in (errno.EBADF, errno.EINVAL, errno.EROFS):
                raise disk.os_error(error, "writing", self.path) from error

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    leave_to_parent = close

    def __enter__(self) -> Users:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _namespace() -> str:
    try:
        return os.readlink(_NAMESPACE)  # noqa: PTH115  # no file of that name: "pid:[4026531836]"
    except OSError:
        return "none"
