"""Reading blobs: found by the index, read from packs, hashed before anything is handed out.

A place that was looked up can be outdated a moment later, since packs are rewritten: a frame that
is not there, or does not check, is looked up once more before it counts as damage.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from druse_store import codec, frames, parallel, whole
from druse_store.digest import Digest, Hasher
from druse_store.errors import BlobDamaged, BlobNotFound, Damaged, FrameDamaged, StoreError
from druse_store.frames import ChunkList
from druse_store.index.environment import Environment
from druse_store.index.snapshot import Snapshot
from druse_store.index.values import SEALED, TOMBSTONED, BlobEntry, ChunkEntry
from druse_store.location import Location
from druse_store.packfiles import PackFiles
from druse_store.records import BlobRef

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from druse_store.writelock import WriteLock
    from druse_store.writer import Writer

_CACHED_CHUNKS = 4
_GROUP = 1 << 20  # bytes that one task reads
MAP_FROM = 64 << 10  # bytes; below, a copy is as good


class Reader:
    """What one open store reads with. Thread-safe."""

    def __init__(
        self, location: Location, environment: Environment, lock: WriteLock | None
    ) -> None:
        """With the write lock, it notes the damage that it meets."""
        self._location = location
        self._environment = environment
        self._lock = lock
        self._writer: Writer | None = None
        self.files = PackFiles(location)
        self._verified: set[Digest] = set()
        self._mapped: dict[BlobRef, tuple[bytes, int]] = {}

    def see(self, writer: Writer) -> None:
        """From now on what this writer has not committed is found too."""
        self._writer = writer

    # --- finding -------------------------------------------------------------------------------

    def chunk(self, digest: Digest) -> ChunkEntry | None:
        """Where a chunk lies, committed or not."""
        if self._writer is not None:
            entry = self._writer.chunk(digest)
            if entry is not None:
                return entry
        return self.indexed_chunk(digest)

    def indexed_chunk(self, digest: Digest) -> ChunkEntry | None:
        """Where a committed chunk lies."""
        with Snapshot(self._environment) as snapshot:
            return snapshot.chunk(digest)

    def blob(self, digest: Digest) -> BlobEntry | None:
        if self._writer is not None:
            entry = self._writer.blob(digest)
            if entry is not None:
                return entry
        with Snapshot(self._environment) as snapshot:
            return snapshot.blob(digest)

    def is_known(self, digest: Digest) -> bool:
        """Whether the index has it, live."""
        with Snapshot(self._environment) as snapshot:
            return snapshot.is_known(digest)

    def outline(self, digest: Digest) -> ChunkList:
        """The chunks that a blob is made of. Raises BlobNotFound, BlobDamaged."""
        entry = self.chunk(digest)
        if entry is not None and entry.state != TOMBSTONED:
            return ChunkList(digest, entry.size, ((digest, entry.size),))
        blob = self.blob(digest)
        if blob is None or blob.state == TOMBSTONED:
            raise BlobNotFound(f"no blob {digest} is in this store")
        return self.chunk_list(digest, blob.chunks, blob.size)

    def chunk_list(self, digest: Digest, chunks: Digest, size: int) -> ChunkList:
        """The chunk list of this digest, if it is one of that blob. Raises BlobDamaged."""
        if chunks == digest:
            return ChunkList(digest, size, ((digest, size),))
        with self._noting(digest):
            found = ChunkList.decode(self.read_chunk(chunks))
        if found.blob != digest or found.size != size:
            raise BlobDamaged(f"the chunk list {chunks} is that of another blob than {digest}")
        return found

    def chunks_of(self, digest: Digest, chunks: Digest, size: int) -> list[Digest]:
        """What a blob of several chunks is made of. Raises BlobDamaged, BlobNotFound."""
        return [chunk for chunk, _ in self.chunk_list(digest, chunks, size).chunks]

    # --- reading -------------------------------------------------------------------------------

    def read_chunk(self, digest: Digest) -> bytes:
        """A chunk's bytes, checked. Raises BlobNotFound, FrameDamaged, UnknownCodec."""
        return self._read(digest)[2]

    def read_stored(self, digest: Digest) -> tuple[ChunkEntry, bytes]:
        """A chunk as it is stored, and how; what it decodes to was checked."""
        return self._read(digest)[:2]

    def _read(self, digest: Digest) -> tuple[ChunkEntry, bytes, bytes]:
        tried: ChunkEntry | None = None
        while True:
            entry = self.chunk(digest)
            if entry is None:
                raise BlobNotFound(f"no chunk {digest} is in this store")
            try:
                return entry, *self._read_at(digest, entry)
            except Damaged:
                if tried is not None and entry[:3] == tried[:3]:
                    self._suspect(digest, entry[:2])
                    raise
                self.files.forget(entry.pack)
                tried = entry

    def read_part(self, blob: Digest, chunk: Digest) -> bytes:
        """As `read_chunk`, for a chunk of a larger blob, which is damaged if its chunk is."""
        with self._noting(blob):
            return self.read_chunk(chunk)

    def _read_at(self, digest: Digest, entry: ChunkEntry) -> tuple[bytes, bytes]:
        """The bytes as stored, and what they decode to, checked."""
        stored = self.files.read(entry.pack, entry.offset, entry.stored)
        data = codec.decode(entry.codec, stored, entry.size)
        if Digest.of(data) != digest:
            path = self._location.pack(entry.pack)
            raise FrameDamaged(
                f"the chunk {digest} at byte {entry.offset} of {path} is damaged: `druse verify` "
                "says what else is, `druse repair` mends what it can"
            )
        return stored, data

    def pieces(self, outline: ChunkList) -> Iterator[bytes]:
        """The chunks in order, each checked, read on all cores. Raises BlobDamaged behind the last
        one, where the whole is not what its digest says: keep what came to yourself until then."""
        hasher = Hasher()
        with self._noting(outline.blob):
            for group in parallel.ordered(self._read_group, _groups(outline.chunks), _weight):
                for data in group:
                    hasher.update(data)
                    yield data
            if hasher.digest() != outline.blob:
                raise BlobDamaged(
                    f"the chunks of blob {outline.blob} check, the whole does not: its chunk list "
                    "is wrong. `druse repair` drops it, so that it is computed again"
                )

    @contextmanager
    def _noting(self, blob: Digest) -> Iterator[None]:
        """Notes a blob that turns out to be damaged, so that it counts as known no more."""
        try:
            yield
        except (Damaged, BlobNotFound):
            self._suspect(blob, None)
            raise

    def _read_group(self, chunks: list[tuple[Digest, int]]) -> list[bytes]:
        group = [self.read_chunk(digest) for digest, _ in chunks]
        if [len(data) for data in group] != [size for _, size in chunks]:
            raise BlobDamaged("a chunk of a blob has another size than its chunk list says")
        return group

    def verify(self, outline: ChunkList) -> None:
        """Reads a whole blob, to see that it is what its digest says; once in this process."""
        if len(outline.chunks) == 1 or outline.blob in self._verified:
            return
        for _ in self.pieces(outline):
            pass
        self._verified.add(outline.blob)

    def read(self, digest: Digest) -> bytes:
        """A whole blob, checked."""
        outline = self.outline(digest)
        if len(outline.chunks) == 1:
            return self.read_chunk(outline.chunks[0][0])
        return bytes(self._whole(outline))

    def _whole(self, outline: ChunkList) -> Buffer:
        """A blob of several chunks, checked, in private memory."""
        room = whole.in_memory(self, outline)
        return b"".join(self.pieces(outline)) if room is None else room

    def read_ref(self, ref: BlobRef, may_map: bool) -> Buffer:
        """The blob of a reference, checked; mapped where that is allowed and possible.

        What can be written to is private, and nobody else's.
        """
        if may_map and ref.size >= MAP_FROM and (again := self._map_again(ref)) is not None:
            return again
        outline = self.chunk_list(ref.digest, ref.chunks, ref.size)
        if may_map and ref.size >= MAP_FROM and (mapped := self._map(ref, outline)) is not None:
            return mapped
        if len(outline.chunks) == 1:
            return self.read_chunk(ref.digest)
        return self._whole(outline)

    def _suspect(self, digest: Digest, place: tuple[bytes, int] | None) -> None:
        """Says that a chunk at this place, or (no place) a blob, did not check when it was read.

        It is not known from now on, in any process: whoever computes it again stores it anew.
        """
        if self._lock is None:
            return
        from druse_store.index.tables import Tables

        # The reader gets its own error, whatever comes of this.
        with suppress(StoreError), self._lock.held(), Tables(self._environment) as tables:
            tables.suspect(digest, place)
            tables.commit()

    # --- mapping -------------------------------------------------------------------------------

    def _map_again(self, ref: BlobRef) -> memoryview | None:
        """As before, if this was verified in this process: a sealed pack does not change, even
        where it was removed meanwhile, and is read from only because it is still open here."""
        place = self._mapped.get(ref)
        if place is None:
            return None
        try:
            return self.files.map(*place, ref.size) if self.files.is_private(place[0]) else None
        except Damaged:
            self._mapped.pop(ref, None)  # another thread may have found the same
            return None

    def _map(self, ref: BlobRef, outline: ChunkList) -> memoryview | None:
        """A blob as it lies in a sealed pack of one's own, where it lies raw and in one piece."""
        place = self._raw_place(outline)
        if place is None or not self.files.is_private(place[0]):
            return None
        view = self.files.map(*place, outline.size)
        if Digest.of_large(view) != outline.blob:
            return None  # reading it chunk by chunk says which one is damaged
        self._mapped[ref] = place
        return view

    def _raw_place(self, outline: ChunkList) -> tuple[bytes, int] | None:
        """Pack and offset, if all chunks lie raw, side by side and aligned in a sealed pack."""
        with Snapshot(self._environment) as snapshot:
            first = snapshot.chunk(outline.chunks[0][0])
            if first is None or first.offset % frames.ALIGNMENT:
                return None
            pack = snapshot.file(first.pack)
            if pack is None or pack.state != SEALED:
                return None
            at = first.offset
            for digest, size in outline.chunks:
                entry = snapshot.chunk(digest)
                if entry is None or entry[:4] != (first.pack, at, size, size):
                    return None
                if entry.codec != codec.Codec.RAW:
                    return None
                at += size
        return first.pack, first.offset

    def close(self) -> None:
        self.files.close()


