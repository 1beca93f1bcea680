"""Planning a collection: what would happen, to the byte, without changing anything."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from druse_store import disk, frames, holds, scan
from druse_store.digest import SIZE, Digest
from druse_store.errors import IndexDamaged
from druse_store.gc import mark, packs, roots
from druse_store.gc.mark import Marked
from druse_store.gc.packs import PackPlan
from druse_store.gc.report import Counts, Freed, GcReport
from druse_store.gc.roots import LevelChange, Roots
from druse_store.index.bulk import Scan
from druse_store.index.values import QUARANTINED, SEALED, FileEntry, Head
from druse_store.leases import Leases
from druse_store.policy import Policy
from druse_store.writer import PACK_SIZE

if TYPE_CHECKING:
    from druse_store.gc.collector import Collector
    from druse_store.session import Session


class GcProgress(NamedTuple):
    """How far a phase is, and the seconds that remain of it."""

    phase: str
    done: int
    total: int
    eta: float


class Meter:
    """Tells a progress function how far each phase is, at most ten times a second."""

    def __init__(self, progress: Callable[[GcProgress], None] | None) -> None:
        self._progress = progress
        self._phase = ""
        self._began = self._last = 0.0

    def __call__(self, phase: str, done: int, total: int) -> None:
        if self._progress is None:
            return
        now = time.monotonic()
        if phase != self._phase:
            self._phase, self._began = phase, now
        elif now - self._last < 0.1 and done < total:
            return
        self._last = now
        left = (now - self._began) / done * (total - done) if done else 0.0
        self._progress(GcProgress(phase, done, total, left))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a collection was asked to do."""

    policy: Policy
    grace: float
    now: float
    waste: float  # the share of dead bytes from which on a pack is written anew


