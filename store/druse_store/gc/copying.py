"""Copying the chunks of a pack into another one, each verified before it is written.

Frames whose header is the one that their entry asks for are copied as they lie, many at a time.
Raw chunks that lie side by side become an extent, and so does a large one, to be mapped.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from blake3 import blake3

from druse_store import codec, disk, frames
from druse_store.appender import Appender
from druse_store.digest import SIZE, Digest, trusted
from druse_store.errors import StoreError
from druse_store.frames import HEADER_SIZE, RAW
from druse_store.gc import packs
from druse_store.gc.swaps import PUT, Swaps
from druse_store.location import Location

_ROW = struct.Struct(f"<{SIZE}s8xQIIB13x")
_BATCH = 4 << 20  # bytes that are verified, and written, at once

# A chunk: its offset, the bytes that are stored, its size, its codec, its digest. A plain tuple,
# since there may be a million of them.
Chunk: TypeAlias = "tuple[int, int, int, int, bytes]"


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
    def open(cls, location: Location, pack: bytes, rows: bytes | bytearray) -> Source:
        """Maps a pack; `rows` are the keys and values of its chunks, one behind the other."""
        path = location.pack(pack)
        chunks = sorted([(*rest, key) for key, *rest in _ROW.iter_unpack(rows)])
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
        offset, _, _, _, key = chunk
        self.damaged.append(f"the chunk {trusted(key)} at byte {offset} is damaged")


def _sorted_out(chunks: list[Chunk]) -> tuple[list[list[Chunk]], list[Chunk]]:
    raw = [chunk for chunk in chunks if chunk[3] == RAW]
    found = list(packs.extents([(chunk[0] << 32) | chunk[2] for chunk in raw]))
    if not found:
        return [], chunks
    extents = [raw[first:last] for first, last, _ in found]
    taken = {chunk[0] for extent in extents for chunk in extent}
    return extents, [chunk for chunk in chunks if chunk[0] not in taken]


# --- extents -----------------------------------------------------------------------------------


def copy_extents(source: Source, out: Appender, swaps: Swaps) -> None:
    """Copies raw chunks that lie side by side."""
    for chunks in source.extents:
        good = _verified(source.data, chunks)
        if all(good):
            _append_extent(source, chunks, out, swaps)
        else:
            source.lacks(chunks[good.index(False)])


def _append_extent(source: Source, chunks: list[Chunk], out: Appender, swaps: Swaps) -> None:
    data = source.data
    table = frames.table([(trusted(key), size) for _, _, size, _, key in chunks])
    pad = frames.padding(out.end + HEADER_SIZE + len(table))
    start, end = chunks[0][0], chunks[-1][0] + chunks[-1][2]
    head = frames.header(
        frames.EXTENT, RAW, Digest.of(table), end - start, end - start, len(chunks), pad
    )
    place = out.append(head, table, bytes(pad), data[start:end])
    moved = place + HEADER_SIZE + len(table) + pad - start
    for offset, _, _, _, key in chunks:
        swaps.parts[key[0]] += PUT.pack(key, source.file_id, offset, out.file_id, offset + moved)


# --- frames ------------------------------------------------------------------------------------


def copy_frames(source: Source, out: Appender, swaps: Swaps) -> None:
    """Copies all other chunks, a frame each; neighbours together."""
    data, before, now = source.data, source.file_id, out.file_id
    parts, put = swaps.parts, PUT.pack
    for batch in _batches(source.frames):
        pieces = _Pieces(data, out.end)
        good = _verified(data, batch)
        for chunk, checks in zip(batch, good, strict=True):
            if not checks:
                source.lacks(chunk)
                continue
            offset, _, _, _, key = chunk
            place = pieces.add(chunk)
            parts[key[0]] += put(key, before, offset, now, place)
        out.append_frames(pieces.close(), pieces.count)


class _Pieces:
    """Parts of a mapped pack that are written one behind the other: runs of frames as they lie,
    and new headers where the old ones do not check."""

    __slots__ = ("_data", "_end", "_found", "_moved", "_start", "count")

    def __init__(self, data: memoryview, end: int) -> None:
        """`end`: where the first of them will be."""
        self._data = data
        self._found: list[memoryview | bytes] = []
        self._start = self._end = 0  # of the run
        self._moved = end  # what is to be added to a place in the run
        self.count = 0

    def add(self, chunk: Chunk) -> int:
        """Takes a chunk in; returns where it will be."""
        offset, stored, size, kind, key = chunk
        self.count += 1
        start = offset - HEADER_SIZE
        found = self._data[start:offset]
        head = frames.header(frames.CHUNK, kind, key, size, stored)
        if found != head and found != frames.header(frames.LIST, kind, key, size, stored):
            self._begin(offset, HEADER_SIZE)
            self._found.append(head)
        elif start != self._end:
            self._begin(start)
        self._end = offset + stored
        return offset + self._moved

    def _begin(self, start: int, between: int = 0) -> None:
        """Ends the run, and begins another one, `between` so many other bytes."""
        if self._end != self._start:
            self._found.append(self._data[self._start : self._end])
        self._moved += self._end - start + between
        self._start = self._end = start

    def close(self) -> list[memoryview | bytes]:
        """All pieces, in order."""
        self._begin(0)
        return self._found


def _verified(data: memoryview, chunks: list[Chunk]) -> list[bool]:
    """Whether each gives the bytes that its name says."""
    if all(kind == RAW and stored == size for _, stored, size, kind, _ in chunks):
        found = [blake3(data[place : place + size]).digest() for place, size, _, _, _ in chunks]
    else:
        encoded = [(kind, data[at : at + stored], size) for at, stored, size, kind, _ in chunks]
        plain = codec.decode_many(encoded)
        found = [b"" if each is None else blake3(each).digest() for each in plain]
    return [digest == chunk[4] for digest, chunk in zip(found, chunks, strict=True)]


def _batches(chunks: Iterable[Chunk]) -> Iterator[list[Chunk]]:
    batch: list[Chunk] = []
    weight = 0
    for chunk in chunks:
        batch.append(chunk)
        weight += chunk[1]
        if weight >= _BATCH:
            yield batch
            batch, weight = [], 0
    if batch:
        yield batch
