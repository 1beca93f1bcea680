"""What collections leave behind in the index and the log, cleared away now and then.

Times of long ago. Edges of reads that lead to no record any more: a sweep drops the last one of a
chain, and the others go when there are many more edges than records. The log still tells of all
that was removed; it is written anew when that is a good part of it, and of the store, and nobody
else waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from druse_store import checkpoint
from druse_store.changes import Change
from druse_store.digest import SIZE
from druse_store.gc.buckets import COUNT, Buckets
from druse_store.gc.sweep import SLICE, Sweeper
from druse_store.index import values
from druse_store.index.bulk import Bulk, Scan, state_of
from druse_store.index.values import EDGES, RECORDS, TOMBSTONED
from druse_store.records import Record

if TYPE_CHECKING:
    from druse_store.session import Session

# Of records removed since the last time, and of what the store takes, the shares from which on the
# log is written anew: to free a byte of it takes twenty times as long as one of a pack.
SHARE, WORTH = 0.2, 0.02
CHEAP = 1 << 20  # bytes of a log that is not worth the question
EDGES_EACH, EDGES_SPARE = 4, 1_000  # edges, for each record and besides, that are not too many
_HOUR, _DAY = 3_600_000_000_000, 86_400_000_000_000

Advance = Callable[[str, int, int], None]


def thin_clock(tables: Bulk) -> list[Change]:
    """Of a day ago, one time an hour is enough, and one a day of three months ago."""
    now = time.time_ns()
    last = None
    for commit, at in tables.clock():
        age = now - at
        slot = at // (_DAY if age > 90 * _DAY else _HOUR)
        if age > _DAY and slot == last:
            tables.drop(values.CLOCK, values.clock_key(commit))
        last = slot
    return []


class Upkeep:
    """The upkeep of one collection."""

    def __init__(self, session: Session, sweeper: Sweeper, advance: Advance) -> None:
        self._session = session
        self._sweeper = sweeper
        self._advance = advance

    def drop_edges(self) -> None:
        """Drops what leads to no record."""
        dead = bytearray()
        with Scan(self._session.environment) as scan:
            nodes = Buckets()
            for head, rows in scan.slices(RECORDS):
                self._advance("follow reads", head, COUNT)
                for key, value in rows:
                    if state_of(value)[0] != TOMBSTONED:
                        nodes.update(Record.decode(values.body(RECORDS, key, value)).nodes())
            for head, rows in scan.slices(EDGES):
                live = nodes.members(head)
                for key, _ in rows:
                    if key not in live:
                        dead += key
        for start in range(0, len(dead), SLICE * SIZE):
            part = dead[start : start + SLICE * SIZE]
            keys = [bytes(part[at : at + SIZE]) for at in range(0, len(part), SIZE)]

            def work(tables: Bulk, keys: list[bytes] = keys) -> list[Change]:
                spared = self._sweeper.spared.nodes
                tables.drop_rows(EDGES, [key for key in keys if key not in spared])
                return []

            self._sweeper.transact("drop edges", work)

    def is_log_worth_it(self, share: float, size: int) -> bool:
        """Whether the log is to be written anew, of whose records this share was removed, in a
        store that takes so many bytes."""
        log = self._log_bytes()
        return share >= SHARE and (log <= CHEAP or share * log >= WORTH * size)

    def write_log_anew(self) -> int:
        """Returns how many bytes the log is smaller."""
        session = self._session
        self._advance("write the log anew", 0, 1)
        before = self._log_bytes()
        session.writer.leave_files()
        for path in checkpoint.write(session.location, session.environment, session.write_lock):
            with suppress(FileNotFoundError):
                path.unlink()
        return before - self._log_bytes()

    def _log_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._session.location.log.iterdir())
