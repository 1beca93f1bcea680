"""Reading a pack or log segment from its beginning, without the index.

Frames follow each other without gaps. Where one does not check, the next valid header is looked
for: what is found behind damage is used (its digests are checked), the damage is reported.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from druse_store import codec, disk, frames
from druse_store.digest import Digest
from druse_store.errors import FrameDamaged, StoreError
from druse_store.frames import FileHeader, Frame


class Gap(NamedTuple):
    """Bytes of a file that are no frame: damage, or an end that was never committed."""

    offset: int
    end: int
    reason: str


class FoundChunk(NamedTuple):
    """A chunk as a pack has it, and whether its bytes give its digest."""

    digest: Digest
    offset: int
    stored: int
    size: int
    codec: int
    checks: bool


class FrameFile:
    """A pack or log segment, mapped to be scanned: `with FrameFile(path) as file:`.

    Never for a file that somebody could cut meanwhile: `end` is at most its committed end.
    """

    def __init__(self, path: Path, end: int | None = None) -> None:
        self.path = path
        with disk.translated("opening", path), path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            self.size = size if end is None else min(size, end)
            self._map = (
                mmap.mmap(file.fileno(), self.size, access=mmap.ACCESS_READ) if self.size else None
            )
        self._view = memoryview(self._map if self._map is not None else b"")

    def __enter__(self) -> FrameFile:
        return self

    def __exit__(self, *_: object) -> None:
        # Not closed: an error that is under way may still hold a view of it. It goes with the last.
        self._view, self._map = memoryview(b""), None

    def header(self) -> FileHeader:
        """Raises FrameDamaged."""
        return frames.parse_file_header(bytes(self._view[: frames.FILE_HEADER_SIZE]))

    def frames(self) -> Iterator[Frame | Gap]:
        """Every frame whose header checks and which lies in the file, and the gaps between."""
        at = frames.FILE_HEADER_SIZE
        while at < self.size:
            found = self._frame_at(at)
            if isinstance(found, Frame):
                yield found
                at = found.end
            else:
                after = self._next_valid(at + 1)
                yield Gap(at, after, str(found))
                at = after

    def frame(self, offset: int) -> Frame:
        """The frame at this offset. Raises FrameDamaged."""
        found = self._frame_at(offset)
        if isinstance(found, FrameDamaged):
            raise found
        return found

    def _frame_at(self, offset: int) -> Frame | FrameDamaged:
        try:
            frame = frames.parse(self._view[offset : offset + frames.HEADER_SIZE], offset)
        except FrameDamaged as error:
            return error
        if frame.end > self.size:
            return FrameDamaged(f"the frame at byte {offset} is cut off")
        return frame

    def _next_valid(self, offset: int) -> int:
        """The offset of the next frame that checks, or the end of the file."""
        while self._map is not None:
            found = self._map.find(frames.MAGIC, offset, self.size)
            if found < 0:
                break
            if isinstance(self._frame_at(found), Frame):
                return found
            offset = found + 1
        return self.size

    def table(self, frame: Frame) -> bytes:
        """The bytes between a frame's header and its padding."""
        start = frame.offset + frames.HEADER_SIZE
        return bytes(self._view[start : start + frame.table_size])

    def bytes_at(self, offset: int, size: int) -> bytes:
        """A copy of some bytes; fewer where the file ends before."""
        return bytes(self._view[offset : offset + size])

    def payload(self, frame: Frame) -> bytes:
        """A frame's payload, decoded and checked. Not for extents. Raises FrameDamaged."""
        stored = self._view[frame.payload : frame.end]
        try:
            data = codec.decode(frame.codec, stored, frame.size)
        finally:
            stored.release()
        checked = self.table(frame) + data if frame.kind == frames.LOG else data
        if Digest.of(checked) != frame.digest:
            raise FrameDamaged(f"the frame at byte {frame.offset} of {self.path} is damaged")
        return data

    def chunks(self, frame: Frame) -> list[FoundChunk]:
        """The chunks of a frame: one, or several for an extent. Raises FrameDamaged for a table
        that does not check."""
        if frame.kind != frames.EXTENT:
            place = (frame.payload, frame.stored, frame.size, frame.codec)
            return [FoundChunk(frame.digest, *place, self._checks(frame))]
        found = []
        at = frame.payload
        for digest, size in frames.parse_table(self.table(frame), frame):
            checks = Digest.of(self._view[at : at + size]) == digest
            found.append(FoundChunk(digest, at, size, size, frames.RAW, checks))
            at += size
        return found

    def last_frame(self, offset: int, end: int) -> None:
        """Sees that a frame at `offset` ends at `end`. Raises FrameDamaged."""
        if offset:
            found = self._frame_at(offset)
            if isinstance(found, FrameDamaged):
                raise found
            if found.end != end:
                raise FrameDamaged(f"the last frame of {self.path} is damaged")

    def _checks(self, frame: Frame) -> bool:
        try:
            self.payload(frame)
        except StoreError:
            return False
        return True


def pack_files(folder: Path) -> list[tuple[bytes, Path]]:
    """The packs of a folder of packs, by their names, in order."""
    with disk.translated("listing", folder):
        return sorted(_named(path for sub in folder.iterdir() for path in _entries(sub)))


def log_files(folder: Path) -> list[tuple[bytes, Path]]:
    """The log segments of a folder, by their names, in order."""
    with disk.translated("listing", folder):
        return sorted(_named(folder.iterdir()))


def _entries(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() else iter(())


def _named(paths: Iterator[Path]) -> Iterator[tuple[bytes, Path]]:
    for path in paths:
        try:
            file_id = bytes.fromhex(path.stem)
        except ValueError:
            continue
        if len(file_id) == 8 and path.suffix in (".pack", ".log"):
            yield file_id, path
