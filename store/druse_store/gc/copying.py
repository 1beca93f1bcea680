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
from typing import NamedTuple

from druse_store import codec, disk, frames
from druse_store.appender import Appender
from druse_store.digest import SIZE, Digest, trusted
from druse_store.errors import StoreError
from druse_store.frames import HEADER_SIZE, RAW
from druse_store.gc import packs
from druse_store.location import Location

PLACE = 16  # bytes of a chunk's row that say where it is: pack and offset
_ROW = struct.Struct(f"<{SIZE}s{PLACE}sIIB13x")
_BATCH = 4 << 20  # bytes that are verified at once


class Chunk(NamedTuple):
    """A chunk, where it lies, and the place as its row has it."""

    offset: int
    stored: int
    size: int
    codec: int
    key: Digest
    place: bytes


class Swap(NamedTuple):
    """A chunk that was copied: where it was and where it is, as its row has it."""

    key: bytes
    old: bytes
    new: bytes


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
        chunks = sorted(_chunks(bytes(rows)))
        source = cls(pack, path, memoryview(b""), *_sorted_out(chunks))
        if chunks:
            try:
                with disk.translated("opening", path), path.open("rb") as file:
                    source.data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            except (StoreError, ValueError) as error:
                source.damaged.append(f"{path} cannot be read: {error}")
                source.extents, source.frames = [], []
        return source


def _chunks(rows: bytes) -> Iterator[Chunk]:
    for key, place, stored, size, kind in _ROW.iter_unpack(rows):
        offset = int.from_bytes(place[8:], "little")
        yield Chunk(offset, stored, size, kind, trusted(key), place)


def _sorted_out(chunks: list[Chunk]) -> tuple[list[list[Chunk]], list[Chunk]]:
    raw = [chunk for chunk in chunks if chunk.codec == RAW]
    found = list(packs.extents([(chunk.offset << 32) | chunk.size for chunk in raw]))
    extents = [raw[first:last] for first, last, _ in found]
    taken = {chunk.offset for extent in extents for chunk in extent}
    return extents, [chunk for chunk in chunks if chunk.offset not in taken]


# --- extents -----------------------------------------------------------------------------------


def copy_extents(source: Source, out: Appender) -> Iterator[Swap]:
    """Copies raw chunks that lie side by side."""
    for chunks in source.extents:
        good = _verified(source.data, chunks)
        if all(good):
            yield from _append_extent(source.data, chunks, out)
        else:
            bad = chunks[good.index(False)]
            source.damaged.append(_damage(bad))


def _append_extent(data: memoryview, chunks: list[Chunk], out: Appender) -> Iterator[Swap]:
    table = frames.table([(chunk.key, chunk.size) for chunk in chunks])
    pad = frames.padding(out.end + HEADER_SIZE + len(table))
    start, end = chunks[0].offset, chunks[-1].offset + chunks[-1].size
    head = frames.header(
        frames.EXTENT, RAW, Digest.of(table), end - start, end - start, len(chunks), pad
    )
    place = out.append(head, table, bytes(pad), data[start:end])
    place += HEADER_SIZE + len(table) + pad
    for chunk in chunks:
        yield Swap(chunk.key, chunk.place, _place(out, place))
        place += chunk.size


# --- frames ------------------------------------------------------------------------------------


def copy_frames(source: Source, out: Appender) -> Iterator[Swap]:
    """Copies all other chunks, a frame each; neighbours together."""
    data = source.data
    for batch in _batches(source.frames):
        good = _verified(data, batch)
        run: list[Chunk] = []
        for chunk, checks in zip(batch, good, strict=True):
            if not checks:
                source.damaged.append(_damage(chunk))
            elif not _has_header(data, chunk):
                place = out.append(_header(chunk), data[chunk[0] : chunk[0] + chunk[1]])
                yield Swap(chunk.key, chunk.place, _place(out, place + HEADER_SIZE))
            elif run and _follows(run[-1], chunk):
                run.append(chunk)
            else:
                yield from _append_run(data, run, out)
                run = [chunk]
        yield from _append_run(data, run, out)


def _append_run(data: memoryview, run: list[Chunk], out: Appender) -> Iterator[Swap]:
    """Appends neighbours, as they lie."""
    if run:
        first, last = run[0], run[-1]
        start = first.offset - HEADER_SIZE
        moved = out.append_frames(data[start : last.offset + last.stored], len(run)) - start
        for offset, _, _, _, key, place in run:
            yield Swap(key, place, _place(out, offset + moved))


def _follows(before: Chunk, chunk: Chunk) -> bool:
    return before[0] + before[1] + HEADER_SIZE == chunk[0]


def _header(chunk: Chunk, kind: int = frames.CHUNK) -> bytes:
    return frames.header(kind, chunk.codec, chunk.key, chunk.size, chunk.stored)


def _has_header(data: memoryview, chunk: Chunk) -> bool:
    """Whether the frame that its entry asks for lies around a chunk."""
    found = data[chunk.offset - HEADER_SIZE : chunk.offset]
    return found == _header(chunk) or found == _header(chunk, frames.LIST)


def _verified(data: memoryview, chunks: list[Chunk]) -> list[bool]:
    """Whether each gives the bytes that its name says."""
    stored = [
        (kind, data[offset : offset + length], size) for offset, length, size, kind, _, _ in chunks
    ]
    return [
        plain is not None and Digest.of(plain) == chunk.key
        for plain, chunk in zip(codec.decode_many(stored), chunks, strict=True)
    ]


def _damage(chunk: Chunk) -> str:
    return f"the chunk {chunk.key} at byte {chunk.offset} is damaged"


def _batches(chunks: Iterable[Chunk]) -> Iterator[list[Chunk]]:
    batch: list[Chunk] = []
    weight = 0
    for chunk in chunks:
        batch.append(chunk)
        weight += chunk.stored
        if weight >= _BATCH:
            yield batch
            batch, weight = [], 0
    if batch:
        yield batch


def _place(out: Appender, offset: int) -> bytes:
    return out.file_id + offset.to_bytes(8, "little")
