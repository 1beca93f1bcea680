"""The rows that chunks had and those that they get, many of them, handed out by key.

Index entries are changed in the order of their keys, whatever packs they are in: so each page of
the index is written once for all the packs of a wave, not once for each of them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from itertools import compress
from operator import is_, is_not
from typing import TypeAlias

from druse_store.digest import SIZE
from druse_store.index.bulk import Row
from druse_store.index.values import CHUNK_ROW, PLACE, moved_chunk

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

    @property
    def count(self) -> int:
        return sum(map(len, self.parts)) // _SWAP.size

    def applied(self, head: int, rows: list[Row]) -> list[Row]:
        """Those rows of chunks that begin with this byte, with the places that they get; a row that
        stays is the very one that was given."""
        swaps = list(_SWAP.iter_unpack(self.parts[head]))
        new = {(key, old): (key, new) for key, old, new in swaps}
        found = list(map(new.get, rows, rows))
        if sum(map(is_not, found, rows)) == len(swaps):
            return found
        # Some are not there any more, or have another state: hardly any.
        others = dict(compress(rows, map(is_, found, rows)))
        late = {
            key: (key, moved_chunk(key, others[key], new[:PLACE]))
            for key, old, new in swaps
            if others.get(key, b"")[:PLACE] == old[:PLACE]
        }
        return [late.get(row[0], row) for row in found]

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
