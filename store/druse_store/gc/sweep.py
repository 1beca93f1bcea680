"""Tombstones, and the removal of what has them, in key order, a slice of keys a transaction.

Each transaction looks again at every entry that it touches: what is spared, or was freshened since
the plan, stays. Blobs go before chunks in both phases. So a blob entry that is there has all its
chunks, and one that came back to life meanwhile is seen here, and gives its chunks theirs.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Collection, Sequence

from druse_store import trash
from druse_store.changes import MARK, Change
from druse_store.commit import Committer
from druse_store.digest import SIZE, trusted
from druse_store.errors import DiskFull
from druse_store.gc import leads
from druse_store.gc.spared import Spared
from druse_store.index import values
from druse_store.index.bulk import ANEW_SHARE, Bulk, Row, state_of, states_of, with_state
from druse_store.index.snapshot import Snapshot
from druse_store.index.tables import catch_up
from druse_store.index.values import BLOBS, CHUNKS, EVICTED, LIVE, RECORDS, SUSPECT, TOMBSTONED

_KEYS = struct.Struct(f"{SIZE}s")
SLICE = 10_000  # keys per transaction
_ALONE = 40_000  # the same, where nobody waits: each page is written and synced less often
_ANEW_MOST = 750_000  # rows of chunks that stay: some 64 MiB
_LEADS = 60_000  # records whose entries in other tables are dropped at once
_LEAST = 100  # keys per transaction, where the disk is all but full
_RECORD = 6  # keys that a record counts for: it has rows in several tables

# Seconds between transactions. Others poll the lock: without a pause some would never get it.
_YIELD = 0.006

Step = Callable[[str], None]
Advance = Callable[[str, int, int], None]


class Sweeper:
    """The transactions of one collection on records, blobs and chunks."""

    def __init__(
        self,
        committer: Committer,
        spared: Spared,
        limit: int,
        advance: Advance,
        step: Step,
        *,
        direct: bool = False,
    ) -> None:
        """`direct`: the dead are dropped without a tombstone, since nobody can have seen them."""
        self._committer = committer
        self.spared = spared
        self._limit = limit
        self._advance = advance
        self._step = step
        self.direct = direct
        self.slice = _ALONE if direct else SLICE
        self._comeback: set[bytes] = set()  # chunks of blobs that live again
        self.marked = dict.fromkeys((RECORDS, BLOBS, CHUNKS), 0)
        self.swept = dict.fromkeys((RECORDS, BLOBS, CHUNKS), 0)
        self.evicted = 0

    def transact(self, name: str, work: Callable[[Bulk], list[Change]]) -> None:
        """One transaction, behind a look at what is to be spared."""

        def careful(tables: Bulk) -> list[Change]:
            self.spared.look(tables)
            return work(tables)

        self._committer.transact(careful, Bulk)
        self._step(name)
        if not self.direct:
            time.sleep(_YIELD)

    def may_write_anew(self, *, going: int = 0, moving: int = 0) -> bool:
        """Whether the table of chunks is to be written anew, in one transaction, where so many rows
        change: where nobody waits, and what stays fits into memory until that is committed."""
        with Snapshot(self._committer.environment) as snapshot:
            rows = snapshot.count(CHUNKS)
        is_worth = going + moving >= ANEW_SHARE * rows
        return self.direct and is_worth and rows - going <= _ANEW_MOST

    def catch_up(self) -> None:
        """Sees the last commit, even of a writer that died within it."""
        catch_up(self._committer.environment, self._committer.lock)

    # --- records -------------------------------------------------------------------------------

    def mark_records(self, name: str, digests: bytes | bytearray, state: int) -> None:
        """Marks records as removed, evicted or neither; logged."""

        def work(tables: Bulk, part: list[bytes]) -> list[Change]:
            rows = tables.rows(RECORDS, part)
            chosen = [key for key, _ in (rows if state == LIVE else self._going(rows))]
            tables.mark_records(chosen, state)
            self.marked[RECORDS] += len(chosen) * (state == TOMBSTONED)
            self.evicted += len(chosen) * (state == EVICTED)
            return [[MARK, state, b"".join(chosen)]] if chosen else []

        self._each(name, digests, self.slice // _RECORD, work)

    def drop_records(self, digests: bytes | bytearray) -> None:
        """Drops records that nobody can have seen without marking them before; logged.

        First what leads to many of them, which lies in an order of its own: slice by slice, each
        would touch all pages of it again. Their rows go with it, or, if that takes too much memory,
        in slices behind it. Until then they count as there, in the log as in the index.
        """
        led: set[bytes] = set()
        later: list[bytes] = []

        def work(tables: Bulk, part: list[bytes]) -> list[Change]:
            gone: list[bytes] = []
            bases: dict[bytes, bytes] = {}

            def going(rows: list[Row]) -> list[bytes]:
                rows = self._going(rows)
                bases.update(leads.bases_of(rows))
                keys = [key for key, _ in rows]
                gone.extend(keys)
                return keys if at_once else []

            few = len(part) <= self.slice // _RECORD
            at_once = few or tables.may_write_anew(RECORDS, len(part))
            tables.drop_chosen(RECORDS, part, going)
            led.clear()
            led.update(leads.drop(tables, set(gone), bases))
            later[:] = [] if at_once else gone
            if not at_once:
                return []
            self._drop_besides(tables, gone)
            return _removal(gone)

        self._each("remove records", digests, _LEADS, work, lambda: self._drop_later(later, led))

    def _drop_rows(self, tables: Bulk, records: list[bytes]) -> None:
        tables.drop_many(RECORDS, records)
        self._drop_besides(tables, records)

    def _drop_besides(self, tables: Bulk, records: list[bytes]) -> None:
        """Drops what else there is of records that are gone."""
        for table in (values.ORIGINS, values.ATTESTED):
            if tables.count(table):
                tables.drop_many(table, records)
        self.swept[RECORDS] += len(records)

    def _drop_later(self, records: list[bytes], led: set[bytes]) -> None:
        """Drops the rows of records to which nothing leads any more; logged. Of one that is needed
        again, that is taken back. `led`: to these something did."""

        def work(tables: Bulk, part: list[bytes]) -> list[Change]:
            back = self.spared.digests.intersection(part)
            leads.restore(tables, sorted(back & led))
            gone = [key for key in part if key not in back]
            self._drop_rows(tables, gone)
            return _removal(gone)

        self._each("sweep records", b"".join(records), self.slice // _RECORD, work)

    def sweep_records(self, digests: bytes | bytearray, limit: int) -> None:
        """Drops the rows of records that were removed; that they were is in the log already."""

        def work(tables: Bulk, part: list[bytes]) -> list[Change]:
            spared = self.spared.digests
            due = [
                row
                for row in tables.rows(RECORDS, part)
                if _is_due(row[1], limit) and row[0] not in spared
            ]
            gone = [key for key, _ in due]
            self._drop_rows(tables, gone)
            leads.drop(tables, set(gone), leads.bases_of(due))
            return []

        self._each("sweep records", digests, self.slice // _RECORD, work)

    # --- blobs and chunks ----------------------------------------------------------------------

    def revive(self, table: str, digests: bytes | bytearray) -> None:
        """Takes tombstones away."""

        def work(tables: Bulk, part: list[bytes]) -> list[Change]:
            commit = tables.head().commit + 1
            rows = [
                (key, with_state(table, key, value, LIVE, commit))
                for key, value in tables.rows(table, part)
                if state_of(value)[0] == TOMBSTONED
            ]
            tables.put_rows(table, rows)
            return []

        self._each("revive", digests, self.slice, work)

    def tombstone(self, table: str, digests: bytes | bytearray) -> None:
        """Gives tombstones to what the plan found dead, and is so still."""

        def work(tables: Bulk, part: list[bytes]) -> list[Change]:
            commit = tables.head().commit + 1
            rows: list[Row] = []
            for key, value in tables.rows(table, part):
                if self._may_go(key, value):
                    rows.append((key, with_state(table, key, value, TOMBSTONED, commit)))
                elif table == BLOBS:
                    self.spared.add_blob(tables, key)
            tables.put_rows(table, rows)
            self.marked[table] += len(rows)
            tables.tick(commit, time.time_ns(), 0)
            return []

        self._each(f"tombstone {table}", digests, self.slice, work)

    def sweep(self, table: str, digests: bytes | bytearray, limit: int) -> None:
        """Drops what has a tombstone of `limit` or before."""

        def work(tables: Bulk, part: list[bytes]) -> list[Change]:
            rows = tables.take_rows(table, part)
            if not rows:
                return []
            keys, found = zip(*rows, strict=True)
            gone = self.leaving(table, keys, found, limit)
            if len(gone) < len(rows):  # hardly ever
                left = set(gone)
                stay = [row for row in rows if row[0] not in left]
                tables.put_rows(table, stay)
                for key, _ in stay if table == BLOBS else ():
                    self._came_back(tables, key)
            return []

        self._each(f"sweep {table}", digests, self.slice, work)
        self.revive_comeback()

    def leaving(
        self, table: str, keys: Sequence[bytes], found: Sequence[bytes], limit: int
    ) -> Collection[bytes]:
        """The keys of those rows of chunks or blobs that go, and count as swept."""
        values.check_columns(table, keys, found)
        gone: Collection[bytes] = keys
        if not self._are_all_due(keys, found, limit):  # hardly ever
            stay = {row[0] for row in zip(keys, found, strict=True) if not self._goes(*row, limit)}
            gone = [key for key in keys if key not in stay]
            if table == CHUNKS:
                self._comeback |= stay & self.spared.digests
        self.swept[table] += len(gone)
        return gone

    def revive_comeback(self) -> None:
        """Takes the tombstones away from chunks that are needed again."""
        self.revive(CHUNKS, b"".join(sorted(self._comeback)))
        self._comeback.clear()

    def empty_trash(self, limit: int) -> None:
        """What was thrown away at `limit` or before cannot be brought back any more."""

        def work(tables: Bulk) -> list[Change]:
            trash.empty(tables, limit)
            return []

        self.transact("empty the trash", work)

    def _are_all_due(self, keys: Sequence[bytes], found: Sequence[bytes], limit: int) -> bool:
        """Whether all of these rows go. In columns: there may be millions."""
        tails = states_of(found)
        is_old = all(since <= self._latest(state, limit) for state, since in tails)
        return is_old and self.spared.digests.isdisjoint(keys)

    def _goes(self, key: bytes, value: bytes, limit: int) -> bool:
        state, since = state_of(value)
        return since <= self._latest(state, limit) and key not in self.spared.digests

    def _latest(self, state: int, limit: int) -> int:
        """The commit up to which what is in this state goes."""
        if state == TOMBSTONED:
            return limit
        return self._limit if self.direct else -1

    def _going(self, rows: list[Row]) -> list[Row]:
        """Those that may go. In columns, as hardly ever one may not."""
        if rows:
            keys, found = zip(*rows, strict=True)
            tails = states_of(found)
            is_plain = all(s != TOMBSTONED and n <= self._limit for s, n in tails)
            if not is_plain or not self.spared.digests.isdisjoint(keys):
                return [row for row in rows if self._may_go(*row)]
        return rows

    def _may_go(self, key: bytes, value: bytes) -> bool:
        state, since = state_of(value)
        return state != TOMBSTONED and since <= self._limit and key not in self.spared.digests

    def _came_back(self, tables: Bulk, digest: bytes) -> None:
        """A blob that is not swept: it was relied upon again, or its time has not come."""
        entry = tables.blob(digest)
        if entry is None or entry.state == TOMBSTONED:
            if digest not in self.spared.digests or entry is None:
                return
            tables.put_blob(digest, entry._replace(state=LIVE, since=tables.head().commit + 1))
        if entry.state != SUSPECT:
            chunks = self.spared.chunks_of(trusted(digest), entry.chunks, entry.size)
            self._comeback.update((entry.chunks, *chunks))
            self.spared.digests.update((entry.chunks, *chunks))

    def _each(
        self,
        name: str,
        digests: bytes | bytearray,
        size: int,
        work: Callable[[Bulk, list[bytes]], list[Change]],
        after: Callable[[], None] = lambda: None,
    ) -> None:
        """Transactions on so many digests each, and on fewer where the disk has no room for all the
        pages of the index that these would change. `after` each of them something may be done."""
        total, start = len(digests) // SIZE, 0
        while start < total:
            self._advance(name, start, total)
            found = digests[start * SIZE : (start + size) * SIZE]
            part = [key for (key,) in _KEYS.iter_unpack(found)]
            counts = dict(self.marked), dict(self.swept), self.evicted

            def work_on(tables: Bulk, part: list[bytes] = part) -> list[Change]:
                return work(tables, part)

            try:
                self.transact(name, work_on)
            except DiskFull:
                self.marked, self.swept, self.evicted = counts
                if len(part) <= _LEAST:
                    raise
                size = max(len(part) // 4, _LEAST)
            else:
                start += len(part)
                after()


def _removal(gone: list[bytes]) -> list[Change]:
    """What the log is told of records whose rows are dropped."""
    return [[MARK, TOMBSTONED, b"".join(gone)]] if gone else []


def _is_due(value: bytes, limit: int) -> bool:
    state, since = state_of(value)
    return state == TOMBSTONED and since <= limit