@dataclass(slots=True)
class GcPlan:
    """What a collection will do. Sizes are bytes on disk.

    `freed` leave the packs at once. `later` are those of chunks that get a tombstone now, and leave
    when the grace is over, once their packs are worth writing anew. `places` are those of what
    stays in packs that are written anew, and have no extents. `problems` say why less is done than
    could be.
    """

    collector: Collector = field(repr=False)
    settings: Settings
    head: Head
    limit: int
    immediate: bool
    roots: Roots
    marked: Marked
    leases: Leases
    evicted: frozenset[bytes]
    size: int = 0
    packs: PackPlan = field(default_factory=PackPlan)
    places: dict[bytes, bytearray] = field(default_factory=dict, repr=False)
    orphans: list[tuple[bytes, int]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def levels(self) -> list[LevelChange]:
        """The runs whose level is lowered; `gone`: that are removed."""
        return self.roots.changes

    @property
    def freed(self) -> int:
        return self.packs.freed + sum(size for _, size in self.orphans)

    @property
    def later(self) -> int:
        return self.marked.later

    @property
    def size_after(self) -> int:
        """The bytes that the store will take; what the log and the index do is left aside."""
        return self.size - self.freed

    def by_run(self) -> list[Freed]:
        """Whose bytes are freed, before they are: they sum up to `freed` and `later`."""
        return self.collector.by_run(self)

    def execute(self) -> GcReport:
        """Does it, as far as it still holds. Raises StoreBusy while another collection goes on."""
        return self.collector.execute(self)

    def report(self) -> GcReport:
        """What `execute` will report, if nothing happens in between."""
        doomed = (self.marked.records, self.marked.blobs, self.marked.chunks)
        due = Counts(*(len(part.due) // SIZE for part in doomed))
        fresh = Counts(*(len(part.fresh) // SIZE for part in doomed))
        total = Counts(*(a + b for a, b in zip(due, fresh, strict=True)))
        groups = self.packs.groups
        return GcReport(
            dry_run=True,
            levels=self.levels,
            freed=self.freed,
            later=self.later,
            left=self.packs.left,
            swept=total if self.immediate else due,
            waiting=Counts() if self.immediate else fresh,
            evicted=len(self.evicted - self.removed()) if self.evicted else 0,
            packs_removed=len(self.packs.dead)
            + sum(len(group.packs) for group in groups)
            + len(self.orphans),
            packs_written=len(groups),
            by_run=self.by_run(),
            problems=self.problems,
            size=self.size_after,
        )

    def removed(self) -> frozenset[bytes]:
        """The records that are removed now."""
        keys = bytes(self.marked.records.fresh)
        return frozenset(keys[at : at + SIZE] for at in range(0, len(keys), SIZE))


class Planner:
    """Makes the plan of one collection of an open store."""

    def __init__(self, session: Session, settings: Settings, collector: Collector) -> None:
        self._session = session
        self._settings = settings
        self._collector = collector
        self.environment = session.environment

    def plan(
        self,
        *,
        grace: float | None = None,
        need: int = 0,
        evicted: frozenset[bytes] = frozenset(),
        observe: mark.Observe | None = None,
    ) -> GcPlan:
        """One plan: by the settings, but for another grace; `need` bytes are wanted, at the cost of
        less wasteful packs if it must be; `evicted` records lose their artifacts."""
        session, settings = self._session, self._settings
        # What is going on is looked at before the index is, so that nothing slips in between.
        oldest = holds.oldest(session.location.holds)
        leases = Leases(session.location.holds)
        leased = leases.fresh()
        grace = settings.grace if grace is None else grace
        with Scan(self.environment) as index:
            head = index.head()
            old = index.commit_at(int((settings.now - grace) * 1e9)) if grace else head.commit
            limit = min(old, oldest - 1)
            at_once = not grace and oldest == holds.IDLE
            found = roots.gather(index, settings.policy, settings.now, leased, limit)
            marked = mark.Marker(
                index,
                found,
                limit,
                immediate=at_once,
                evicted=evicted,
                read_list=self.read_list,
                advance=self._collector.meter,
                observe=observe,
            ).run()
            files = dict(index.files())
        plan = GcPlan(
            self._collector, settings, head, limit, at_once, found, marked, leases, evicted
        )
        plan.size = disk.usage(session.location.root)
        plan.problems += marked.problems
        if not marked.problems:
            self._plan_packs(plan, files, need)
        return plan

    def _plan_packs(self, plan: GcPlan, files: dict[bytes, FileEntry], need: int) -> None:
        sizes = {
            pack: size
            for pack, entry in files.items()
            if entry.kind == frames.PACK and entry.state != QUARANTINED
            if (size := self._candidate(pack, sealed=entry.state == SEALED)) is not None
        }
        plan.orphans += self._orphans(files)
        need -= sum(size for _, size in plan.orphans)
        waste = plan.settings.waste
        places = plan.marked.places
        uses = {pack: places.use(pack) for pack in _known(places.packs(), files)}
        plan.packs = packs.choose(sizes, uses, waste, PACK_SIZE, need)
        if places.is_whole:
            anew = (pack for group in plan.packs.groups for pack in group.packs)
            plan.places = {p: places.by_pack[p] for p in anew if not uses[p].extents}
        places.by_pack.clear()

    def read_list(self, digest: Digest, chunks: Digest, size: int) -> list[Digest]:
        """The chunks that a blob of several is made of. Raises Damaged, BlobNotFound."""
        return self._session.reader.chunks_of(digest, chunks, size)

    def pack_bytes(self) -> int:
        """The bytes that packs take on the disk."""
        return disk.usage(self._session.location.packs)

    def _candidate(self, pack: bytes, *, sealed: bool) -> int | None:
        """The size of a pack that may be removed or written anew."""
        path = self._session.location.pack(pack)
        if sealed:
            return path.stat().st_size if path.exists() else None
        return _size_if_left(path)

    def _orphans(self, files: dict[bytes, FileEntry]) -> Iterator[tuple[bytes, int]]:
        """Packs on the disk that the index does not name, whose writers are gone."""
        for pack, path in scan.pack_files(self._session.location.packs):
            if pack not in files:
                size = _size_if_left(path)
                if size is not None:
                    yield pack, size


def _known(found: list[bytes], files: dict[bytes, FileEntry]) -> list[bytes]:
    """The packs that rows of chunks name. Raises IndexDamaged if there is one that the index does
    not know: such a row is damaged, and what it should name would look as if nothing were in it."""
    unknown = set(found).difference(files)
    if unknown:
        raise IndexDamaged(
            f"entries of the index's table 'chunks' name {len(unknown)} packs that it does not "
            f"know ({min(unknown).hex()}), so none can be removed; `druse repair --rebuild-index` "
            "makes a new index from the packs"
        )
    return found


def _size_if_left(path: Path) -> int | None:
    """The size of a pack of this user that nobody appends to, of which the index does not know that
    it was sealed. Its file may say so: it is for reading only then."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        if status.st_uid != os.getuid() or not disk.try_lock(fd):
            return None
        return status.st_size
    finally:
        os.close(fd)
