"""Many digests, by their first byte: as raw bytes, of which one part at a time becomes a set."""

from __future__ import annotations

from collections.abc import Iterable

from druse_store.digest import SIZE
from druse_store.errors import RecordDamaged

COUNT = 256


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
        part = bytes(self.parts[head])
        return frozenset(part[at : at + SIZE] for at in range(0, len(part), SIZE))

    def release(self, head: int) -> None:
        """Gives up the memory of a part that is not needed any more."""
        self.parts[head] = bytearray()
