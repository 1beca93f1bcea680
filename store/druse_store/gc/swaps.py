"""The rows that chunks had and those that they get, many of them, handed out by key.

Index entries are changed in the order of their keys, whatever packs they are in: so each page of
the index is written once for all the packs of a wave, not once for each of them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from druse_store.digest import SIZE
from druse_store.index.values import CHUNK_ROW, moved_chunk

_SWAP = struct.Struct(f"<{SIZE}s{CHUNK_ROW}s{CHUNK_ROW}s")


# A chunk that was copied: its key, the row that it had, and the one that it gets.
Swap: TypeAlias = "tuple[bytes, bytes, bytes]"


class Swaps:
    """Swaps by the first byte of their keys: `parts` takes key, old row and new row."""

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts = [bytearray() for _ in range(256)]

    def add(self, key: bytes, row: bytes, pack: bytes, offset: int) -> None:
        """Adds a chunk that has this row, and lies there now. Raises IndexDamaged."""
        new = moved_chunk(key, row, pack + offset.to_bytes(8, "little"))
        self.parts[key[0]] += key + row + new

    def add_rows(self, rows: Iterable[bytes]) -> None:
        """Adds chunks; of each the key, the row that it has and the one that it gets."""
        parts = self.parts
        for row in rows:
            parts[row[0]] += row

    def slices(self, size: int) -> Iterator[list[Swap]]:
        """All, in the order of their keys, at most so many at once."""
        waiting: list[Swap] = []
        for part in self.parts:
            waiting += sorted(_SWAP.iter_unpack(part))
            while len(waiting) >= size:
                yield waiting[:size]
                del waiting[:size]
        if waiting:
            yield waiting
