"""Filesystems of a test's own. Mounting needs root: for others these tests are skipped."""

import subprocess
import time
from contextlib import contextmanager

import pytest


def tmpfs(point, size):
    """A new tmpfs of `size` (as mount says it: "20m") at `point`."""
    return mounted(point, "tmpfs", "-o", f"size={size}")


@contextmanager
def mounted(point, kind, *options):
    """A new filesystem of a kind that lives in memory, at `point`."""
    point.mkdir(exist_ok=True)
    _mount("-t", kind, *options, kind, str(point))
    try:
        yield point
    finally:
        _unmount(point)


@contextmanager
def xfs(image, point):
    """A new XFS, which can clone files, in the file `image` at `point`."""
    point.mkdir(exist_ok=True)
    with image.open("wb") as file:
        file.truncate(320 << 20)  # mkfs.xfs makes none below 300 MiB; the file is sparse
    subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", str(image)], check=True)
    _mount("-o", "loop", str(image), str(point))
    try:
        yield point
    finally:
        _unmount(point)
        image.unlink()


@contextmanager
def read_only(source, point):
    """The folder `source` once more at `point`, to be read only."""
    point.mkdir(exist_ok=True)
    _mount("--bind", str(source), str(point))
    try:
        _mount("-o", "remount,ro,bind", str(point))
        yield point
    finally:
        _unmount(point)


def _mount(*arguments):
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this user may not mount here: {done.stderr.strip()}")


def _unmount(point):
    """The system may hold on to a mount for a moment, though nobody has a file of it open."""
    for _ in range(50):
        if subprocess.run(["umount", str(point)], check=False).returncode == 0:
            return
        time.sleep(0.1)
    raise AssertionError(f"{point} stays busy")
