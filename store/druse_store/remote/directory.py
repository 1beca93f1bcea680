"""A folder as a remote: a mounted directory, on NFS too.

An object is written aside under a name that nobody else uses, made durable, and then renamed to
its key, or linked where it must not exist yet; then its folder is made durable. Leftovers of killed
writers lie in `.tmp/` and are swept once they are a day old, by the server's own clock. No path is
followed through a symbolic link, since whoever shares the folder could have put one there.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from druse_store import disk
from druse_store.errors import (
    AccessDenied,
    DiskFull,
    ObjectExists,
    ObjectMissing,
    ReadOnlyStore,
    RemoteDamaged,
    RemoteDenied,
    RemoteError,
    RemoteFull,
    RemoteReadOnly,
    RemoteUnavailable,
)
from druse_store.remote import layout
from druse_store.remote.backend import MAX_OBJECT, Entry

if TYPE_CHECKING:
    from typing_extensions import Buffer

_TMP = ".tmp"
_SHARED_FOLDER = 0o2775
_LEFTOVER_AGE = 24 * 3600  # seconds
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MISSING = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ESTALE))


class Directory:
    """`file:///path`. Several processes and machines may use it at once."""

    read_only = False

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.realpath(root))
        self.url = self.root.as_uri()
        self._swept = False

    # --- the contract --------------------------------------------------------------------------

    def load(self, key: str, start: int = 0, size: int | None = None) -> bytes:
        with self._translated("reading", key), self._folder_of(key, create=False) as (folder, name):
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            try:
                length = os.fstat(fd).st_size
                wanted = length - start if size is None else size
                if wanted > MAX_OBJECT or start + wanted > length or wanted < 0:
                    raise RemoteDamaged(
                        f"{self.root / key} has {length} bytes, where {wanted} were to be read "
                        f"from byte {start}"
                    )
                return _read(fd, start, wanted)
            finally:
                os.close(fd)

    def store(self, key: str, data: Buffer, *, create: bool = False) -> None:
        with self._translated("writing", key), self._folder_of(key, create=True) as (folder, name):
            with self._folder(_TMP, create=True) as aside:
                self._sweep(aside)
                made = f"{os.getpid()}-{layout.ulid()}"
                try:
                    self._write(aside, made, data)
                    if create:
                        self._link(aside, made, folder, name)
                    else:
                        os.rename(made, name, src_dir_fd=aside, dst_dir_fd=folder)
                finally:
                    with suppress(OSError):
                        os.unlink(made, dir_fd=aside)
            os.fsync(folder)

    def list(self, prefix: str) -> Iterator[Entry]:
        with self._translated("listing", prefix):
            self.root.stat()  # what is not mounted is not empty
            yield from self._walk(prefix.rstrip("/"))

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            with (
                suppress(ObjectMissing),
                self._translated("removing", key),
                self._folder_of(key, create=False) as (folder, name),
            ):
                os.unlink(name, dir_fd=folder)

    def close(self) -> None:
        """Nothing is kept open."""

    # --- writing -------------------------------------------------------------------------------

    def _write(self, folder: int, name: str, data: Buffer) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(name, flags, 0o666, dir_fd=folder)
        try:
            disk.write_all(fd, memoryview(data), 0)
            if self._shared():
                os.fchmod(fd, 0o664)
            os.fsync(fd)
        finally:
            os.close(fd)

    def _link(self, aside: int, made: str, folder: int, name: str) -> None:
        try:
            os.link(made, name, src_dir_fd=aside, dst_dir_fd=folder)
        except FileExistsError as error:
            # NFS answers so to the repetition of a call that succeeded: there are two names then.
            if os.stat(made, dir_fd=aside).st_nlink != 2:
                raise ObjectExists(f"{self.root / name} is there already") from error

    def _shared(self) -> bool:
        return bool(self.root.stat().st_mode & stat.S_IWGRP)

    def _sweep(self, aside: int) -> None:
        """Once in a while: what killed writers left. The server's clock says how old it is."""
        if self._swept:
            return
        self._swept = True
        probe = f"clock-{layout.ulid()}"
        self._write(aside, probe, b"")
        now = os.stat(probe, dir_fd=aside).st_mtime
        for name in [*os.listdir(aside), probe]:
            with suppress(OSError):
                if name == probe or now - os.stat(name, dir_fd=aside).st_mtime > _LEFTOVER_AGE:
                    os.unlink(name, dir_fd=aside)

    # --- folders -------------------------------------------------------------------------------

    def _walk(self, folder: str) -> Iterator[Entry]:
        try:
            with self._folder(folder, create=False) as fd, os.scandir(fd) as found:
                entries = [(e.name, e.is_dir(follow_symlinks=False), _status(e)) for e in found]
        except FileNotFoundError:
            return
        for name, is_folder, status in entries:
            key = f"{folder}/{name}" if folder else name
            if is_folder and name != _TMP:
                yield from self._walk(key)
            elif status is not None and stat.S_ISREG(status.st_mode) and layout.is_key(key):
                yield Entry(key, status.st_size, status.st_mtime)

    @contextmanager
    def _folder_of(self, key: str, *, create: bool) -> Iterator[tuple[int, str]]:
        folder, _, name = layout.check_key(key).rpartition("/")
        with self._folder(folder, create=create) as fd:
            yield fd, name

    @contextmanager
    def _folder(self, folder: str, *, create: bool) -> Iterator[int]:
        """A folder below the root, opened step by step, so that no link leads out of it."""
        fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in folder.split("/") if folder else ():
                below = self._step(fd, part, create)
                os.close(fd)
                fd = below
            yield fd
        finally:
            os.close(fd)

    def _step(self, fd: int, part: str, create: bool) -> int:
        if create:
            with suppress(FileExistsError):
                os.mkdir(part, dir_fd=fd)
                if self._shared():
                    os.chmod(part, _SHARED_FOLDER, dir_fd=fd)
                os.fsync(fd)
        return os.open(part, _FOLDER, dir_fd=fd)

    @contextmanager
    def _translated(self, doing: str, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._error(error, doing, key) from error

    def _error(self, error: OSError, doing: str, key: str) -> RemoteError:
        path = self.root / key
        if error.errno in _MISSING:
            if not self.root.is_dir():
                return RemoteUnavailable(
                    f"{doing} {path}: {self.root} is not there; is it mounted?"
                )
            return ObjectMissing(f"there is no {path}")
        if error.errno == errno.ELOOP:
            return RemoteDamaged(f"{doing} {path}: it leads through a symbolic link")
        ours = disk.os_error(error, doing, path)
        kinds = {DiskFull: RemoteFull, AccessDenied: RemoteDenied, ReadOnlyStore: RemoteReadOnly}
        text = f"{doing} {path}: {os.strerror(error.errno) if error.errno else error}"
        return kinds.get(type(ours), RemoteUnavailable)(text)


def _read(fd: int, start: int, size: int) -> bytes:
    data = os.pread(fd, size, start)
    while len(data) < size:
        more = os.pread(fd, size - len(data), start + len(data))
        if not more:
            raise RemoteDamaged("an object ended while it was read")
        data += more
    return data


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
