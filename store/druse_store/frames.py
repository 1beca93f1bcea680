"""Frames: the self-describing pieces that packs and log segments are made of.

A file begins with a 64-byte file header; frames follow without gaps. A frame is

    header (64 bytes) | table (extents only) | pad zero bytes | payload (`stored` bytes)

and its header, little-endian, is

    magic 4 | kind 1 | codec 1 | pad 2 | count 4 | stored 8 | size 8 | digest 32 | crc32 4

CHUNK   one chunk: `digest` is that of its `size` uncompressed bytes.
EXTENT  `count` chunks, stored raw and side by side, so that they can be mapped as one. The table
        holds (digest 32 | size 4) for each; `digest` is that of the table.
LIST    the chunk list of a blob, see `ChunkList`; `digest` is that of the list.
LOG     logical changes, see `changes`. The table is the frame's `Link`; `digest` is that of the
        link and the uncompressed payload.
SEAL    the file is complete: nothing follows, nobody appends. `count` frames stand before it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from druse_store.digest import SIZE, Digest, trusted
from druse_store.errors import FrameDamaged

if TYPE_CHECKING:
    from typing_extensions import Buffer

MAGIC = b"\xd6DF1"
CHUNK, EXTENT, LIST, LOG, SEAL = 1, 2, 3, 4, 5
KINDS = frozenset((CHUNK, EXTENT, LIST, LOG, SEAL))
HOLDING_CHUNKS = frozenset((CHUNK, EXTENT, LIST))
RAW = 0

_HEADER = struct.Struct("<4sBBHIQQ32s")
HEADER_SIZE = _HEADER.size + 4
_CRC = struct.Struct("<I")
_ENTRY = struct.Struct("<32sI")
ENTRY_SIZE = _ENTRY.size
ALIGNMENT = 64

_FILE = struct.Struct("<8sB3x8s16sI20x")
FILE_MAGIC = b"\xd6DRUSE1\n"
FILE_HEADER_SIZE = _FILE.size + 4
PACK, LOG_SEGMENT = 1, 2


class Frame(NamedTuple):
    """A frame's header, as found at `offset` of a file."""

    offset: int
    kind: int
    codec: int
    pad: int
    items: int
    stored: int
    size: int
    digest: Digest

    @property
    def table_size(self) -> int:
        if self.kind == EXTENT:
            return self.items * ENTRY_SIZE
        return LINK_SIZE if self.kind == LOG else 0

    @property
    def payload(self) -> int:
        """The offset of the payload."""
        return self.offset + HEADER_SIZE + self.table_size + self.pad

    @property
    def end(self) -> int:
        return self.payload + self.stored


def header(
    kind: int, codec: int, digest: bytes, size: int, stored: int, count: int = 1, pad: int = 0
) -> bytes:
    """The 64 bytes of a frame's header."""
    packed = _HEADER.pack(MAGIC, kind, codec, pad, count, stored, size, digest)
    return packed + _CRC.pack(crc32(packed))


def small_chunks(
    digests: Sequence[bytes], sizes: Sequence[int], codecs: Iterable[int], stored: Sequence[Buffer]
) -> bytes:
    """The frames of small chunks, side by side: `header` and what is stored, for many."""
    heads = list(
        map(
            _HEADER.pack,
            repeat(MAGIC),
            repeat(CHUNK),
            codecs,
            repeat(0),
            repeat(1),
            map(len, stored),  # type: ignore[arg-type]  # a buffer of bytes has a length
            sizes,
            digests,
        )
    )
    checks = map(_CRC.pack, map(crc32, heads))
    return b"".join(chain.from_iterable(zip(heads, checks, stored, strict=True)))


def parse(data: bytes | memoryview, offset: int) -> Frame:
    """The frame whose header `data` holds; `offset` says where it was. Raises FrameDamaged."""
    if len(data) < HEADER_SIZE:
        raise FrameDamaged(f"a frame header at byte {offset} is cut off")
    body = bytes(data[: _HEADER.size])
    magic, kind, codec, pad, count, stored, size, digest = _HEADER.unpack(body)
    (check,) = _CRC.unpack(data[_HEADER.size : HEADER_SIZE])
    if magic != MAGIC or crc32(body) != check or kind not in KINDS:
        raise FrameDamaged(f"no valid frame header at byte {offset}")
    return Frame(offset, kind, codec, pad, count, stored, size, trusted(digest))


