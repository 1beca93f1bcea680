"""Pack indexes: which chunks lie where in the packs of one upload.

    magic 8 | packs 4 | lists 4 | packs x (id 16 | size 8 | chunks 4 | first entry 4)
    | entries, sorted by digest within each pack: digest 32 | offset 8 | stored 4 | size 4 | codec 1
      | kind 1 | 0 2
    | lists: blob 32 | list 32 | size 8 | digest of all before 32

It is not signed: a chunk proves itself by its digest, so a forged entry leads to a miss at worst.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from druse_store import chunker, frames
from druse_store.digest import Digest, trusted
from druse_store.errors import RemoteDamaged

_MAGIC = b"\xd6DPIDX1\n"
_HEAD = struct.Struct("<8sII")
_PACK = struct.Struct("<16sQII")
_ENTRY = struct.Struct("<32sQIIBB2x")
_LIST = struct.Struct("<32s32sQ")
_MAX_CHUNK = 4 * chunker.MAX
_MAX_LIST = 64 << 20
_FEW = 64


class Place(NamedTuple):
    """Where a chunk lies on a remote, as its pack's index says."""

    pack: str
    offset: int
    stored: int
    size: int
    codec: int
    kind: int


class PackOutline(NamedTuple):
    """A pack that was uploaded: its id, its length and its chunks."""

    pack: str
    size: int
    chunks: dict[Digest, Place]


def encode(packs: Iterable[PackOutline], lists: dict[Digest, tuple[Digest, int]]) -> bytes:
    """The bytes of the index of these packs; `lists` names the chunk lists in them, by blob."""
    heads: list[bytes] = []
    entries: list[bytes] = []
    for pack in packs:
        heads.append(
            _PACK.pack(bytes.fromhex(pack.pack), pack.size, len(pack.chunks), len(entries))
        )
        entries += (_ENTRY.pack(digest, *pack.chunks[digest][1:]) for digest in sorted(pack.chunks))
    outlines = [_LIST.pack(blob, *named) for blob, named in sorted(lists.items())]
    head = _HEAD.pack(_MAGIC, len(heads), len(outlines))
    body = b"".join((head, *heads, *entries, *outlines))
    return body + Digest.of(body)


class PackIndex:
    """A decoded pack index. Entries stay bytes until they are asked for."""

    def __init__(self, data: bytes) -> None:
        """Raises RemoteDamaged."""
        body = memoryview(data)[:-32]
        if len(data) < _HEAD.size + 32 or Digest.of(body) != data[-32:]:
            raise RemoteDamaged("a pack index is damaged or cut off")
        magic, packs, lists = _HEAD.unpack_from(body)
        if magic != _MAGIC:
            raise RemoteDamaged("a pack index has another format than this version knows")
        entries_at = _HEAD.size + packs * _PACK.size
        lists_at = len(body) - lists * _LIST.size
        if not _HEAD.size <= entries_at <= lists_at or (lists_at - entries_at) % _ENTRY.size:
            raise RemoteDamaged("a pack index and its outline contradict each other")
        self._entries = bytes(body[entries_at:lists_at])
        self.lists = {
            trusted(blob): (trusted(named), size)
            for blob, named, size in _LIST.iter_unpack(body[lists_at:])
        }
        self.packs: list[tuple[str, int, int, int]] = []
        total = len(self._entries) // _ENTRY.size
        for number in range(packs):
            pack, size, count, first = _PACK.unpack_from(body, _HEAD.size + number * _PACK.size)
            if first + count > total:
                raise RemoteDamaged("a pack index names entries that it does not have")
            self.packs.append((pack.hex(), size, first, count))

    def find(self, wanted: set[Digest], without: set[str]) -> Iterator[tuple[Digest, Place]]:
        """Where the wanted chunks lie, in packs other than `without`."""
        for pack, size, first, count in self.packs:
            if pack in without:
                continue
            few = len(wanted) <= _FEW
            found = self._seek(wanted, first, count) if few else self._scan(wanted, first, count)
            for digest, *rest in found:
                place = Place(pack, *rest)
                if _is_sane(place, size):
                    yield trusted(digest), place

    def chunks(self, pack: str) -> dict[Digest, Place]:
        """Everything in one pack."""
        return {
            trusted(digest): Place(name, *rest)
            for name, size, first, count in self.packs
            if name == pack
            for digest, *rest in self._slice(first, count)
            if _is_sane(Place(name, *rest), size)
        }

    def _slice(self, first: int, count: int) -> Iterator[tuple[bytes, int, int, int, int, int]]:
        start = first * _ENTRY.size
        found: Iterator[tuple[bytes, int, int, int, int, int]]
        found = _ENTRY.iter_unpack(self._entries[start : start + count * _ENTRY.size])
        return found

    def _scan(
        self, wanted: set[Digest], first: int, count: int
    ) -> Iterator[tuple[bytes, int, int, int, int, int]]:
        return (entry for entry in self._slice(first, count) if entry[0] in wanted)

    def _seek(
        self, wanted: set[Digest], first: int, count: int
    ) -> Iterator[tuple[bytes, int, int, int, int, int]]:
        entries, width = self._entries, _ENTRY.size

        def digest_at(number: int) -> Digest:
            return trusted(entries[number * width : number * width + 32])

        for digest in wanted:
            at = bisect_left(range(first, first + count), digest, key=digest_at) + first
            if at < first + count and digest_at(at) == digest:
                yield _ENTRY.unpack_from(entries, at * width)


def _is_sane(place: Place, pack_size: int) -> bool:
    """Whether an entry can be right: it lies inside its pack, and is no larger than chunks are."""
    longest = _MAX_LIST if place.kind == frames.LIST else _MAX_CHUNK
    if place.kind not in (frames.CHUNK, frames.LIST):
        return False
    inside = frames.FILE_HEADER_SIZE <= place.offset <= pack_size - place.stored
    return inside and place.size <= longest and place.stored <= longest
