"""Many digests, by their first byte: as raw bytes, of which one part at a time becomes a set."""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import chain

from druse_store.digest import SIZE
from druse_store.errors import RecordDamaged

COUNT = 256
_ONE = struct.Struct(f"{SIZE}s")


class Buckets:
    """A multiset of digests at 32 bytes each."""

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts = [bytearray() for _ in range(COUNT)]

    def add(self, digest: bytes) -> None:
        if len(digest) != SIZE:
            raise RecordDamaged(f"what should be a digest has {len(digest)} bytes")
        self.parts[digest[0]] += digest

    def update(self, digests: Iterable[bytes]) -> None:
        for digest in digests:
            self.add(digest)

    def members(self, head: int) -> frozenset[bytes]:
        """Those that begin with this byte."""
        return frozenset(chain.from_iterable(_ONE.iter_unpack(self.parts[head])))

    def release(self, head: int) -> None:
        """Gives up the memory of a part that is not needed any more."""
        self.parts[head] = bytearray()


def under(keys: bytearray, head: int) -> list[bytes]:
    """Those of digests, side by side and in order, that begin with this byte."""
    places = range(0, len(keys), SIZE)
    low = bisect_left(places, head, key=keys.__getitem__)
    high = bisect_right(places, head, low, key=keys.__getitem__)
    part = keys[low * SIZE : high * SIZE]
    return [key for (key,) in _ONE.iter_unpack(part)]
