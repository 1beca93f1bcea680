"""Copying frames as they lie: chunks of which the place is known, and the frame tells the key.

Runs of frames are read side by side into memory of this process's own, checked there, and written
from there in one piece. What is not as it should be is left where it is: whoever finds it by its
key in the index, afterwards, copies it or says what is wrong.

There may be a million chunks, so that whole columns of them are made and compared, and hardly
anything is done for one of them alone.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate, compress, repeat
from operator import add, itemgetter, ne
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from druse_store import disk
from druse_store.frames import CHUNK, HEADER_SIZE, LIST, MAGIC
from druse_store.gc.copying import digests_of
from druse_store.gc.stream import Stream
from druse_store.gc.swaps import SWAP, Swaps
from druse_store.index.values import CHUNK_ROW, CHUNKS, PLACE, RESIDUE, SEEDS

_BATCH = 1 << 20  # bytes that are read, checked and written at once: they stay in a cache
_FIELDS = struct.Struct("<8xQIIB13x")
_WHOLE = struct.Struct(f"{CHUNK_ROW}s")
_REST = itemgetter(slice(PLACE, -4))  # what of a row stays as it is
_PLACE = struct.Struct("<8sQ")  # pack, offset
_HEAD = struct.Struct("<4sBBHIQQ32s4x")
_KINDS = frozenset((CHUNK, LIST))


class _Chunks(NamedTuple):
    """Chunks of a pack, in columns, in the order of their offsets."""

    offsets: Sequence[int]
    stored: Sequence[int]
    sizes: Sequence[int]
    codecs: Sequence[int]
    rows: Sequence[bytes]

    @property
    def lengths(self) -> list[int]:
        """The bytes of their frames."""
        return [stored + HEADER_SIZE for stored in self.stored]

    def part(self, start: int, stop: int) -> _Chunks:
        some = slice(start, stop)
        offsets, stored, sizes, codecs, whole = self
        return _Chunks(offsets[some], stored[some], sizes[some], codecs[some], whole[some])


def copy(pack: bytes, path: Path, rows: bytes | bytearray, out: Stream, swaps: Swaps) -> list[str]:
    """Copies the chunks of a pack whose rows these are, but for those that do not check.
    Returns why it could not go on, if so."""
    whole = zip(_FIELDS.iter_unpack(rows), _WHOLE.iter_unpack(rows), strict=True)
    chunks = _Chunks(*zip(*sorted([fields + row for fields, row in whole]), strict=True))
    try:
        with path.open("rb", buffering=0) as file:
            source = _Source(file.fileno(), out, swaps)
            for batch in _batches(chunks):
                source.copy(batch)
    except OSError as error:
        return [f"{path} cannot be read: {error}"]
    return []


def _batches(chunks: _Chunks) -> Iterator[_Chunks]:
    """Chunks of at most `_BATCH` bytes together, one at least."""
    ends = list(accumulate(chunks.lengths))
    start = done = 0
    while start < len(ends):
        stop = max(bisect_left(ends, done + _BATCH + 1, start), start + 1)
        yield chunks.part(start, stop)
        start, done = stop, ends[stop - 1]


class _Source:
    """A pack that is copied from."""

    def __init__(self, fd: int, out: Stream, swaps: Swaps) -> None:
        self._fd = fd
        self._out = out
        self._swaps = swaps

    def copy(self, batch: _Chunks) -> None:
        """Copies a batch; where it does not check, the halves of it."""
        count = len(batch.offsets)
        starts = list(accumulate(batch.lengths, initial=0))
        room = self._out.space(starts.pop())
        keys = _keys(batch, room, starts) if self._read(batch, room) else None
        rows = None if keys is None else self._rows(keys, batch, starts)
        if rows is not None:
            self._out.append_frames([room], count)
            self._swaps.add_rows(rows)
        elif count > 1:
            self.copy(batch.part(0, count // 2))
            self.copy(batch.part(count // 2, count))

    def _read(self, batch: _Chunks, room: memoryview) -> bool:
        """Reads frames into memory, side by side; false where the file is too short."""
        begins = [offset - HEADER_SIZE for offset in batch.offsets]
        ends = list(map(add, batch.offsets, batch.stored))
        breaks = list(compress(range(1, len(ends)), map(ne, begins[1:], ends)))
        at = 0
        for first, stop in zip((0, *breaks), (*breaks, len(ends)), strict=True):
            size = ends[stop - 1] - begins[first]
            part = room[at : at + size]
            if begins[first] < 0 or disk.read_into(self._fd, part, begins[first]) < size:
                return False
            at += size
        return True

    def _rows(self, keys: Sequence[bytes], batch: _Chunks, starts: list[int]) -> list[bytes] | None:
        """The swaps; None if a place is not that of the chunk which lies there."""
        begun = list(map(crc32, keys, repeat(SEEDS[CHUNKS])))
        if set(map(crc32, batch.rows, begun)) != {RESIDUE}:
            return None
        moved = self._out.end + HEADER_SIZE
        offsets = [start + moved for start in starts]
        moved_to = map(_PLACE.pack, repeat(self._out.file_id), offsets)
        bodies = list(map(add, moved_to, map(_REST, batch.rows)))
        return list(map(SWAP.pack, keys, batch.rows, bodies, map(crc32, bodies, begun)))


def _keys(batch: _Chunks, room: memoryview, starts: list[int]) -> Sequence[bytes] | None:
    """The keys of frames that are in memory; None if one of them does not check."""
    heads = map(_HEAD.unpack_from, repeat(room), starts)
    magic, kinds, codecs, pads, counts, stored, sizes, keys = zip(*heads, strict=True)
    checks = {crc32(room[start : start + HEADER_SIZE]) for start in starts}
    is_headed = (
        checks == {RESIDUE}
        and (set(magic), set(pads), set(counts)) == ({MAGIC}, {0}, {1})
        and _KINDS.issuperset(kinds)
        and (codecs, stored, sizes) == (batch.codecs, batch.stored, batch.sizes)
    )
    if not is_headed:
        return None
    payloads = [start + HEADER_SIZE for start in starts]
    return keys if digests_of(room, payloads, stored, codecs, sizes) == list(keys) else None
