"""Appending to one pack or log segment, under a flock that dies with its process.

A file is continued by at most one process. What counts of it is its committed end, which the
index names: a process that takes over an unsealed file truncates it exactly there, never below.
After a failed write or sync the file is abandoned and never tried again, because the kernel may
have dropped its dirty pages.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from druse_store import disk, frames
from druse_store.early import EarlySync
from druse_store.errors import ForkedStore, FrameDamaged, StorageFailed
from druse_store.index.values import OPEN, SEALED, FileEntry
from druse_store.location import Location

if TYPE_CHECKING:
    from typing_extensions import Buffer

_BUFFER = 1 << 20
SMALL = 64 << 10
_PIECE = 16 << 20  # bytes; the disk begins before all of a large frame is handed over


class Appender:
    """A file of frames that this process alone appends to. Not thread-safe: its owner locks."""

    def __init__(self, path: Path, fd: int, file_id: bytes, kind: int, uid: int) -> None:
        self.path = path
        self.fd = fd
        self.file_id = file_id
        self.kind = kind
        self.uid = uid
        self.end = 0
        self.last = 0
        self.frames = 0
        self.sealed = False
        self.failed = False
        self.doubtful = False  # pages of it may be lost that the kernel took: nobody appends again
        self._pid = os.getpid()
        self._buffer = bytearray()
        self._written = 0
        self._writes = 0
        self._synced = 0  # of these writes
        self._is_new = False
        self._early = EarlySync(fd)
        disk.close_in_child(self)

    # --- opening -------------------------------------------------------------------------------

    @classmethod
    def create(cls, location: Location, kind: int, folder: Path | None = None) -> Appender:
        """A new file with an id that was never used. It is durable after the first `sync`.

        In `folder` it is not found yet: see `publish`.
        """
        while True:
            file_id = os.urandom(8)
            path = path_of(location, kind, file_id)
            path = path if folder is None else folder / path.name
            with disk.translated("creating", path):
                _make_folder(path.parent, location)
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
                # Someone who clears away orphans may have been faster between these two calls.
                if disk.try_lock(fd) and disk.is_named(fd, path):
                    break
                os.close(fd)
        made = cls(path, fd, file_id, kind, os.getuid())
        if location.file_mode is not None:
            with disk.translated("setting the mode of", path):
                os.fchmod(fd, location.file_mode)
        made._is_new = True
        made._buffer += frames.file_header(kind, file_id, location.store_id, made.uid)
        made.end = frames.FILE_HEADER_SIZE
        return made

    @classmethod
    def adopt(cls, location: Location, file_id: bytes, kind: int) -> Appender | None:
        """Takes over an unsealed file that its writer left; None while it is not to be had.

        The caller looks up its entry after this, and then calls `resume`.
        """
        path = path_of(location, kind, file_id)
        try:
            fd = _open(path)
        except OSError:
            return None
        # The file could have been replaced or unlinked between the open and the lock.
        if os.fstat(fd).st_uid != os.getuid() or not (
            disk.try_lock(fd) and disk.is_named(fd, path)
        ):
            os.close(fd)
            return None
        return cls(path, fd, file_id, kind, os.getuid())

    @classmethod
    def beside(cls, path: Path, file_id: bytes, end: int) -> Appender:
        """The pack that another process made, has locked, and leaves to this one for a while."""
        with disk.translated("opening", path):
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        made = cls(path, fd, file_id, frames.PACK, os.getuid())
        made._go_on_at(end)
        return made

    def take_on(self, end: int, last: int, count: int) -> None:
        """Goes on behind `count` frames that another process appended: they are to be synced."""
        self._go_on_at(end)
        self.last = last
        self.frames += count

    def _go_on_at(self, end: int) -> None:
        self.end = self._written = end
        self._writes += 1
        self._early.start_at(end)

    def resume(self, entry: FileEntry) -> None:
        """Cuts what was never committed. Raises FrameDamaged where less is there than was."""
        with disk.translated("taking over", self.path):
            size = os.fstat(self.fd).st_size
            if size < entry.end:
                raise FrameDamaged(f"{self.path} has {size} bytes, of {entry.end} committed ones")
            head = frames.parse_file_header(os.pread(self.fd, frames.FILE_HEADER_SIZE, 0))
            if head.file_id != self.file_id:
                raise FrameDamaged(f"{self.path} says that it is {head.file_id.hex()}")
            if entry.last:
                data = os.pread(self.fd, frames.HEADER_SIZE, entry.last)
                if frames.parse(data, entry.last).end != entry.end:
                    raise FrameDamaged(f"the last frame of {self.path} is damaged")
            if size > entry.end:
                os.ftruncate(self.fd, entry.end)
        self.end = self._written = entry.end
        self._early.start_at(entry.end)
        self.last = entry.last

    # --- appending -----------------------------------------------------------------------------

    def append_small(self, head: bytes, payload: Buffer, size: int) -> int:
        """As `append`, for one payload of `size` bytes that is worth copying."""
        offset, buffer = self.end, self._buffer
        if self._written + len(buffer) != offset:
            self._tidy()
        buffer += head
        buffer += payload
        self.end = offset + len(head) + size
        self.last = offset
        self.frames += 1
        if len(buffer) >= _BUFFER:
            self.write_out()
        return offset

    def append_joined(self, frames_of: bytes, offsets: Sequence[int]) -> None:
        """As `append_small`, for frames that are joined already; `offsets` are those of their
        headers in the file, of which the first is `end`."""
        offset, buffer = self.end, self._buffer
        if self._written + len(buffer) != offset:
            self._tidy()
        end, last, count = offset + len(frames_of), offsets[-1], self.frames + len(offsets)
        buffer += frames_of
        self.end, self.last, self.frames = end, last, count
        if len(buffer) >= _BUFFER:
            self.write_out()

    def append(self, head: bytes, *parts: Buffer) -> int:
        """Appends a frame; returns the offset of its header. Readers see it after `write_out`."""
        self._tidy()
        offset, buffer = self.end, self._buffer
        buffer += head
        size = len(head)
        for part in parts:
            view = memoryview(part)
            if view.nbytes <= SMALL:
                buffer += view
            else:
                self._write_large(view)
            size += view.nbytes
        self.end = offset + size
        self.last = offset
        self.frames += 1
        if len(buffer) >= _BUFFER:
            self.write_out()
        return offset

    def append_many(self, frames_of: Sequence[Sequence[Buffer]]) -> list[int]:
        """Appends frames, each in parts, in one go; returns the offsets of their headers.

        Nothing of the parts is needed after this returns.
        """
        self._tidy()
        offsets: list[int] = []
        parts: list[Buffer] = [bytes(self._buffer)] if self._buffer else []
        end = self.end
        for frame in frames_of:
            offsets.append(end)
            end += sum(memoryview(part).nbytes for part in frame)
            parts += frame
        count = self.frames + len(offsets)
        with self.writing():
            self._written = disk.write_parts(self.fd, parts, self._written)
            self._writes += 1
        self._buffer.clear()
        self.end, self.last, self.frames = end, offsets[-1], count
        self._early.written(self._written)
        return offsets

    def write_out(self) -> None:
        """Hands everything appended to the operating system."""
        self._tidy()
        self._write_buffer()

    def _tidy(self) -> None:
        """Takes back what an append left that was interrupted: by Ctrl-C, or for want of memory.

        What `end` does not count is not there. Else what comes next would lie elsewhere than where
        its entry says.
        """
        if self._written + len(self._buffer) == self.end or self.failed:
            return
        if self._written <= self.end:
            del self._buffer[self.end - self._written :]
            return
        with self.writing():
            os.ftruncate(self.fd, self.end)
        self._buffer.clear()
        self._written = self.end
        self._early.start_at(self.end)

    def _write_buffer(self) -> None:
        if self._buffer:
            self._write(memoryview(bytes(self._buffer)))
            self._buffer.clear()

    def _write_large(self, view: memoryview) -> None:
        self._write_buffer()
        view = view.cast("B")
        for start in range(0, len(view), _PIECE):
            self._write(view[start : start + _PIECE])

    def _write(self, view: memoryview) -> None:
        with self.writing():
            self._written = disk.write_all(self.fd, view, self._written)
            self._writes += 1
        self._early.written(self._written)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """For the block, which writes to the file: if it fails, the file is abandoned."""
        self._check_usable()
        try:
            yield
        except OSError as error:
            self.failed = True
            self.doubtful = self.doubtful or error.errno not in disk.FULL
            raise disk.os_error(error, "appending to", self.path) from error

    @contextmanager
    def taken_back(self) -> Iterator[None]:
        """Takes back what the block appended if that ends with an error."""
        before = self.end, self.last, self.frames
        try:
            yield
        except BaseException:
            self.end, self.last, self.frames = before
            raise

    def read_into(self, place: int, room: memoryview, at: int) -> None:
        """Fills `room` with what was written at byte `at` behind `place`."""
        with disk.translated("reading", self.path):
            while room.nbytes:
                count = os.preadv(self.fd, [room], place + at)
                if not count:
                    raise StorageFailed(f"{self.path} ends before what was written to it")
                room, at = room[count:], at + count

    def start_sync(self) -> None:
        """Begins to make a sealed file durable, while others are appended to."""
        self.write_out()
        self._early.begin(self._written)

    def sync(self) -> None:
        """Makes everything appended durable, and the file's name with it."""
        self.write_out()
        self.sync_written()

    def sync_written(self) -> None:
        """As `sync`, for what was written out before: others may append at the same time."""
        self._early.wait()
        if self._synced == self._writes:
            return
        self._check_usable()
        writes = self._writes
        try:
            os.fdatasync(self.fd)
            # An early sync that ran beside this one may have been told what concerns both.
            self._early.wait()
            self._early.check()
            if self._is_new:
                disk.sync_folder(self.path.parent)
                self._is_new = False
        except OSError as error:
            self.failed = self.doubtful = True
            raise disk.os_error(error, "making durable", self.path) from error
        self._synced = writes

    def rewind(self, end: int, last: int) -> None:
        """Takes back what was appended behind `end`, after a commit that did not happen."""
        self._buffer.clear()
        try:
            os.ftruncate(self.fd, end)
        except OSError:
            self.failed = True
        self.end = self._written = end
        self._synced = self._writes
        self._early.start_at(end)
        self.last = last

    def seal(self) -> None:
        """Marks the file as complete. It is closed by its owner, once that is committed."""
        self.append(frames.header(frames.SEAL, frames.RAW, bytes(32), 0, 0, self.frames))
        self.sealed = True
        with disk.translated("sealing", self.path):
            os.fchmod(self.fd, os.fstat(self.fd).st_mode & 0o7555)

    def publish(self, location: Location) -> None:
        """Moves a file that was made aside, and is whole and durable, to its place."""
        path = path_of(location, self.kind, self.file_id)
        with disk.translated("moving into place", path):
            _make_folder(path.parent, location)
            self.path.rename(path)
            disk.sync_folder(path.parent)
        self.path = path

    def entry(self) -> FileEntry:
        """What the index has to know about this file, as of now."""
        state = SEALED if self.sealed else OPEN
        return FileEntry(self.kind, state, self.end, self.last, self.uid)

    def close(self) -> None:
        """Closes the file, which also gives up its lock."""
        self._early.wait()
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def leave_to_parent(self) -> None:
        """In a forked child: closes its copy of the descriptor, and nothing else."""
        self._early.leave_to_parent()
        self.close()

    def _check_usable(self) -> None:
        if self._pid != os.getpid():
            raise ForkedStore(
                "this store was opened before a fork: open it again in the child process"
            )
        if self.failed or self.fd < 0:
            raise StorageFailed(f"{self.path} was abandoned after an error: nothing is appended")


def path_of(location: Location, kind: int, file_id: bytes) -> Path:
    """Where a pack or log segment lies."""
    return location.pack(file_id) if kind == frames.PACK else location.segment(file_id)


def _open(path: Path) -> int:
    """Opens an unsealed file, also one that its writer had sealed before it died: only the commit
    counts. Raises OSError."""
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except PermissionError:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.fstat(fd).st_uid == os.getuid() and disk.try_lock(fd):
                os.fchmod(fd, os.fstat(fd).st_mode & 0o7777 | 0o200)
        finally:
            os.close(fd)
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def _make_folder(folder: Path, location: Location) -> None:
    if folder.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    if location.shared:
        folder.chmod(0o2770)
    disk.sync_folder(folder.parent)
