"""Files that share their bytes on the disk: where the filesystem can, a copy costs no space.

A clone (FICLONE, on btrfs, xfs and others) is a file of its own: what is later written to one is
not seen in the other.
"""

from __future__ import annotations

import errno
import fcntl
import os

from blake3 import blake3

from druse_store import Digest

LEAST = 16 << 10  # bytes; smaller files are written faster than they are cloned
_FICLONE = 0x40049409
_UNABLE = frozenset(
    {errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.ETXTBSY}
)
_BLOCK = 4 << 20


class Cloner:
    """Clones files until the filesystem says that it cannot."""

    def __init__(self) -> None:
        self.is_able = hasattr(fcntl, "ioctl") and os.name == "posix"
        self.cloned = 0

    def clone(self, source: str, target: str, digest: Digest, size: int) -> bool:
        """Makes `target` a clone of `source`, if that has these very bytes; returns whether.

        The source may have been edited by anybody: what counts is what the clone holds.
        """
        if not self.is_able or size < LEAST:
            return False
        try:
            with open(source, "rb") as read:  # noqa: PTH123 - called for each file of a view
                if os.fstat(read.fileno()).st_size != size:
                    return False
                with open(target, "x+b") as write:  # noqa: PTH123
                    fcntl.ioctl(write.fileno(), _FICLONE, read.fileno())
                    if _digest(write.fileno()) == digest:
                        self.cloned += 1
                        return True
        except OSError as error:
            if error.errno in _UNABLE:
                self.is_able = False
            elif isinstance(error, FileExistsError):
                return False
        if os.path.exists(target):  # noqa: PTH110
            os.unlink(target)  # noqa: PTH108
        return False


def _digest(file: int) -> Digest:
    hasher = blake3(max_threads=blake3.AUTO)
    place = 0
    while block := os.pread(file, _BLOCK, place):
        hasher.update(block)
        place += len(block)
    return Digest(hasher.digest())
