"""Where the chunks lie that stay, by pack: what a plan sizes packs by, and copies them by.

Of each chunk the row of the index is kept, without its key: its frame tells that when it is copied,
and the two have to fit together. Where there are too many chunks for that, sums alone are kept, and
whoever copies looks the rows up again.

A step in Python for each chunk would be most of what a plan takes: rows are looked at in columns.
"""

from __future__ import annotations

import sys
from array import array
from collections import defaultdict, deque
from collections.abc import Sequence
from itertools import compress
from operator import add, itemgetter

from druse_store.frames import HEADER_SIZE, RAW
from druse_store.gc.packs import MAPPED, Use, extents
from druse_store.index.values import CHUNK_ROW

_MOST = 1_500_000  # rows that are in memory at once
_JOINED = 50_000  # rows that wait to be joined: each takes twice its size until then

_PACK = itemgetter(slice(0, 8))
_OFFSET, _STORED, _CODEC = (8, 8), (16, 4), 24  # where in a row they stand, and their bytes


class Places:
    """The rows in each pack: `add` them."""

    __slots__ = ("_count", "_raw", "_stored", "_waiting", "by_pack", "is_whole")

    def __init__(self) -> None:
        self.by_pack: defaultdict[bytes, bytearray] = defaultdict(bytearray)
        self.is_whole = True  # all rows are in `by_pack`
        self._waiting: defaultdict[bytes, list[bytes]] = defaultdict(list)
        self._count = 0
        self._stored: defaultdict[bytes, int] = defaultdict(int)
        self._raw: defaultdict[bytes, array[int]] = defaultdict(lambda: array("Q"))

    def add(self, rows: Sequence[bytes]) -> None:
        """Adds rows of chunks; gives up what would take too much memory."""
        lists = map(self._waiting.__getitem__, map(_PACK, rows))
        deque(map(list.append, lists, rows), maxlen=0)
        before, self._count = self._count, self._count + len(rows)
        if before // _JOINED != self._count // _JOINED:
            self._join()
        if self._count > _MOST:
            self._join()
            for pack in list(self.by_pack):
                self._fold(pack)
            self._count, self.is_whole = 0, False

    def _join(self) -> None:
        for pack, rows in self._waiting.items():
            self.by_pack[pack] += b"".join(rows)
        self._waiting.clear()

    def packs(self) -> list[bytes]:
        """All packs in which something stays; call it before `use`."""
        self._join()
        return list({**self.by_pack, **self._stored})

    def use(self, pack: bytes) -> Use:
        """What of a pack stays."""
        if self.is_whole:
            offsets, stored, codecs = _columns(self.by_pack[pack])
            kept = HEADER_SIZE * len(stored) + sum(stored)
            if _are_apart(offsets, stored):
                return Use(kept, [])
            raw = _raw(offsets, stored, codecs)
            return Use(kept, list(extents(sorted(raw))))
        self._fold(pack)
        return Use(self._stored.pop(pack), list(extents(sorted(self._raw.pop(pack, ())))))

    def _fold(self, pack: bytes) -> None:
        """Adds the rows of a pack up, and forgets them."""
        offsets, stored, codecs = _columns(self.by_pack.pop(pack, bytearray()))
        self._stored[pack] += HEADER_SIZE * len(stored) + sum(stored)
        raw = _raw(offsets, stored, codecs)
        if raw:
            self._raw[pack].extend(raw)


def _columns(rows: bytearray) -> tuple[array[int], array[int], bytes]:
    """The offsets, the stored bytes and the codecs of rows that stand side by side."""
    offsets = array("Q", _column(rows, *_OFFSET))
    stored = array("I", _column(rows, *_STORED))
    if sys.byteorder == "big":
        offsets.byteswap()
        stored.byteswap()
    return offsets, stored, bytes(rows[_CODEC::CHUNK_ROW])


def _column(rows: bytearray, at: int, size: int) -> bytes:
    """The bytes `at` of each row, `size` of them, side by side."""
    found = bytearray(len(rows) // CHUNK_ROW * size)
    for place in range(size):
        found[place::size] = rows[at + place :: CHUNK_ROW]
    return bytes(found)


def _are_apart(offsets: array[int], stored: array[int]) -> bool:
    """Whether no chunk lies right behind another one, and none is worth aligning."""
    return max(stored) < MAPPED and set(offsets).isdisjoint(map(add, offsets, stored))


def _raw(offsets: array[int], stored: array[int], codecs: bytes) -> list[int]:
    """Those that are stored raw, as `extents` wants them."""
    raw = map(RAW.__eq__, codecs)
    return [(at << 32) | size for at, size in compress(zip(offsets, stored, strict=True), raw)]
