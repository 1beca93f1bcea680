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

from druse_store import codec, disk, frames, parallel
from druse_store.appender import Appender
from druse_store.digest import SIZE, Digest, trusted
from druse_store.errors import FrameDamaged, StoreError
from druse_store.frames import HEADER_SIZE, RAW
from druse_store.gc import packs
from druse_store.location import Location

PLACE = 16  # bytes of a chunk's row that say where it is: pack and offset
_ROW = struct.Struct(f"<{SIZE}s{PLACE}s")
_CHUNK = struct.Struct("<8sQIIB13x")
_WEIGHT = 1 << 20  # bytes that one task verifies
_AS_IT_LIES = b""


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
    size = SIZE + _CHUNK.size
    for at in range(0, len(rows), size):
        key, place = _ROW.unpack_from(rows, at)
        _, offset, stored, length, kind = _CHUNK.unpack_from(rows, at + SIZE)
        yield Chunk(offset, stored, length, kind, trusted(key), place)


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
        try:
            for chunk in chunks:
                _verify(source.data, chunk)
        except StoreError as error:
            source.damaged.append(str(error))
            continue
        yield from _append_extent(source.data, chunks, out)


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
    """Copies all other chunks, a frame each."""
    data = source.data

    def examine(chunks: list[Chunk]) -> list[tuple[Chunk, bytes | StoreError]]:
        return [(chunk, _head(data, chunk)) for chunk in chunks]

    run: list[Chunk] = []
    for examined in parallel.ordered(examine, _batches(source.frames), lambda _: _WEIGHT):
        for chunk, head in examined:
            if head is _AS_IT_LIES and run and _follows(run[-1], chunk):
                run.append(chunk)
                continue
            yield from _append_run(data, run, out)
            run = []
            if isinstance(head, StoreError):
                source.damaged.append(str(head))
            elif head is _AS_IT_LIES:
                run = [chunk]
            else:
                place = out.append(head, data[chunk.offset : chunk.offset + chunk.stored])
                yield Swap(chunk.key, chunk.place, _place(out, place + HEADER_SIZE))
    yield from _append_run(data, run, out)


def _append_run(data: memoryview, run: list[Chunk], out: Appender) -> Iterator[Swap]:
    """Appends neighbours, as they lie."""
    if run:
        first, last = run[0], run[-1]
        start = first.offset - HEADER_SIZE
        moved = out.append_frames(data[start : last.offset + last.stored], len(run)) - start
        for chunk in run:
            yield Swap(chunk.key, chunk.place, _place(out, chunk.offset + moved))


def _follows(before: Chunk, chunk: Chunk) -> bool:
    return before.offset + before.stored + HEADER_SIZE == chunk.offset


def _head(data: memoryview, chunk: Chunk) -> bytes | StoreError:
    """The header that a chunk's frame needs, unless it has it. Runs in any thread."""
    try:
        _verify(data, chunk)
    except StoreError as error:
        return error
    found = bytes(data[chunk.offset - HEADER_SIZE : chunk.offset])
    fields = (chunk.codec, chunk.key, chunk.size, chunk.stored)
    wanted = frames.header(frames.CHUNK, *fields)
    if found in (wanted, frames.header(frames.LIST, *fields)):
        return _AS_IT_LIES
    return wanted


def _verify(data: memoryview, chunk: Chunk) -> None:
    """Raises FrameDamaged, UnknownCodec for what does not give the chunk's bytes."""
    stored = data[chunk.offset : chunk.offset + chunk.stored]
    plain = stored if chunk.codec == RAW else codec.decode(chunk.codec, stored, chunk.size)
    if len(stored) != chunk.stored or Digest.of(plain) != chunk.key:
        raise FrameDamaged(f"the chunk {chunk.key} at byte {chunk.offset} is damaged")


def _batches(chunks: Iterable[Chunk]) -> Iterator[list[Chunk]]:
    batch: list[Chunk] = []
    weight = 0
    for chunk in chunks:
        batch.append(chunk)
        weight += chunk.stored
        if weight >= _WEIGHT or len(batch) == 4096:
            yield batch
            batch, weight = [], 0
    if batch:
        yield batch


def _place(out: Appender, offset: int) -> bytes:
    return out.file_id + offset.to_bytes(8, "little")
