"""Many digests, by their first byte: as raw bytes, of which one part at a time becomes a set."""

from __future__ import annotations

import struct
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
