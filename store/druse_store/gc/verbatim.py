"""Copying frames as they lie: chunks of which the place is known, and the frame tells the key.

Runs of frames are read side by side into memory of this process's own, checked there, and written
from there in one piece. What is not as it should be is left where it is: whoever finds it by its
key in the index, afterwards, copies it or says what is wrong.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import suppress
from itertools import accumulate, compress
from operator import ne
from pathlib import Path
from typing import TypeAlias

from druse_store import disk, memory
from druse_store.digest import SIZE
from druse_store.errors import IndexDamaged
from druse_store.frames import CHUNK, HEADER_SIZE, LIST, header
from druse_store.gc import places
from druse_store.gc.copying import verified
from druse_store.gc.stream import Stream
from druse_store.gc.swaps import Swaps
from druse_store.index.values import moved_chunk

_BATCH = 1 << 20  # bytes that are read, checked and written at once: they stay in a cache
_KEY = SIZE + 4  # bytes before its chunk: where a header has the key
_FIELDS = struct.Struct("<QIIB13x")
_WHOLE = struct.Struct(f"{places.SIZE}s")

# Offset, bytes that are stored, size, codec; and all of the place.
_Chunk: TypeAlias = "tuple[tuple[int, int, int, int], tuple[bytes]]"


def copy(pack: bytes, path: Path, rows: bytes | bytearray, out: Stream, swaps: Swaps) -> list[str]:
    """Copies the chunks of a pack whose places `rows` are, but for those that do not check.
    Returns why it could not go on, if so."""
    chunks = sorted(zip(_FIELDS.iter_unpack(rows), _WHOLE.iter_unpack(rows), strict=True))
    room = memory.take(max(_BATCH, *(fields[1] + HEADER_SIZE for fields, _ in chunks)))
    try:
        with path.open("rb", buffering=0) as file:
            for batch in _batches(chunks):
                while batch := _copy(pack, file.fileno(), batch, room, out, swaps):
                    pass  # again, without what does not check
    except OSError as error:
        return [f"{path} cannot be read: {error}"]
    finally:
        memory.give_back(room)
    return []


def _batches(chunks: list[_Chunk]) -> Iterator[list[_Chunk]]:
    """Chunks of at most `_BATCH` bytes together, one at least."""
    ends = list(accumulate([fields[1] + HEADER_SIZE for fields, _ in chunks]))
    start = done = 0
    while start < len(chunks):
        stop = max(bisect_left(ends, done + _BATCH + 1, start), start + 1)
        yield chunks[start:stop]
        start, done = stop, ends[stop - 1]


def _copy(
    pack: bytes, fd: int, batch: list[_Chunk], room: memoryview, out: Stream, swaps: Swaps
) -> list[_Chunk]:
    """Copies a batch, if all of it checks; else returns what of it does."""
    if not _read(fd, batch, room):
        return []
    ends = list(accumulate([fields[1] + HEADER_SIZE for fields, _ in batch]))
    rows = _checked(pack, batch, ends, room, out)
    if not all(rows):
        return list(compress(batch, rows))
    out.append_frames([room[: ends[-1]]], len(batch))
    parts = swaps.parts
    for row in rows:
        parts[row[0]] += row
    return []


def _read(fd: int, batch: list[_Chunk], room: memoryview) -> bool:
    """Reads frames into memory, side by side; false where a file is too short."""
    begins = [fields[0] - HEADER_SIZE for fields, _ in batch]
    ends = [fields[0] + fields[1] for fields, _ in batch]
    breaks = list(compress(range(1, len(batch)), map(ne, begins[1:], ends)))
    at = 0
    for first, stop in zip((0, *breaks), (*breaks, len(batch)), strict=True):
        size = ends[stop - 1] - begins[first]
        if begins[first] < 0 or disk.read_into(fd, room[at : at + size], begins[first]) < size:
            return False
        at += size
    return True


def _checked(
    pack: bytes, batch: list[_Chunk], ends: list[int], room: memoryview, out: Stream
) -> list[bytes]:
    """The swaps of a batch; an empty one for what does not check. There may be a million."""
    chunks = [
        (
            end - stored,
            stored,
            size,
            codec,
            bytes(room[end - stored - _KEY : end - stored - 4]),
            row,
        )
        for end, ((_, stored, size, codec), (row,)) in zip(ends, batch, strict=True)
    ]
    good = verified(room, chunks)
    moved, new_pack = out.end, out.file_id
    rows: list[bytes] = []
    for is_good, (at, stored, size, codec, key, place) in zip(good, chunks, strict=True):
        row = b""
        if is_good and _is_headed(room, at, stored, size, codec, key):
            old = pack + place
            with suppress(IndexDamaged):  # it is another chunk that lies there
                new = moved_chunk(key, old, new_pack + (moved + at).to_bytes(8, "little"))
                row = key + old + new
        rows.append(row)
    return rows


def _is_headed(room: memoryview, at: int, stored: int, size: int, codec: int, key: bytes) -> bool:
    """Whether the header that stands before a chunk is the one that it should have."""
    there = room[at - HEADER_SIZE : at]
    return there == header(CHUNK, codec, key, size, stored) or there == header(
        LIST, codec, key, size, stored
    )
