"""Taking in bytes: digest, known? done, cut into chunks, encode, append.

A blob of at most chunker.MIN bytes is one chunk. What is in memory is hashed first, so that known
blobs cost nothing more; a stream is cut and stored as it comes, since its digest stands at its end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, BinaryIO

from druse_store import chunker, codec, frames
from druse_store.digest import Digest, Hasher
from druse_store.errors import InvalidInput
from druse_store.frames import ChunkList
from druse_store.index.values import LIVE, BlobEntry
from druse_store.reader import Reader
from druse_store.records import BlobRef
from druse_store.writer import Writer

if TYPE_CHECKING:
    from typing_extensions import Buffer

Parts = list[tuple[Digest, int]]


class Ingest:
    """The way in for blobs. Thread-safe."""

    def __init__(self, writer: Writer, reader: Reader, level: codec.Level) -> None:
        self._writer = writer
        self._reader = reader
        self._level = level

    def put(self, data: Buffer, itemsize: int = 1) -> BlobRef:
        """Takes in bytes; `itemsize` is the size of the numbers in them."""
        view = _flat(data)
        digest = Digest.of(view)
        size = view.nbytes
        if size <= chunker.MIN:
            if not self._is_small_here(digest):
                kind, stored = codec.encode(view, level=self._level, itemsize=itemsize)
                self._writer.add_chunk(digest, size, kind, stored)
            return BlobRef(digest, size, digest)
        known = self._known(digest, size)
        if known is not None:
            return known
        cuts = chunker.split(view)
        pieces = [view[start:end] for start, end in zip([0, *cuts[:-1]], cuts, strict=True)]
        parts = self._chunks(pieces, itemsize)
        return self._blob(digest, size, parts)

    def put_stream(self, reader: BinaryIO) -> BlobRef:
        """Takes in a stream, in constant memory."""
        hasher = Hasher()
        parts: Parts = []
        size = 0
        for piece in chunker.chunks(reader):
            hasher.update(piece)
            size += len(piece)
            parts += self._chunks([piece], 1)
        if not parts:
            return self.put(b"")
        return self._blob(hasher.digest(), size, parts)

    def _is_small_here(self, digest: Digest) -> bool:
        """As `_is_here`, for what can only be a chunk."""
        if self._writer.has_blob(digest):
            return True
        entry = self._reader.indexed_chunk(digest)
        if entry is None or entry.state != LIVE:
            return False
        self._writer.rely(digest)
        return True

    def _is_here(self, digest: Digest) -> bool:
        """Whether a blob waits for its commit, or is known, and now relied upon."""
        if self._writer.has_blob(digest):
            return True
        if self._reader.is_known(digest):
            self._writer.rely(digest)
            return True
        return False

    def _known(self, digest: Digest, size: int) -> BlobRef | None:
        """The reference of a large blob that is here."""
        entry = self._writer.blob(digest) or self._reader.blob(digest)
        if entry is not None and entry.state == LIVE:
            self._writer.rely(digest)
            return BlobRef(digest, size, entry.chunks)
        if self._is_here(digest):
            return BlobRef(digest, size, digest)
        return None

    def _chunks(self, pieces: Iterable[memoryview], itemsize: int) -> Parts:
        parts: Parts = []
        for piece in pieces:
            digest = Digest.of(piece)
            parts.append((digest, len(piece)))
            if not self._is_here(digest):
                kind, stored = codec.encode(piece, level=self._level, itemsize=itemsize)
                self._writer.add_chunk(digest, len(piece), kind, stored)
        return parts

    def _blob(self, digest: Digest, size: int, parts: Parts) -> BlobRef:
        """Adds the blob of these chunks, unless it is a single one: then the chunk is the blob."""
        if len(parts) == 1:
            return BlobRef(digest, size, digest)
        outline = ChunkList(digest, size, tuple(parts))
        encoded = outline.encode()
        name = Digest.of(encoded)
        if not self._is_here(name):
            kind, stored = codec.encode(encoded, level=self._level)
            self._writer.add_chunk(name, len(encoded), kind, stored, frames.LIST)
        self._writer.add_blob(digest, BlobEntry(name, size, len(parts)), outline.chunks)
        return BlobRef(digest, size, name)


def _flat(data: Buffer) -> memoryview:
    try:
        view = memoryview(data)
        return view.cast("B") if view.nbytes else memoryview(b"")
    except TypeError as error:
        raise InvalidInput(
            f"a blob is bytes, or a contiguous buffer, or a binary file, not {type(data).__name__}"
        ) from error