def table(chunks: list[tuple[Digest, int]]) -> bytes:
    """The table of an extent."""
    return b"".join(_ENTRY.pack(digest, size) for digest, size in chunks)


def parse_table(data: bytes, frame: Frame) -> list[tuple[Digest, int]]:
    """The chunks of an extent, in order. Raises FrameDamaged."""
    if Digest.of(data) != frame.digest or len(data) != frame.table_size:
        raise FrameDamaged(f"the table of the extent at byte {frame.offset} is damaged")
    entries = [(trusted(digest), size) for digest, size in _ENTRY.iter_unpack(data)]
    if sum(size for _, size in entries) != frame.stored:
        raise FrameDamaged(f"the extent at byte {frame.offset} is not as long as its chunks")
    return entries


def padding(end_of_table: int) -> int:
    """How many zero bytes bring a payload to the alignment that a mapped array wants."""
    return -end_of_table % ALIGNMENT


def file_header(kind: int, file_id: bytes, store_id: bytes, uid: int) -> bytes:
    """The 64 bytes at the beginning of a pack or log segment."""
    packed = _FILE.pack(FILE_MAGIC, kind, file_id, store_id, uid)
    return packed + _CRC.pack(crc32(packed))


class FileHeader(NamedTuple):
    """What the beginning of a pack or segment says."""

    kind: int
    file_id: bytes
    store_id: bytes
    uid: int


def parse_file_header(data: bytes) -> FileHeader:
    """Raises FrameDamaged where the bytes are no file header."""
    if len(data) < FILE_HEADER_SIZE:
        raise FrameDamaged("the file header is cut off")
    body = data[: _FILE.size]
    magic, kind, file_id, store_id, uid = _FILE.unpack(body)
    (check,) = _CRC.unpack(data[_FILE.size : FILE_HEADER_SIZE])
    if magic != FILE_MAGIC or crc32(body) != check:
        raise FrameDamaged("the file header is damaged")
    return FileHeader(kind, file_id, store_id, uid)


_LINK = struct.Struct("<QQ8sQ")
LINK_SIZE = _LINK.size


class Link(NamedTuple):
    """What makes the log a chain: commit 8 | time in ns 8 | previous segment 8 | its offset 8.

    A log frame that was written, but whose commit never happened, is in nobody's chain.
    """

    commit: int
    time: int
    segment: bytes
    offset: int

    def encode(self) -> bytes:
        return _LINK.pack(*self)

    @classmethod
    def decode(cls, data: bytes) -> Link:
        return cls._make(_LINK.unpack(data))


_LIST = struct.Struct("<4s32sQI")
_LIST_MAGIC = b"DCL1"


class ChunkList(NamedTuple):
    """What a blob of several chunks is made of. Encoded: magic 4 | blob digest 32 | size 8 |
    count 4 | count x (chunk digest 32 | size 4)."""

    blob: Digest
    size: int
    chunks: tuple[tuple[Digest, int], ...]

    def encode(self) -> bytes:
        head = _LIST.pack(_LIST_MAGIC, self.blob, self.size, len(self.chunks))
        return head + table(list(self.chunks))

    @classmethod
    def decode(cls, data: bytes) -> ChunkList:
        """Raises FrameDamaged."""
        if len(data) < _LIST.size:
            raise FrameDamaged("a chunk list is cut off")
        magic, blob, size, count = _LIST.unpack_from(data)
        if magic != _LIST_MAGIC or len(data) != _LIST.size + count * ENTRY_SIZE:
            raise FrameDamaged("a chunk list has another outline than format version 1")
        chunks = tuple((trusted(d), n) for d, n in _ENTRY.iter_unpack(data[_LIST.size :]))
        if sum(n for _, n in chunks) != size:
            raise FrameDamaged("a chunk list and the size of its blob contradict each other")
        return cls(trusted(blob), size, chunks)


assert HEADER_SIZE == FILE_HEADER_SIZE == 64
assert SIZE == 32
