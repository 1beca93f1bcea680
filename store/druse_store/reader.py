"""Reading blobs: found by the index, read from packs, hashed before anything is handed out.

A place that was looked up can be outdated a moment later, since packs are rewritten: a frame that
is not there, or does not check, is looked up once more before it counts as damage.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from druse_store import codec
from druse_store.digest import Digest, Hasher
from druse_store.errors import BlobDamaged, BlobNotFound, Damaged, FrameDamaged
from druse_store.frames import ChunkList
from druse_store.index.environment import Environment
from druse_store.index.snapshot import Snapshot
from druse_store.index.values import LIVE, BlobEntry, ChunkEntry
from druse_store.location import Location
from druse_store.packfiles import PackFiles
from druse_store.records import BlobRef
from druse_store.writer import Writer

if TYPE_CHECKING:
    from typing_extensions import Buffer

_CACHED_CHUNKS = 4


class Reader:
    """What one open store reads with. Thread-safe."""

    def __init__(self, location: Location, environment: Environment, writer: Writer | None) -> None:
        self._location = location
        self._environment = environment
        self._writer = writer
        self.files = PackFiles(location)
        self._verified: set[Digest] = set()

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
        if entry is not None and entry.state == LIVE:
            return ChunkList(digest, entry.size, ((digest, entry.size),))
        blob = self.blob(digest)
        if blob is None or blob.state != LIVE:
            raise BlobNotFound(f"no blob {digest} is in this store")
        return self.chunk_list(digest, blob.chunks, blob.size)

    def chunk_list(self, digest: Digest, chunks: Digest, size: int) -> ChunkList:
        """The chunk list of this digest, if it is one of that blob. Raises BlobDamaged."""
        if chunks == digest:
            return ChunkList(digest, size, ((digest, size),))
        found = ChunkList.decode(self.read_chunk(chunks))
        if found.blob != digest or found.size != size:
            raise BlobDamaged(f"the chunk list {chunks} is that of another blob than {digest}")
        return found

    # --- reading -------------------------------------------------------------------------------

    def read_chunk(self, digest: Digest) -> bytes:
        """A chunk's bytes, checked. Raises BlobNotFound, FrameDamaged, UnknownCodec."""
        tried: ChunkEntry | None = None
        while True:
            entry = self.chunk(digest)
            if entry is None:
                raise BlobNotFound(f"no chunk {digest} is in this store")
            try:
                return self._read_at(digest, entry)
            except Damaged:
                if tried is not None and entry[:3] == tried[:3]:
                    raise
                self.files.forget(entry.pack)
                tried = entry

    def _read_at(self, digest: Digest, entry: ChunkEntry) -> bytes:
        stored = self.files.read(entry.pack, entry.offset, entry.stored)
        data = codec.decode(entry.codec, stored, entry.size)
        if Digest.of(data) != digest:
            path = self._location.pack(entry.pack)
            raise FrameDamaged(
                f"the chunk {digest} at byte {entry.offset} of {path} is damaged: `druse verify` "
                "says what else is, `druse repair` mends what it can"
            )
        return data

    def pieces(self, outline: ChunkList) -> Iterator[bytes]:
        """The chunks in order, each checked. Raises BlobDamaged behind the last one, where the
        whole is not what its digest says: keep what came to yourself until then."""
        hasher = Hasher()
        for digest, size in outline.chunks:
            data = self.read_chunk(digest)
            if len(data) != size:
                raise BlobDamaged(f"a chunk of blob {outline.blob} has another size than listed")
            hasher.update(data)
            yield data
        if hasher.digest() != outline.blob:
            raise BlobDamaged(
                f"the chunks of blob {outline.blob} check, the whole does not: its chunk list is "
                "wrong. `druse repair` drops it, so that it is computed again"
            )

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
        return b"".join(self.pieces(outline))

    def read_ref(self, ref: BlobRef, may_map: bool) -> Buffer:
        """The blob of a reference, checked; mapped where that is allowed and possible."""
        outline = self.chunk_list(ref.digest, ref.chunks, ref.size)
        if len(outline.chunks) == 1:
            return self.read_chunk(ref.digest)
        return b"".join(self.pieces(outline))

    def close(self) -> None:
        self.files.close()


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
