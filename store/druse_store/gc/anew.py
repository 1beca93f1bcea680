"""The table of chunks in one go: the dead left out, what was copied pointed at its new place.

To find, check and drop one row takes ten times what it takes to copy it; and a pass over all
of them knows at its end which packs are still named, without another look at millions of rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import cast

from druse_store.gc.buckets import COUNT, under
from druse_store.gc.swaps import Swaps
from druse_store.gc.sweep import Sweeper
from druse_store.index.bulk import Bulk
from druse_store.index.values import CHUNKS

_PACK = itemgetter(slice(0, 8))  # of a chunk's row


class Anew:
    """One such pass. `doomed`: keys, in order, of chunks that go if they have a tombstone of
    `limit` or before, or need none."""

    def __init__(
        self,
        sweeper: Sweeper,
        doomed: Sequence[bytearray],
        limit: int,
        swaps: Swaps,
        advance: Callable[[int, int], None],
    ) -> None:
        self._sweeper = sweeper
        self._doomed = doomed
        self._limit = limit
        self._swaps = swaps
        self._advance = advance
        self.named: set[bytes] = set()  # packs in which something lies

    def run(self, tables: Bulk) -> None:
        """Writes the table anew, as a part of a transaction."""
        tables.write_anew(CHUNKS, self._change)

    def _change(self, head: int, table: dict[bytes, bytes]) -> None:
        self._advance(head, COUNT)
        keys = [key for keys in self._doomed for key in under(keys, head)]
        found = list(map(table.get, keys))
        if None in found:  # it left meanwhile
            keys = [key for key in keys if key in table]
            found = list(map(table.get, keys))
        if keys:
            gone = self._sweeper.leaving(CHUNKS, keys, cast("list[bytes]", found), self._limit)
            deque(map(table.pop, gone), maxlen=0)
        self._swaps.apply(head, table)
        self.named.update(map(_PACK, table.values()))
