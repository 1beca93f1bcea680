"""A few MiB set aside for the day on which the disk is full.

LMDB needs room to delete, too. So a file is kept that only collection releases, before it begins,
and makes anew when it has freed more than that: without it, a full store could not be emptied.
"""

from __future__ import annotations

import os
from contextlib import suppress

from druse_store import disk
from druse_store.location import Location

SIZE = 4 << 20
_WORTH = 8  # times its size has to be free: it shall not be what fills the disk


def set_aside(location: Location) -> bool:
    """Makes the reserve, if it is not there and there is room. Whether it is there now."""
    if location.reserve.exists():
        return True
    aside = location.tmp / f"reserve.{os.getpid()}.{os.urandom(4).hex()}"
    with suppress(OSError):  # a store without a reserve is better than none
        status = os.statvfs(location.root)
        if status.f_bavail * status.f_frsize >= _WORTH * SIZE:
            _allocate(aside, location.file_mode)
            aside.replace(location.reserve)
            return True
    with suppress(OSError):
        aside.unlink(missing_ok=True)
    return False


def release(location: Location) -> None:
    """Gives its space back. For collection only, which calls `set_aside` at its end."""
    with disk.translated("releasing", location.reserve), suppress(FileNotFoundError):
        location.reserve.unlink()


def _allocate(path: os.PathLike[str], mode: int | None) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, SIZE)
        else:
            disk.write_all(fd, bytes(SIZE), 0)
        if mode is not None:
            os.fchmod(fd, mode)
    finally:
        os.close(fd)