def _groups(chunks: Sequence[tuple[Digest, int]]) -> Iterator[list[tuple[Digest, int]]]:
    """Neighbours together, so that a task is worth its hand-over."""
    group: list[tuple[Digest, int]] = []
    weight = 0
    for chunk in chunks:
        group.append(chunk)
        weight += chunk[1]
        if weight >= _GROUP:
            yield group
            group, weight = [], 0
    if group:
        yield group


def _weight(chunks: list[tuple[Digest, int]]) -> int:
    return sum(size for _, size in chunks)


class BlobFile(io.RawIOBase):
    """A blob as a read-only, seekable file. Every chunk is checked before it is read from."""

    def __init__(
        self, outline: ChunkList, read: Callable[[Digest], bytes], done: Callable[[], None]
    ) -> None:
        self._outline = outline
        self._read = read
        self._done = done
        self._ends: list[int] = []
        end = 0
        for _, size in outline.chunks:
            end += size
            self._ends.append(end)
        self._at = 0
        self._cache: dict[int, bytes] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._outline.size}[whence]
        if start + offset < 0:
            raise ValueError(f"negative position {start + offset}")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Buffer, /) -> int:
        if self.closed:
            raise ValueError("read from a closed blob")
        view = memoryview(buffer).cast("B")
        if self._at >= self._outline.size or not view.nbytes:
            return 0
        number = self._chunk_at(self._at)
        data = self._chunk(number)
        start = self._at - (self._ends[number] - len(data))
        piece = data[start : start + view.nbytes]
        view[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def _chunk_at(self, position: int) -> int:
        return bisect_right(self._ends, position)

    def _chunk(self, number: int) -> bytes:
        data = self._cache.get(number)
        if data is None:
            digest, size = self._outline.chunks[number]
            data = self._read(digest)
            if len(data) != size:
                raise BlobDamaged(f"a chunk of blob {self._outline.blob} has another size")
            if len(self._cache) >= _CACHED_CHUNKS:
                self._cache.pop(next(iter(self._cache)))
            self._cache[number] = data
        return data

    def close(self) -> None:
        if not self.closed:
            self._cache.clear()
            self._done()
        super().close()
