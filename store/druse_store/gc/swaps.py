"""Where chunks were and where they are now, many of them: 64 bytes each, handed out by key.

Index entries are changed in the order of their keys, whatever packs they are in: so each page of
the index is written once for all the packs of a wave, not once for each of them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TypeAlias

from druse_store.digest import SIZE

PLACE = 16  # bytes of a chunk's row that say where it is: pack and offset

_SWAP = struct.Struct(f"<{SIZE}s{PLACE}s{PLACE}s")
# The same, as it is put down: key, pack and offset of before, pack and offset of now.
PUT = struct.Struct(f"<{SIZE}s8sQ8sQ")


# A chunk that was copied: its key, and where it was and is, as its row has it.
Swap: TypeAlias = "tuple[bytes, bytes, bytes]"


class Swaps:
    """Swaps by the first byte of their keys: `parts` takes what `PUT` packs."""

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts = [bytearray() for _ in range(256)]

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
