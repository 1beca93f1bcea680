"""Copying the chunks of a pack into another one, each verified before it is written.

Frames whose header is the one that their entry asks for are copied as they lie, many at a time.
Raw chunks that lie side by side become an extent, and so does a large one, to be mapped.
"""

from __future__ import annotations

import mmap
import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, compress
from operator import eq, not_
from pathlib import Path
from typing import TypeAlias

from blake3 import blake3

from druse_store import codec, disk, frames
from druse_store.digest import SIZE, Digest, trusted
from druse_store.errors import StoreError
from druse_store.frames import HEADER_SIZE, RAW
from druse_store.gc import packs
from druse_store.gc.stream import Stream
from druse_store.gc.swaps import Swaps
from druse_store.index.values import CHUNK_ROW

_FIELDS = struct.Struct(f"<{SIZE + 8}xQIIB13x")
_KEYED = struct.Struct(f"<{SIZE}s{CHUNK_ROW}s")
_BATCH = 4 << 20  # bytes that are verified, and written, at once

# A chunk: its offset, the bytes that are stored, its size, its codec, its digest, its row. A plain
# tuple, since there may be a million of them.
Chunk: TypeAlias = "tuple[int, int, int, int, bytes, bytes]"


@dataclass(slots=True)
class Source:
    """A pack that is copied from. `damaged`: what of it could not be."""

    file_id: bytes
    path: Path
    data: memoryview
    extents: list[list[Chunk]]
    frames: list[Chunk]
    damaged: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, pack: bytes, path: Path, rows: bytes | bytearray) -> Source:
        """Maps a pack; `rows` are the keys and values of its chunks, one behind the other."""
        found = zip(_FIELDS.iter_unpack(rows), _KEYED.iter_unpack(rows), strict=True)
        chunks = sorted([fields + keyed for fields, keyed in found])
        source = cls(pack, path, memoryview(b""), *_sorted_out(chunks))
        if chunks:
            try:
                with disk.translated("opening", path), path.open("rb") as file:
                    source.data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            except (StoreError, ValueError) as error:
                source.damaged.append(f"{path} cannot be read: {error}")
                source.extents, source.frames = [], []
        return source

    def lacks(self, chunk: Chunk) -> None:
        """Notes a chunk that does not check."""
        offset, _, _, _, key, _ = chunk
        self.damaged.append(f"the chunk {trusted(key)} at byte {offset} is damaged")


def _sorted_out(chunks: list[Chunk]) -> tuple[list[list[Chunk]], list[Chunk]]:
    raw = [chunk for chunk in chunks if chunk[3] == RAW]
    found = list(packs.extents([(chunk[0] << 32) | chunk[2] for chunk in raw]))
    if not found:
        return [], chunks
    extents = [raw[first:last] for first, last, _ in found]
    taken = {chunk[0] for extent in extents for chunk in extent}
    return extents, [chunk for chunk in chunks if chunk[0] not in taken]


def copy(sources: list[Source], out: Stream, swaps: Swaps) -> None:
    """Copies all of these into one pack: extents first. Their packs are let go."""
    for source in sources:
        copy_extents(source, out, swaps)
    for source in sources:
        copy_frames(source, out, swaps)
        source.data = memoryview(b"")


# --- extents -----------------------------------------------------------------------------------


def copy_extents(source: Source, out: Stream, swaps: Swaps) -> None:
    """Copies raw chunks that lie side by side."""
    for chunks in source.extents:
        good = _verified(source.data, chunks)
        if all(good):
            _append_extent(source, chunks, out, swaps)
        else:
            source.lacks(chunks[good.index(False)])


def _append_extent(source: Source, chunks: list[Chunk], out: Stream, swaps: Swaps) -> None:
    data = source.data
    table = frames.table([(trusted(key), size) for _, _, size, _, key, _ in chunks])
    pad = frames.padding(out.end + HEADER_SIZE + len(table))
    start, end = chunks[0][0], chunks[-1][0] + chunks[-1][2]
    head = frames.header(
        frames.EXTENT, RAW, Digest.of(table), end - start, end - start, len(chunks), pad
    )
    place = out.append(head, table, bytes(pad), data[start:end])
    moved = place + HEADER_SIZE + len(table) + pad - start
    for offset, _, _, _, key, row in chunks:
        swaps.add(key, row, out.file_id, offset + moved)


# --- frames ------------------------------------------------------------------------------------


def copy_frames(source: Source, out: Stream, swaps: Swaps) -> None:
    """Copies all other chunks, a frame each; neighbours together."""
    for batch in _batches(source.frames):
        good = _verified(source.data, batch)
        for chunk in compress(batch, map(not_, good)):
            source.lacks(chunk)
        chunks = list(compress(batch, good))
        out.append_frames(_pieces(source, chunks, out, swaps), len(chunks))


def _pieces(
    source: Source, chunks: list[Chunk], out: Stream, swaps: Swaps
) -> list[memoryview | bytes]:
    """What is to be written for these chunks: runs of frames as they lie side by side, and new
    headers where the old ones do not check. One loop: there may be a million of them."""
    data, head_of = source.data, frames.header
    found: list[memoryview | bytes] = []
    start = end = 0  # of the run
    moved = out.end  # what is to be added to a place in the run
    for offset, stored, size, kind, key, row in chunks:
        begin = offset - HEADER_SIZE
        there = data[begin:offset]
        head = head_of(frames.CHUNK, kind, key, size, stored)
        is_whole = there == head or there == head_of(frames.LIST, kind, key, size, stored)
        if not is_whole or begin != end:
            if end != start:
                found.append(data[start:end])
            if not is_whole:
                found.append(head)
                begin = offset
                moved += HEADER_SIZE
            moved += end - begin
            start = begin
        end = offset + stored
        swaps.add(key, row, out.file_id, offset + moved)
    if end != start:
        found.append(data[start:end])
    return found


def _verified(data: memoryview, chunks: list[Chunk]) -> list[bool]:
    """Whether each gives the bytes that its name says."""
    offsets, stored, sizes, codecs, keys, _ = zip(*chunks, strict=True)
    return list(map(eq, digests_of(data, offsets, stored, codecs, sizes), keys))


def digests_of(
    data: memoryview,
    offsets: Sequence[int],
    stored: Sequence[int],
    codecs: Sequence[int],
    sizes: Sequence[int],
) -> list[bytes]:
    """The digests of what chunks decode to; empty for one that cannot be decoded."""
    if set(codecs) == {RAW} and stored == sizes:
        return [blake3(data[at : at + n]).digest() for at, n in zip(offsets, stored, strict=True)]
    encoded = [
        (kind, data[at : at + length], size)
        for at, length, kind, size in zip(offsets, stored, codecs, sizes, strict=True)
    ]
    plain = codec.decode_many(encoded)
    return [b"" if each is None else blake3(each).digest() for each in plain]


def _batches(chunks: list[Chunk]) -> Iterator[list[Chunk]]:
    """Chunks of about `_BATCH` bytes together."""
    ends = list(accumulate([chunk[1] for chunk in chunks]))
    start = done = 0
    while start < len(chunks):
        stop = bisect_left(ends, done + _BATCH, start) + 1
        yield chunks[start:stop]
        start, done = stop, ends[min(stop, len(ends)) - 1]
