"""The rows that chunks had and those that they get, many of them, handed out by key.

Index entries are changed in the order of their keys, whatever packs they are in: so each page of
the index is written once for all the packs of a wave, not once for each of them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from itertools import compress
from typing import TypeAlias

from druse_store.digest import SIZE
from druse_store.index.values import CHUNK_ROW, PLACE, moved_chunk

# Key, old row, and the new one: its body and its check.
SWAP = struct.Struct(f"<{SIZE}s{CHUNK_ROW}s{CHUNK_ROW - 4}sI")
_WHOLE = struct.Struct(f"<{SIZE}s{CHUNK_ROW}s{CHUNK_ROW}s")


# A chunk that was copied: its key, the row that it had, and the one that it gets.
Swap: TypeAlias = "tuple[bytes, bytes, bytes]"


class Swaps:
    """Swaps by the first byte of their keys: `parts` takes what `SWAP` packs."""

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts = [bytearray() for _ in range(256)]

    def add(self, key: bytes, row: bytes, pack: bytes, offset: int) -> None:
        """Adds a chunk that has this row, and lies there now. Raises IndexDamaged."""
        self.parts[key[0]] += key + row + moved_chunk(key, row, pack + offset.to_bytes(8, "little"))

    def add_rows(self, rows: Iterable[bytes]) -> None:
        """Adds what `SWAP` packs."""
        parts = self.parts
        for row in rows:
            parts[row[0]] += row

    @property
    def count(self) -> int:
        return sum(map(len, self.parts)) // SWAP.size

    def _of(self, head: int) -> Iterator[Swap]:
        """Those whose keys begin with this byte."""
        return _WHOLE.iter_unpack(self.parts[head])

    def apply(self, head: int, table: dict[bytes, bytes]) -> None:
        """Gives those rows of chunks that begin with this byte the places that they get; one that
        is another than it was by now keeps the rest. The swaps are forgotten."""
        if not self.parts[head]:
            return
        keys, old, new = zip(*self._of(head), strict=True)
        self.parts[head] = bytearray()
        if tuple(map(table.get, keys)) != old:
            # Some are not there any more, or have another state: hardly any.
            new = tuple(map(_late, keys, map(table.get, keys), old, new))
            keys, new = (tuple(compress(each, new)) for each in (keys, new))
        table.update(zip(keys, new, strict=True))

    def slices(self, size: int) -> Iterator[list[Swap]]:
        """All, in the order of their keys, at most so many at once."""
        waiting: list[Swap] = []
        for head in range(len(self.parts)):
            waiting += sorted(self._of(head))
            while len(waiting) >= size:
                yield waiting[:size]
                del waiting[:size]
        if waiting:
            yield waiting


def _late(key: bytes, now: bytes | None, old: bytes, new: bytes) -> bytes:
    """The row that a chunk gets which has this one now; empty where it is not there any more."""
    if now == old:
        return new
    if now is None or now[:PLACE] != old[:PLACE]:
        return b""
    return moved_chunk(key, now, new[:PLACE])
