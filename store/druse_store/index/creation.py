"""A new index: whole and durable before it lies where lmdb looks for it.

Left to itself, lmdb makes one by a write of two pages. A full disk, or a machine that falls,
leaves less than that, which nobody can open; and a file that is gone it replaces by an empty one,
in which nothing of the store is to be found.
"""

from __future__ import annotations

import mmap
import os
import shutil
from pathlib import Path

from druse_store import disk
from druse_store.index import environment as environments
from druse_store.location import Location
from druse_store.writelock import WriteLock

# lmdb's lock file: one cache line per reader slot behind a head of two.
_LOCK_FILE_SIZE = (environments.MAX_READERS + 64) * 64
_HEADS = 2 * mmap.PAGESIZE  # what lmdb writes before the first transaction


def prepare(folder: Path, tmp: Path, mode: int | None) -> None:
    """Writes the lock file in full before lmdb makes a sparse one.

    On a full disk a process that touches a hole of it would die of SIGBUS. Whoever links it
    first wins: a second lock file in its place would let two writers in. Raises IndexDamaged.
    """
    path = folder / "lock.mdb"
    if path.exists():
        return
    if not folder.exists():  # it was there before the store was
        raise environments.gone(folder)
    aside = tmp / f"lock.{os.getpid()}.{os.urandom(4).hex()}"
    with disk.translated("creating", path):
        try:
            disk.write_file(aside, bytes(_LOCK_FILE_SIZE), mode)
            os.link(aside, path)
        except FileExistsError:
            pass
        finally:
            aside.unlink(missing_ok=True)


def create(location: Location, lock: WriteLock) -> None:
    """Makes the index of a store that has none, or has half of one, and holds nothing yet.

    Raises IndexDamaged where it holds something: that is to be found again by a rebuild alone.
    """
    if not _may_be_missing(location.index):
        return
    with lock.held():
        if not _may_be_missing(location.index) or environments.is_sound(location.index):
            return  # somebody else was faster
        if _holds_something(location):
            raise environments.gone(location.index)
        _make(location)


def _may_be_missing(folder: Path) -> bool:
    """Whether no transaction can be in the file: a look that costs next to nothing."""
    try:
        return (folder / "data.mdb").stat().st_size <= _HEADS
    except FileNotFoundError:
        return True


def _holds_something(location: Location) -> bool:
    with disk.translated("listing", location.root):
        return any(
            path.is_file()
            for folder in (location.packs, location.log)
            for path in folder.rglob("*")
        )


def _make(location: Location) -> None:
    """Nobody has the file open that this may replace: lmdb refuses it."""
    aside = location.tmp / f"index.{os.getpid()}.{os.urandom(4).hex()}"
    path = location.index / "data.mdb"
    with disk.translated("creating", path):
        aside.mkdir()
        try:
            environments.make(aside, location.file_mode)
            (aside / path.name).replace(path)
            disk.sync_folder(path.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
