"""Getting what is good out of packs that are not: copies of damaged chunks, and all the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from druse_store import codec, frames
from druse_store.digest import Digest
from druse_store.errors import FrameDamaged, StoreError
from druse_store.frames import Frame
from druse_store.index.values import ChunkEntry, FileEntry
from druse_store.location import Location
from druse_store.moving import Mover
from druse_store.scan import FrameFile


class Copy(NamedTuple):
    """A good copy of a chunk: its bytes as they are stored, and by which codec."""

    digest: Digest
    codec: int
    stored: bytes


def copies(
    location: Location, files: Mapping[bytes, FileEntry], wanted: Mapping[Digest, ChunkEntry]
) -> Iterator[Copy]:
    """Good copies of chunks that are damaged, or seem so, where the index has them. One each."""
    open_still = dict(wanted)
    for file_id, entry in files.items():
        if not open_still:
            return
        if entry.kind == frames.PACK and location.pack(file_id).exists():
            with FrameFile(location.pack(file_id), entry.end) as file:
                for copy in (*_in_place(file, file_id, open_still), *_in_frames(file, open_still)):
                    if open_still.pop(copy.digest, None) is not None:
                        yield copy


def _in_place(
    file: FrameFile, file_id: bytes, wanted: Mapping[Digest, ChunkEntry]
) -> Iterator[Copy]:
    """Chunks that are good where the index has them, though their frames' headers are not."""
    for digest, entry in wanted.items():
        if entry.pack == file_id:
            stored = file.bytes_at(entry.offset, entry.stored)
            if _gives(digest, entry.codec, stored, entry.size):
                yield Copy(digest, entry.codec, stored)


def _in_frames(file: FrameFile, wanted: Mapping[Digest, ChunkEntry]) -> Iterator[Copy]:
    for frame in file.frames():
        if not isinstance(frame, Frame) or frame.kind not in frames.HOLDING_CHUNKS:
            continue
        if frame.kind != frames.EXTENT and frame.digest not in wanted:
            continue
        try:
            found = file.chunks(frame)
        except FrameDamaged:
            continue
        for chunk in found:
            if chunk.checks and chunk.digest in wanted:
                stored = file.bytes_at(chunk.offset, chunk.stored)
                yield Copy(chunk.digest, chunk.codec, stored)


def _gives(digest: Digest, code: int, stored: bytes, size: int) -> bool:
    try:
        return Digest.of(codec.decode(code, stored, size)) == digest
    except StoreError:
        return False


def evacuate(
    file: FrameFile, file_id: bytes, mover: Mover, chunk: Callable[[Digest], ChunkEntry | None]
) -> None:
    """Has everything move that is good in a pack, and that the index has there.

    `chunk` looks a chunk up in the index. What lies side by side in an extent stays together.
    """
    for frame in file.frames():
        if not isinstance(frame, Frame) or frame.kind not in frames.HOLDING_CHUNKS:
            continue
        try:
            found = file.chunks(frame)
        except FrameDamaged:
            continue
        here = [(c, entry) for c in found if (entry := chunk(c.digest)) is not None and c.checks]
        here = [(c, entry) for c, entry in here if entry[:2] == (file_id, c.offset)]
        if frame.kind == frames.EXTENT and len(here) == len(found):
            data = memoryview(file.bytes_at(frame.payload, frame.stored))
            mover.add_extent([(c.digest, entry) for c, entry in here], data)
            continue
        kind = frames.LIST if frame.kind == frames.LIST else frames.CHUNK
        for c, entry in here:
            mover.add_chunk(kind, c.digest, c.codec, file.bytes_at(c.offset, c.stored), entry)
