"""Taking in bytes: known? done, cut into chunks, hash, encode, append.

A blob of at most chunker.MIN bytes is one chunk. The first chunk of a larger one says whether it
may be known. Most are not, and are hashed while they are taken in, as a stream is, whose digest
stands at its end. Large blobs are taken in on all cores: whoever has time draws the next group,
and does all for it. A reader that is the user's own is asked in the thread that called. What does
not compress, and is whole in memory, goes into extents: side by side, raw, to be mapped.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from druse_store import chunker, codec, frames, memory, parallel
from druse_store.digest import Digest, Hasher, TrailingHasher
from druse_store.errors import InvalidInput
from druse_store.frames import ChunkList
from druse_store.index.values import LIVE, BlobEntry
from druse_store.reader import Reader
from druse_store.records import BlobRef
from druse_store.writer import ReadInto, Writer

if TYPE_CHECKING:
    from typing_extensions import Buffer

_GROUP = 1 << 20  # bytes that one task hashes and encodes
_COPIES = 8  # of groups, that wait to be hashed
_SAMPLES = 8
_new = tuple.__new__  # a named tuple's own way takes three times as long
_SAMPLE = 64 << 10


class Group(NamedTuple):
    """Neighbours, of which the first begins at byte `at` of their blob."""

    at: int
    pieces: list[memoryview]

    @property
    def size(self) -> int:
        return sum(map(len, self.pieces))


class Encoded(NamedTuple):
    """A group on its way in: what its chunks are, and those that are not here, as they are to be
    stored: (digest, size, codec, parts). Parts may lie in `room`."""

    named: list[tuple[Digest, int]]
    fresh: list[tuple[Digest, int, int, list[codec.Part]]]
    room: memoryview


class Ingest:
    """The way in for blobs. Thread-safe."""

    def __init__(self, writer: Writer, reader: Reader, level: codec.Level) -> None:
        self._writer = writer
        self._reader = reader
        self._level = level

    def put(self, data: Buffer, itemsize: int = 1) -> BlobRef:
        """Takes in bytes; `itemsize` is the size of the numbers in them.

        If somebody changes them meanwhile, what is stored is what was seen of them, by the digest
        of just that; what lies raw is refused then.
        """
        if type(data) is bytes and itemsize == 1 and 0 < len(data) <= codec.SMALL:
            digest = Digest.of(data)
            self._writer.add_small(digest, data)
            return _new(BlobRef, (digest, len(data), digest))
        view = _flat(data)
        if view.nbytes <= chunker.MIN:
            return self._put_single(data if type(data) is bytes else bytes(view), itemsize)
        is_constant = type(data) is bytes
        # Of a blob that is here, so is its first chunk: of most others no more has to be hashed.
        if self._is_small_here(Digest.of(next(chunker.cuts(view)))):
            known = self._known(Digest.of_large(view), view.nbytes)
            if known is not None:
                return known
        if _lies_raw(view, itemsize):
            return self._put_raw(view, is_constant)
        return self._put_large(view, itemsize, is_constant)

    def _put_single(self, data: bytes, itemsize: int) -> BlobRef:
        digest = Digest.of(data)
        if itemsize == 1 and 0 < len(data) <= codec.SMALL:
            self._writer.add_small(digest, data)
        elif not self._is_small_here(digest):
            kind, stored = codec.encode(data, level=self._level, itemsize=itemsize)
            self._writer.add_chunk(digest, len(data), kind, stored)
        return BlobRef(digest, len(data), digest)

    def _put_large(self, view: memoryview, itemsize: int, is_constant: bool) -> BlobRef:
        hasher = TrailingHasher(_COPIES)

        def groups() -> Iterator[tuple[Group, memory.Room | None]]:
            for group in _groups(chunker.cuts(view)):
                if is_constant:
                    hasher.add(view[group.at : group.at + group.size])
                    yield group, None
                else:
                    copy, room = _copied(group)
                    hasher.add(room.view[: group.size], room.let_go)
                    yield copy, room

        def work(item: tuple[Group, memory.Room | None]) -> list[tuple[Digest, int]]:
            hasher.catch_up()
            group, room = item
            named = self._take_in(group, itemsize)
            if room is not None:
                room.let_go()
            return named

        named = list(chain.from_iterable(parallel.spread(work, groups())))
        return self._blob(hasher.digest(), view.nbytes, named)

    def put_stream(self, reader: BinaryIO) -> BlobRef:
        """Takes in a stream, in constant memory."""
        hasher = TrailingHasher()
        itemsize = 1

        def groups() -> Iterator[Group]:
            nonlocal itemsize
            for group in _groups(chunker.chunks(reader)):
                if group.at == 0:
                    itemsize = codec.itemsize_of(group.pieces[0])
                for piece in group.pieces:
                    hasher.add(piece)
                yield group

        def work(group: Group) -> list[tuple[Digest, int]]:
            hasher.catch_up()
            return self._take_in(group, itemsize)

        if _is_known_kind(reader):
            named = parallel.spread(work, groups())
        else:
            named = list(parallel.ordered(work, groups(), _weight))
        parts = list(chain.from_iterable(named))
        if not parts:
            return self.put(b"")
        return self._blob(hasher.digest(), sum(size for _, size in parts), parts)

    # --- known? --------------------------------------------------------------------------------

    def _is_small_here(self, digest: Digest) -> bool:
        """Whether a chunk waits for its commit, or is known, and now relied upon."""
        if self._writer.has_blob(digest):
            return True
        entry = self._reader.indexed_chunk(digest)
        if entry is None or entry.state != LIVE:
            return False
        self._writer.rely(digest)
        return True

    def _known(self, digest: Digest, size: int) -> BlobRef | None:
        """The reference of a large blob that is here."""
        entry = self._writer.blob(digest) or self._reader.blob(digest)
        if entry is not None and entry.state == LIVE:
            self._writer.rely(digest)
            return BlobRef(digest, size, entry.chunks)
        return BlobRef(digest, size, digest) if self._is_small_here(digest) else None

    # --- chunks --------------------------------------------------------------------------------

    def _take_in(self, group: Group, itemsize: int) -> list[tuple[Digest, int]]:
        """Runs in any thread: hashes, encodes and appends what is not here; returns all names."""
        encoded = self._encode(group, itemsize)
        self._writer.add_chunks(encoded.fresh)
        memory.give_back(encoded.room)
        if self._writer.is_full():
            self._writer.flush()
        return encoded.named

    def _encode(self, group: Group, itemsize: int) -> Encoded:
        found = Encoded([], [], memory.take(group.size))
        way = None
        if itemsize > 1:  # numbers, all of one kind: looked at together
            way = codec.choose(group.pieces, itemsize, self._level, group.at)
        start = 0
        for piece in group.pieces:
            digest = Digest.of(piece)
            found.named.append((digest, len(piece)))
            if not self._is_small_here(digest):
                if itemsize == 1:
                    way = codec.way_of(piece, self._level)
                end = start + len(piece)
                at = group.at + start if itemsize > 1 else 0
                encoded = codec.encode_as(way, piece, at, found.room[start:end])
                found.fresh.append((digest, len(piece), *encoded))
            start += len(piece)
        return found

    def _put_raw(self, view: memoryview, is_constant: bool) -> BlobRef:
        """Appends the chunks that are not here in extents, as few as there are gaps."""
        hasher = None if is_constant else Hasher()
        parts: list[tuple[Digest, int]] = []
        fresh: list[tuple[Digest, int]] = []
        start = end = 0
        for named in parallel.ordered(_name, _groups(chunker.cuts(view)), _weight):
            for digest, size in named:
                parts.append((digest, size))
                if self._is_small_here(digest):
                    self._add_extent(fresh, view[start:end], hasher)
                    if hasher is not None:
                        _check([(digest, size)], bytes(view[end : end + size]), hasher)
                    fresh, start = [], end + size
                else:
                    fresh.append((digest, size))
                end += size
        self._add_extent(fresh, view[start:end], hasher)
        whole = Digest.of_large(view) if hasher is None else hasher.digest()
        return self._blob(whole, len(view), parts)

    def _add_extent(
        self, chunks: list[tuple[Digest, int]], data: memoryview, hasher: Hasher | None
    ) -> None:
        if not chunks:
            return
        if hasher is None:
            self._writer.add_extent(chunks, data)
        else:
            self._writer.add_extent(chunks, data, partial(_check_written, chunks, hasher))

    def _blob(self, digest: Digest, size: int, parts: list[tuple[Digest, int]]) -> BlobRef:
        """Adds the blob of these chunks, unless it is a single one: then the chunk is the blob."""
        if len(parts) == 1:
            return BlobRef(digest, size, digest)
        outline = ChunkList(digest, size, tuple(parts))
        encoded = outline.encode()
        name = Digest.of(encoded)
        if not self._is_small_here(name):
            kind, stored = codec.encode(encoded, level=self._level)
            self._writer.add_chunk(name, len(encoded), kind, stored, frames.LIST)
        self._writer.add_blob(digest, BlobEntry(name, size, len(parts)), outline.chunks)
        return BlobRef(digest, size, name)


def _is_known_kind(reader: BinaryIO) -> bool:
    """Whether any thread may read from it. Code of the user's runs in the thread that called: it
    may be for that one only, or read from a store itself, which wants threads that are free."""
    if type(reader) is io.BufferedReader:
        return type(reader.raw) is io.FileIO
    return type(reader) in (io.FileIO, io.BytesIO)


def _copied(group: Group) -> tuple[Group, memory.Room]:
    """A group as it is now, whoever changes what it was made from; just before it is hashed, a copy
    costs next to nothing."""
    room = memory.Room(group.size)
    start = 0
    pieces: list[memoryview] = []
    for piece in group.pieces:
        pieces.append(room.view[start : start + len(piece)])
        pieces[-1][:] = piece
        start += len(piece)
    return Group(group.at, pieces), room


def _name(group: Group) -> list[tuple[Digest, int]]:
    return [(Digest.of(piece), len(piece)) for piece in group.pieces]


def _check(chunks: Iterable[tuple[Digest, int]], data: Buffer, hasher: Hasher | None) -> None:
    """Whether these chunks are what is stored: whoever named them saw what may be changed."""
    view = memoryview(data)
    start = 0
    for digest, size in chunks:
        if Digest.of(view[start : start + size]) != digest:
            raise InvalidInput(
                "these bytes were changed by another thread while they were put: put a copy of "
                "them, or have it wait"
            )
        start += size
    if hasher is not None:
        hasher.update(view[:start])


def _check_written(
    chunks: Sequence[tuple[Digest, int]], hasher: Hasher, read_into: ReadInto
) -> None:
    """Reads an extent again, to see what was written, and to hash it."""

    def check(group: tuple[int, Sequence[tuple[Digest, int]]]) -> tuple[memoryview, int]:
        at, some = group
        size = sum(size for _, size in some)
        room = memory.take(size)
        read_into(room[:size], at)
        _check(some, room, None)
        return room, size

    for room, size in parallel.ordered(check, _grouped(chunks), lambda _: _GROUP):
        hasher.update(room[:size])
        memory.give_back(room)


def _grouped(chunks: Sequence[tuple[Digest, int]]) -> Iterator[tuple[int, Any]]:
    """Neighbours together: where they begin, and they."""
    start = at = weight = 0
    for place, (_, size) in enumerate(chunks, 1):
        weight += size
        if weight >= _GROUP or place == len(chunks):
            yield at, chunks[start:place]
            start, at, weight = place, at + weight, 0


def _groups(pieces: Iterable[memoryview]) -> Iterator[Group]:
    """Neighbours together, so that a task is worth its hand-over."""
    group: list[memoryview] = []
    at = weight = 0
    for piece in pieces:
        group.append(piece)
        weight += len(piece)
        if weight >= _GROUP:
            yield Group(at, group)
            group, at, weight = [], at + weight, 0
    if group:
        yield Group(at, group)


def _weight(group: Group) -> int:
    return group.size


def _lies_raw(view: memoryview, itemsize: int) -> bool:
    """Whether nothing in a large blob seems worth compressing, by samples from all over it."""
    step = max(len(view) // _SAMPLES // 16 * 16, _SAMPLE)
    starts = range(0, len(view), step)
    return not any(codec.pays(view[start : start + _SAMPLE], itemsize) for start in starts)


def _flat(data: Buffer) -> memoryview:
    try:
        view = memoryview(data)
        return view.cast("B") if view.nbytes else memoryview(b"")
    except TypeError as error:
        raise InvalidInput(
            f"a blob is bytes, or a contiguous buffer, or a binary file, not {type(data).__name__}"
        ) from error
