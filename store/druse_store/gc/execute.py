"""Executing a plan: see the package for the order, and why it is safe to be killed anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from druse_store import disk, holds, reserve
from druse_store.digest import SIZE
from druse_store.errors import DiskFull
from druse_store.gc.compact import Compactor
from druse_store.gc.levels import lower
from druse_store.gc.mark import Doomed
from druse_store.gc.plan import GcPlan, Meter
from druse_store.gc.report import Counts, GcReport
from druse_store.gc.spared import Spared
from druse_store.gc.sweep import Sweeper
from druse_store.gc.upkeep import EDGES_EACH, EDGES_SPARE, Upkeep, thin_clock
from druse_store.index.snapshot import Snapshot
from druse_store.index.values import (
    BLOBS,
    CHUNKS,
    EDGES,
    EVICTED,
    LIVE,
    RECORDS,
    TOMBSTONED,
)
from druse_store.reader import Reader

if TYPE_CHECKING:
    from druse_store.session import Session

# The steps between which a collection may be killed; `step` is called behind each of them.
STEPS = (
    *("levels", "remove records", "evict", "recall records", "revive"),
    *("tombstone blobs", "tombstone chunks", "sweep records", "sweep blobs", "sweep chunks"),
    *("empty the trash", "forget packs", "unlink a pack", "copy packs", "name packs"),
    *("swap places", "write chunks anew", "thin the clock", "drop edges", "write the log anew"),
)


class Executor:
    """One execution of a plan, by whoever holds the collector's lock."""

    def __init__(
        self,
        session: Session,
        plan: GcPlan,
        advance: Meter,
        step: Callable[[str], None],
        *,
        alone: bool = False,
    ) -> None:
        """`alone`: nobody else has the store open, or begins anything."""
        self._session = session
        self._plan = plan
        self._step = step
        self._advance = advance
        writer = session.writer
        writer.leave_files()
        # It reads under the write lock, so that it must neither note damage, which takes that lock,
        # nor look at what another thread is writing, which may be waiting for it.
        self._reader = Reader(session.location, session.environment, None)
        self._spared = Spared(session.location, plan.leases, plan.head, self._reader.chunks_of)
        # Without a hold, nobody can have seen what is removed: it needs no tombstone before.
        direct = alone and plan.immediate
        self._sweeper = Sweeper(
            writer.committer, self._spared, plan.limit, advance, step, direct=direct
        )
        self._alone = alone
        self._log_freed = 0
        self._compactor = Compactor(
            session.location, session.environment, self._sweeper, advance, step
        )

    def run(self) -> GcReport:
        began = time.monotonic()
        plan, sweeper = self._plan, self._sweeper
        with self._reserve():
            if not plan.marked.problems:
                self._compactor.start(plan.packs.groups, self._doomed(), plan.places)
            self._logical()
            if not plan.marked.problems:
                self._tombstones()
                self._sweep()
                self._compactor.orphans([pack for pack, _ in plan.orphans])
                self._compactor.write_anew()
                self._upkeep()  # while the system gives up what the packs took
                self._compactor.finish()
        done = self._compactor.done
        swept = Counts(*(sweeper.swept[table] for table in (RECORDS, BLOBS, CHUNKS)))
        marked = Counts(*(sweeper.marked[table] for table in (RECORDS, BLOBS, CHUNKS)))
        return GcReport(
            dry_run=False,
            levels=plan.levels,
            freed=done.freed,
            later=plan.later,
            left=plan.packs.left,
            swept=swept,
            waiting=Counts() if plan.immediate else marked,
            evicted=sweeper.evicted,
            packs_removed=done.removed,
            packs_written=done.written,
            log_freed=self._log_freed,
            problems=[*plan.problems, *done.damaged],
            size=disk.usage(self._session.location.root),
            seconds=time.monotonic() - began,
        )

    @contextmanager
    def _reserve(self) -> Iterator[None]:
        """Removal needs room as well: what was set aside for it is given back at the end."""
        location = self._session.location
        reserve.release(location)
        try:
            yield
        finally:
            self._compactor.close()
            self._reader.close()
            self._session.reader.files.let_go()
            reserve.set_aside(location)

    def _doomed(self) -> list[bytearray]:
        """The chunks that this collection is going to sweep."""
        chunks = self._plan.marked.chunks
        return [chunks.due, chunks.fresh] if self._plan.immediate else [chunks.due]

    def _logical(self) -> None:
        """Runs and records: what the log has to tell."""
        marked = self._plan.marked
        if self._plan.levels:
            self._advance("levels", 0, len(self._plan.levels))
            self._sweeper.transact("levels", lambda tables: lower(tables, self._plan.levels))
        self._sweeper.mark_records("recall records", marked.records.revived, LIVE)
        if self._sweeper.direct:
            self._empty_trash(self._sweep_limit())  # first: a run comes back whole, or not at all
            self._sweeper.drop_records(marked.records.fresh)
        else:
            self._sweeper.mark_records("remove records", marked.records.fresh, TOMBSTONED)
        plan = self._plan
        evicted = sorted(plan.evicted - plan.removed()) if plan.evicted else []
        self._sweeper.mark_records("evict", b"".join(evicted), EVICTED)

    def _tombstones(self) -> None:
        marked = self._plan.marked
        self._sweeper.revive(BLOBS, marked.blobs.revived)
        self._sweeper.revive(CHUNKS, marked.chunks.revived)
        if not self._sweeper.direct:
            self._sweeper.tombstone(BLOBS, marked.blobs.fresh)
            self._sweeper.tombstone(CHUNKS, marked.chunks.fresh)

    def _sweep(self) -> None:
        marked, limit = self._plan.marked, self._sweep_limit()
        self._sweeper.sweep_records(marked.records.due, limit)
        if self._plan.immediate and not self._sweeper.direct:
            self._sweeper.sweep_records(marked.records.fresh, limit)
        self._sweeper.sweep(BLOBS, marked.blobs.due, limit)
        if self._plan.immediate:
            self._sweeper.sweep(BLOBS, marked.blobs.fresh, limit)
        self._sweep_chunks(limit)

    def _sweep_chunks(self, limit: int) -> None:
        """With the packs that are dead then."""
        doomed, dead = self._doomed(), self._plan.packs.dead
        full: DiskFull | None = None
        if not self._sweeper.may_write_anew(going=sum(map(len, doomed)) // SIZE):
            self._sweep_in_slices(doomed, limit, dead)
        else:
            try:
                self._compactor.sweep(doomed, limit, dead)
            except DiskFull as error:
                full = error
        if full is not None:  # which takes less room; what is free then is for the next one
            self._sweep_in_slices(doomed, limit, dead)
            raise full
        if self._alone:  # the plan is nobody else's: its memory is needed for what comes
            self._plan.marked.chunks = Doomed()

    def _sweep_in_slices(self, doomed: list[bytearray], limit: int, dead: list[bytes]) -> None:
        for keys in doomed:
            self._sweeper.sweep(CHUNKS, keys, limit)
        if not self._sweeper.direct:
            self._empty_trash(limit)
        self._compactor.remove(dead)

    def _empty_trash(self, limit: int) -> None:
        """Forgets what was thrown away so long ago that its bytes have left, and not before: until
        then it can be brought back. Its bytes got tombstones from the first collection behind the
        grace of it (up to `thrown`, at `marked`), and leave behind the grace of those."""
        memory = self._plan.collector.memory
        if self._plan.immediate:
            self._sweeper.empty_trash(limit)
            memory.pop("thrown", None)
        elif "thrown" not in memory or memory.get("marked", 0) <= limit:
            if "thrown" in memory:
                self._sweeper.empty_trash(int(memory["thrown"]))
            with Snapshot(self._session.environment) as snapshot:
                memory.update(thrown=self._plan.limit, marked=snapshot.head().commit)

    def _sweep_limit(self) -> int:
        """Tombstones of this commit or before are swept: none that a live hold may not know of."""
        oldest = holds.oldest(self._session.location.holds)
        if not self._plan.immediate:
            return min(self._plan.limit, oldest - 1)
        with Snapshot(self._session.environment) as snapshot:
            return min(snapshot.head().commit, oldest - 1)

    def _upkeep(self) -> None:
        """What is worth its while only now and then."""
        self._sweeper.transact("thin the clock", thin_clock)
        memory = self._plan.collector.memory
        removed = memory.get("removed", 0) + self._sweeper.swept[RECORDS]
        with Snapshot(self._session.environment) as snapshot:
            kept, edges = snapshot.count(RECORDS), snapshot.count(EDGES)
        upkeep = Upkeep(self._session, self._sweeper, self._advance)
        if self._sweeper.swept[RECORDS] and edges > EDGES_EACH * kept + EDGES_SPARE:
            upkeep.drop_edges()
        share = removed / (kept + removed) if removed else 0.0
        if self._alone and upkeep.is_log_worth_it(share, self._plan.size_after):
            self._log_freed = upkeep.write_log_anew()
            self._step("write the log anew")
            removed = 0
        memory["removed"] = removed
