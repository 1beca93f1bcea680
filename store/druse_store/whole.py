"""Whole blobs, decoded in place on all cores, into memory or into a file.

What is checked is the whole, once it is there: the chunks need not be. Where the whole is not what
its digest says, or a chunk cannot be read, `Reader.pieces` does it again with care: it looks places
up anew, checks chunk by chunk, and says which one is damaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from druse_store import memory, parallel
from druse_store.codec import Codec, decode_into
from druse_store.digest import Digest, Hasher
from druse_store.errors import BlobNotFound, Damaged, FrameDamaged, UnknownCodec
from druse_store.frames import ChunkList

if TYPE_CHECKING:
    from druse_store.disk import OpenFile
    from druse_store.early import EarlySync
    from druse_store.reader import Reader

_GROUP = 1 << 20  # bytes that one task decodes, or a little more
_Group = tuple[int, list[tuple[Digest, int]]]  # where it begins in the blob, and its chunks


def in_memory(reader: Reader, outline: ChunkList) -> memoryview | None:
    """A blob in private memory; None where it does not come out right."""
    room = memory.reserve(outline.size)

    def work(group: _Group) -> None:
        start, chunks = group
        _decode(reader, chunks, room[start:])

    with suppress(Damaged, BlobNotFound, UnknownCodec):
        for _ in parallel.ordered(work, _groups(outline), _weight):
            pass
        if Digest.of_large(room) == outline.blob:
            return room
    return None


def to_file(reader: Reader, outline: ChunkList, file: OpenFile, early: EarlySync) -> bool:
    """Writes a blob to the start of a file; whether it came out right. Raises OSError."""
    hasher = Hasher()

    def work(group: _Group) -> tuple[int, memoryview, memoryview]:
        start, chunks = group
        room = memory.take(_weight(group))
        data = room[: _decode(reader, chunks, room)]
        end = file.write(data, start)
        return end, data, room

    with suppress(Damaged, BlobNotFound, UnknownCodec):
        for end, data, room in parallel.ordered(work, _groups(outline), _weight):
            early.written(end)
            hasher.update(data)
            data.release()
            memory.give_back(room)
        return hasher.digest() == outline.blob
    return False


def _decode(reader: Reader, chunks: list[tuple[Digest, int]], room: memoryview) -> int:
    """Decodes chunks side by side; returns where they end in `room`."""
    end = 0
    for digest, size in chunks:
        begin, end = end, end + size
        entry = reader.chunk(digest)
        if entry is None or entry.size != size:
            raise FrameDamaged(f"the chunk {digest} is not here in the size of its chunk list")
        place = room[begin:end]
        if entry.codec == Codec.RAW and entry.stored == size:
            reader.files.read_into(entry.pack, entry.offset, place)
        else:
            stored = reader.files.read(entry.pack, entry.offset, entry.stored)
            decode_into(entry.codec, stored, place)
    return end


def _groups(outline: ChunkList) -> Iterator[_Group]:
    """Neighbours together, so that a task is worth its hand-over."""
    start = end = 0
    group: list[tuple[Digest, int]] = []
    for digest, size in outline.chunks:
        group.append((digest, size))
        end += size
        if end - start >= _GROUP:
            yield start, group
            start, group = end, []
    if group:
        yield start, group


def _weight(group: _Group) -> int:
    return sum(size for _, size in group[1])
