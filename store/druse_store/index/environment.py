"""The one LMDB environment of a store in this process; the only importer of lmdb.

Nothing but lmdb opens files in `index/`: closing any descriptor of `lock.mdb` would drop the locks
that this process holds there, and let a second writer in. An environment is never used in a forked
child, nor closed there (closing is such a close): it is left behind.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from pathlib import Path
from typing import Any

import lmdb

from druse_store import disk
from druse_store.errors import (
    DiskFull,
    ForeignNamespace,
    IndexDamaged,
    StoreBusy,
    StoreError,
)
from druse_store.index.values import TABLES
from druse_store.writelock import WriteLock

MAP_SIZE = 64 << 30
_SMALLEST_MAP = 1 << 30
MAX_READERS = 4096
# Beyond the last page, so that a damaged length leads to zeros and not past the end of the file.
_SLACK = 32 << 20
_NEARLY_FULL = 1 << 20  # bytes free; one write of lmdb's can be that large

Error = lmdb.Error
Transaction = lmdb.Transaction


def translate(error: lmdb.Error, folder: Path) -> StoreError:
    """The error of ours that says what lmdb's means."""
    name = type(error).__name__
    text = f"the index {folder}: {error}"
    code = error.args[0] if error.args else ""
    if isinstance(error, lmdb.MapFullError):
        return DiskFull(f"{text}. The index has reached its {MAP_SIZE >> 30} GiB: collect garbage")
    if isinstance(error, lmdb.DiskError) or os.strerror(errno.ENOSPC) in str(code):
        return DiskFull(f"{text}. Free some space (`druse gc --now` does), then try again")
    if isinstance(error, lmdb.ReadersFullError):
        return StoreBusy(f"{text}. More than {MAX_READERS} readers at once: close some")
    if isinstance(error, lmdb.LockError) or os.strerror(errno.EAGAIN) in str(code):
        return ForeignNamespace(f"{text}. Another container may have this store open: close it")
    if os.strerror(errno.EIO) in str(code):
        # lmdb calls a write so that was cut short, which is what a full disk does.
        number = errno.ENOSPC if _is_full(folder) else errno.EIO
        return disk.os_error(OSError(number, ""), "writing the index", folder)
    return IndexDamaged(
        f"{text} ({name}). `druse repair --rebuild-index` makes a new index from the packs"
    )


def gone(folder: Path) -> IndexDamaged:
    """The error for an index that is not there, of a store that is not empty."""
    return IndexDamaged(
        f"the index {folder} is gone, or was cut, and the store is not empty. "
        "`druse repair --rebuild-index` makes a new index from the packs"
    )


def _is_full(folder: Path) -> bool:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize < _NEARLY_FULL


class Environment:
    """An open environment with its tables. Get one by `acquire`, give it back by `release`."""

    def __init__(
        self, folder: Path, lock: WriteLock | None, locking: bool, mode: int | None
    ) -> None:
        self.folder = folder
        self._data = folder / "data.mdb"
        self.read_only = lock is None
        self.users = 1
        self.pid = os.getpid()
        self.env = _open(folder, self.read_only, locking, mode)
        self.dbs: dict[str, Any] = {}
        try:
            self._check_length()
            self._open_tables(lock)
            if locking:
                self.env.reader_check()
        except lmdb.Error as error:
            self.env.close()
            raise translate(error, folder) from error
        except BaseException:
            self.env.close()
            raise

    def _open_tables(self, lock: WriteLock | None) -> None:
        """Opens all tables, or makes them. lmdb wants a write transaction for either."""
        if lock is None:
            for name in TABLES:
                self.dbs[name] = self.env.open_db(name.encode(), create=False)
            return
        with lock.held(), self.env.begin(write=True) as txn:
            for name in TABLES:
                self.dbs[name] = self.env.open_db(name.encode(), txn)

    def _check_length(self) -> None:
        """A file that was cut would kill the process at the first page that is not there."""
        pages = self.env.info()["last_pgno"] + 1
        size = (self.folder / "data.mdb").stat().st_size
        if pages * self.env.stat()["psize"] > size:
            raise IndexDamaged(
                f"the index {self.folder} was cut to {size} bytes. "
                "`druse repair --rebuild-index` makes a new index from the packs"
            )

    def keep_slack(self) -> None:
        """Keeps the file (sparsely) longer than its pages. `truncate` opens no descriptor."""
        size = self._data.stat().st_size
        used = (self.env.info()["last_pgno"] + 1) * 4096
        if size < used + _SLACK // 2:
            os.truncate(self._data, used + _SLACK)


