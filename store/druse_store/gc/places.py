"""Where the chunks lie that stay, by pack: what a plan sizes packs by, and copies them by.

Of each chunk the row of the index is kept, without its key and its pack: 30 bytes. Its frame tells
the key, when it is copied, and the two have to fit together. Where there are too many chunks for
that, sums alone are kept, and whoever copies looks the rows up again.
"""

from __future__ import annotations

import struct
from array import array
from collections import defaultdict

from druse_store.frames import HEADER_SIZE, RAW
from druse_store.gc.packs import Use, extents

PACK = 8  # bytes of a chunk's row that name its pack; the rest is a place
SIZE = 30
_MOST = 2_000_000  # places that are in memory at once

_SIZES = struct.Struct("<QI4xB13x")  # offset, bytes that are stored, codec


class Places:
    """The places in each pack. `by_pack` is added to; then call `added`."""

    __slots__ = ("_raw", "_stored", "_waiting", "by_pack", "is_whole")

    def __init__(self) -> None:
        self.by_pack: defaultdict[bytes, bytearray] = defaultdict(bytearray)
        self.is_whole = True  # all places are in `by_pack`
        self._waiting = 0
        self._stored: defaultdict[bytes, int] = defaultdict(int)
        self._raw: defaultdict[bytes, array[int]] = defaultdict(lambda: array("Q"))

    def added(self, count: int) -> None:
        """Notes that at most so many were added; gives up what would take too much memory."""
        self._waiting += count
        if self._waiting > _MOST:
            for pack in list(self.by_pack):
                self._fold(pack)
            self._waiting, self.is_whole = 0, False

    def packs(self) -> list[bytes]:
        """All packs in which something stays."""
        return list({**self.by_pack, **self._stored})

    def use(self, pack: bytes) -> Use:
        """What of a pack stays."""
        places = self.by_pack.get(pack)
        self._fold(pack)
        if places is not None and self.is_whole:
            self.by_pack[pack] = places
        return Use(self._stored.pop(pack), list(extents(sorted(self._raw.pop(pack, ())))))

    def _fold(self, pack: bytes) -> None:
        """Adds the places of a pack up, and forgets them."""
        sizes = list(_SIZES.iter_unpack(self.by_pack.pop(pack, b"")))
        self._stored[pack] += HEADER_SIZE * len(sizes) + sum(stored for _, stored, _ in sizes)
        raw = [(offset << 32) | stored for offset, stored, codec in sizes if codec == RAW]
        if raw:
            self._raw[pack].extend(raw)
