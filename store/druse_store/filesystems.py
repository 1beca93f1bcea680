"""Which kind of filesystem a path lies on, and whether an index can be kept there.

LMDB shares memory between processes through mapped files and record locks. Network and user-space
filesystems keep neither coherent between machines, so only kinds known to do so are allowed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

from druse_store.errors import UnsupportedFilesystem

ALLOWED = frozenset(
    ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "tmpfs", "overlay", "apfs")
)
_MOUNTINFO = Path("/proc/self/mountinfo")


class Mount(NamedTuple):
    """The mount that a path lies on. `frozen`: nobody on this machine can write to what it holds.

    A mount can be read-only while another one of the same filesystem is not.
    """

    point: str
    kind: str
    read_only: bool
    frozen: bool = False


def mount_of(path: Path, mountinfo: str) -> Mount | None:
    """The innermost mount of `path`, from the text of /proc/self/mountinfo."""
    best: Mount | None = None
    real = os.path.realpath(path)
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, tail = left.split(" "), right.split(" ")
        if len(fields) < 6 or len(tail) < 1:
            continue
        point = _unescape(fields[4])
        if best is not None and len(point) < len(best.point):
            continue
        if real == point or real.startswith(point.rstrip("/") + "/"):
            frozen = len(tail) > 2 and "ro" in tail[2].split(",")
            read_only = frozen or "ro" in fields[5].split(",")
            best = Mount(point, tail[0], read_only, frozen)
    return best


def _unescape(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def check(path: Path, *, any_filesystem: bool = False) -> Mount | None:
    """Refuses a filesystem on which the index would not be safe. Raises UnsupportedFilesystem."""
    if sys.platform == "darwin":
        return None  # local volumes are APFS; there is no mountinfo to ask
    try:
        mount = mount_of(path, _MOUNTINFO.read_text("utf-8", "surrogateescape"))
    except OSError:
        mount = None
    if mount is None:
        if any_filesystem:
            return None
        raise UnsupportedFilesystem(
            f"cannot tell what filesystem {path} lies on, so its index could be unsafe there; "
            "put the store on a local disk, or open it with any_filesystem=True"
        )
    if mount.kind not in ALLOWED and not any_filesystem:
        raise UnsupportedFilesystem(
            f"{path} lies on {mount.kind} ({mount.point}), where an index shared by processes is "
            f"not safe. Put the store on a local disk, and share it through a remote in that "
            f"folder (`druse remote add NAME file://{path}`), or, if you know better, open it "
            "with any_filesystem=True"
        )
    return mount
