"""Whose bytes a plan frees: by experiment and version, summing up to exactly what leaves the disk.

What several of the runs that lose something hold is counted with the first of them. What new packs
take besides their chunks is counted where most is freed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from druse_store.digest import trusted
from druse_store.errors import BlobNotFound, Damaged
from druse_store.frames import HEADER_SIZE
from druse_store.gc import references
from druse_store.gc.buckets import COUNT, Buckets, under
from druse_store.gc.mark import ReadList
from druse_store.gc.plan import GcPlan
from druse_store.gc.report import Freed
from druse_store.gc.roots import KEEP_ALL, run_cells
from druse_store.index import values
from druse_store.index.bulk import Scan
from druse_store.index.environment import Environment
from druse_store.records import fields_at
from druse_store.retention import GONE
from druse_store.run import RunName

_BATCH = 2_000


def by_run(plan: GcPlan, environment: Environment, read_list: ReadList) -> list[Freed]:
    """The shares of what a plan frees. Call it before the plan is executed."""
    with Scan(environment) as scan:
        owners = [*_owners(plan), *_evicted_from(scan, plan)]
        held = [_Held(scan, _records(scan, plan, name), read_list) for name, _, _ in owners]
        sums = [[0, 0, 0] for _ in owners]
        dead = _Dead(scan, plan)
        nobody = [sum(size for _, size in plan.orphans), 0]
        for head in range(COUNT):
            rest = dead.of(head)
            for holding, total in zip(held, sums, strict=True):
                if rest:
                    holding.take(head, rest, total)
            nobody = [sum(column) for column in zip(nobody, *rest.values(), strict=True)]
    found = [
        Freed(*name, old, new, freed, later, 0 if new == GONE else blobs)
        for (name, old, new), (freed, later, blobs) in zip(owners, sums, strict=True)
    ]
    found.append(Freed(None, None, "", "", nobody[0], nobody[1], 0))
    besides = plan.freed - sum(share.freed for share in found)
    # More is garbage that is in no index any more; less, what new packs have besides their chunks.
    place = -1 if besides > 0 else max(range(len(found)), key=lambda at: found[at].freed)
    found[place] = found[place]._replace(freed=found[place].freed + besides)
    return found


def _owners(plan: GcPlan) -> Iterator[tuple[RunName, str, str]]:
    """The runs that lose something now, or lost it and it is still there: name, old, new level."""
    trash = plan.roots.trash
    changes = {RunName(c.experiment, c.version): (c.old, c.new) for c in plan.levels}
    for name in sorted({*changes, *trash.runs, *trash.levels}):
        run = plan.roots.runs.get(name)
        if run is not None:
            old, new = changes.get(name, (run.level, run.level))
            yield name, trash.levels.get(name, old), new
        elif name in trash.runs:
            yield name, trash.levels.get(name, str(trash.runs[name].header[4])), GONE


def _evicted_from(scan: Scan, plan: GcPlan) -> Iterator[tuple[RunName, str, str]]:
    """The runs that lose artifacts to the limit of the store, and nothing else."""
    others = {name for name, _, _ in _owners(plan)} if plan.evicted else set()
    for name, run in sorted(plan.roots.runs.items() if plan.evicted else ()):
        pieces = () if name in others else run_cells(scan, name)
        if any(cell[2] in plan.evicted for piece in pieces for cell in piece):
            yield name, run.level, run.level


def _records(scan: Scan, plan: GcPlan, name: RunName) -> list[bytes]:
    """The records that a run names, or named."""
    removed = plan.roots.trash.runs.get(name)
    if removed is None or name in plan.roots.runs:
        pieces = list(run_cells(scan, name))
    else:
        pieces = removed.pieces
    return sorted({cell[2] for piece in pieces for cell in piece})


class _Held:
    """What some records hold: blobs that they name, and chunks."""

    def __init__(self, scan: Scan, records: list[bytes], read_list: ReadList) -> None:
        self._blobs, self._chunks = Buckets(), Buckets()
        for start in range(0, len(records), _BATCH):
            rows = scan.rows(values.RECORDS, records[start : start + _BATCH])
            packed = (values.body(values.RECORDS, *row) for row in rows)
            bodies = [each[fields_at(each) :] for each in packed]
            references.collect(bodies, KEEP_ALL, self._blobs.parts)
        for head in range(COUNT):
            for digest in self._blobs.members(head):
                self._chunks.add(digest)
                entry = scan.blob(digest)
                if entry is not None:
                    self._chunks.add(entry.chunks)
                    with suppress(Damaged, BlobNotFound):
                        self._chunks.update(read_list(trusted(digest), entry.chunks, entry.size))

    def take(self, head: int, rest: dict[bytes, tuple[int, int]], total: list[int]) -> None:
        """Takes what is held of the dead that begin with this byte; they are nobody else's then."""
        blobs = self._blobs.members(head)
        for key in self._chunks.members(head):
            sizes = rest.pop(key, None)
            if sizes is not None:
                total[0] += sizes[0]
                total[1] += sizes[1]
                total[2] += key in blobs


class _Dead:
    """What a plan removes: for each chunk the bytes that leave now, and later."""

    def __init__(self, scan: Scan, plan: GcPlan) -> None:
        self._scan = scan
        self._plan = plan
        self._leaving = set(plan.packs.dead)
        self._leaving.update(pack for group in plan.packs.groups for pack in group.packs)

    def of(self, head: int) -> dict[bytes, tuple[int, int]]:
        marked, now = self._plan.marked, self._plan.immediate
        found: dict[bytes, tuple[int, int]] = {}
        for keys, leaves in ((marked.chunks.due, True), (marked.chunks.fresh, now)):
            for key, value in self._scan.rows(values.CHUNKS, under(keys, head)):
                entry = values.unpack_chunk(key, value)
                size = entry.stored + HEADER_SIZE
                found[key] = (
                    size if leaves and entry.pack in self._leaving else 0,
                    0 if leaves else size,
                )
        for doomed in (marked.blobs.due, marked.blobs.fresh):
            found.update(dict.fromkeys(under(doomed, head), (0, 0)))
        return found