def _open(folder: Path, read_only: bool, locking: bool, mode: int | None) -> lmdb.Environment:
    size = MAP_SIZE
    while True:
        try:
            env = lmdb.open(
                str(folder),
                map_size=size,
                readonly=read_only,
                create=not read_only,
                lock=locking,
                max_dbs=len(TABLES) + 3,
                max_readers=MAX_READERS,
                max_spare_txns=8,
                readahead=False,
                meminit=False,
                mode=0o666 if mode is None else mode,
            )
        except (lmdb.MemoryError, MemoryError) as error:
            if size <= _SMALLEST_MAP:
                raise DiskFull(
                    f"no address space for the index {folder}; raise the limit (ulimit -v)"
                ) from error
            size //= 2
        except lmdb.Error as error:
            raise translate(error, folder) from error
        except OSError as error:
            raise disk.os_error(error, "opening the index", folder) from error
        else:
            return env


def make(folder: Path, mode: int | None) -> None:
    """Makes an environment that is whole and durable, in a folder that nobody else knows."""
    env = _open(folder, read_only=False, locking=False, mode=mode)
    try:
        with env.begin(write=True) as txn:
            for name in TABLES:
                env.open_db(name.encode(), txn)
    except lmdb.Error as error:
        raise translate(error, folder) from error
    finally:
        env.close()
    if mode is not None:
        _set_mode(folder / "data.mdb", mode)


def is_sound(folder: Path) -> bool:
    """Whether there is a file that lmdb does not refuse at the first look."""
    with _guard, disk.translated("opening the index", folder):
        status = folder.stat()
        if (status.st_dev, status.st_ino) in _open_here:
            return True
        data = folder / "data.mdb"
        if not data.exists() or not data.stat().st_size:
            return False
        try:
            lmdb.open(str(folder), readonly=True, create=False, lock=False).close()
        except lmdb.InvalidError:
            return False
        except lmdb.Error:
            pass  # what else is wrong shows when it is opened
        return True


_open_here: dict[tuple[int, int], Environment] = {}
_guard = threading.Lock()


def acquire(
    folder: Path, lock: WriteLock | None, *, locking: bool, mode: int | None
) -> Environment:
    """The environment of `folder` in this process: opened once, counted. No lock: to read."""
    read_only = lock is None
    with _guard:
        if not folder.exists():
            raise gone(folder)
        with disk.translated("opening the index", folder):
            status = folder.stat()
        key = (status.st_dev, status.st_ino)
        known = _open_here.get(key)
        if known is not None and (read_only or not known.read_only):
            known.users += 1
            return known
        if known is not None:
            raise StoreBusy(
                f"the index {folder} is open for reading only in this process: close that store "
                "before you open it for writing"
            )
        made = Environment(folder, lock, locking, mode)
        if mode is not None and not read_only:
            for name in ("data.mdb", "lock.mdb"):
                _set_mode(folder / name, mode)
        _open_here[key] = made
        return made


def _set_mode(path: Path, mode: int) -> None:
    if path.stat().st_uid == os.getuid():
        path.chmod(mode)


def release(environment: Environment) -> None:
    """Gives an environment back; the last one closes it."""
    with _guard:
        environment.users -= 1
        if environment.users == 0 and environment.pid == os.getpid():
            for key, value in list(_open_here.items()):
                if value is environment:
                    del _open_here[key]
            environment.env.close()


def _forget() -> None:
    """In a forked child: keep the parent's environments alive and untouched, and know none."""
    global _guard  # noqa: PLW0603  # the parent's may be held by a thread that is not here
    _guard = threading.Lock()
    for environment in _open_here.values():
        _leave_behind(environment.env)
    _open_here.clear()


def _leave_behind(env: lmdb.Environment) -> None:
    """Has this child never close its copy of an environment, not even when it ends.

    A close, or a deallocation, would give up reader slots that are the parent's, whose next read
    would then fail. And lmdb remembers which files it has open: that was the parent.
    """
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(env))
    registry: Any = sys.modules.get("lmdb._envid")
    if registry is not None:
        child, keys = os.getpid(), registry.env_keys
        registry.env_keys = lambda *place: tuple((*key, child) for key in keys(*place))


os.register_at_fork(after_in_child=_forget)
