"""Folders for files that one process needs for as long as it lives.

A process that is killed leaves its folder behind. Each has a lock, held while its process lives; a
process that makes one first removes those of its own user that nobody holds any more.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

_PREFIX = "druse-"
_LOCK = "held"


class Scratch:
    """A folder of this process's own, until `remove`."""

    def __init__(self) -> None:
        _remove_left()
        self.path, self._held = _make()

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._held)


def _make() -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        held = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if _is_locked(held) and os.fstat(held).st_nlink:
            return path, held
        os.close(held)  # somebody took it for left, before it was locked


def _is_locked(held: int) -> bool:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # where there are no locks, nobody removes anything either
    return True


def _remove_left() -> None:
    """Removes the folders of processes that are dead."""
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX) and _is_mine(entry):
                _remove_if_left(Path(entry.path))


def _is_mine(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, no link to one, and this user's."""
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _remove_if_left(path: Path) -> None:
    try:
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return  # not of this kind, or not yet
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    except OSError:
        pass  # its process lives
    finally:
        os.close(lock)
