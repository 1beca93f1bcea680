"""Keeping a store below its limit: first the grace is given up, then artifacts are evicted.

What is pinned, leased, held, or belongs to a run that goes on stays, and so does what nobody can
compute again (imported records). Cached steps go first, and wholly; of cells the record stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from druse_store import reserve
from druse_store.digest import Digest
from druse_store.errors import BlobNotFound, Damaged
from druse_store.frames import HEADER_SIZE
from druse_store.gc import victims
from druse_store.gc.roots import BARE, KEEP_ALL, Roots, run_cells
from druse_store.gc.victims import Candidate
from druse_store.index.bulk import Scan
from druse_store.index.environment import Environment
from druse_store.records import ObjectRef, Record
from druse_store.sizes import shown_size

if TYPE_CHECKING:
    from druse_store.gc.plan import GcPlan, Planner

_ROUNDS = 6
_BESIDE = 0.95  # of a limit, from which on it is said that what is no artifact takes so much
_ENOUGH = 4  # times that are a limit to live with

Blob = tuple[Digest, Digest, int]  # its digest, that of its chunk list, its size


class _Held(NamedTuple):
    """A record that is kept, and the blobs that it keeps."""

    key: bytes
    since: int
    seconds: float
    cached: bool
    imported: bool
    blobs: list[Blob]


def evicting(planner: Planner, limit: int | None) -> GcPlan:
    """The plan of a collection, or, where that would leave too much, of one that evicts."""
    plan = planner.plan()
    if limit is None or plan.size_after <= limit:
        return plan
    need = plan.size - limit
    ledger = Ledger()
    plan = planner.plan(grace=0.0, need=need, observe=ledger.observe)
    ledger.look_up(planner.environment, plan.roots, plan.limit, planner.read_list)
    wanted = 0
    for _ in range(_ROUNDS):
        over = plan.size_after - limit
        if over <= 0 or not plan.immediate:
            break
        wanted += over
        evicted = ledger.choose(wanted)
        if evicted <= plan.evicted:
            break
        plan = planner.plan(grace=0.0, need=need, evicted=evicted)
    if plan.size_after > limit:
        plan.problems.append(
            f"the store stays {shown_size(plan.size_after - limit)} over its limit of "
            f"{shown_size(limit)}: what is left is in use, pinned, cannot be computed again, or is "
            "no artifact"
        )
    beside = plan.size - planner.pack_bytes()
    if beside > _BESIDE * limit:
        plan.problems.append(
            f"of a limit of {shown_size(limit)} the store takes {shown_size(beside)} beside its "
            f"artifacts: {shown_size(reserve.SIZE)} are set aside for the day on which the disk is "
            "full, the rest are its index and its log. So hardly an artifact can be kept: set "
            f"max_size to {shown_size(_ENOUGH * beside)} or more"
        )
    return plan


class Ledger:
    """Who holds what, of the records that a marking keeps."""

    def __init__(self) -> None:
        self._held: list[_Held] = []
        self._chunks: dict[Blob, list[bytes]] = {}
        self._sizes: dict[bytes, int] = {}
        self._fixed: set[bytes] = set()  # chunks that nothing can free
        self._used: dict[bytes, int] = {}

    def observe(self, key: bytes, packed: bytes, since: int, grade: int) -> None:
        """Takes in a record that is kept in this grade."""
        record = Record.decode(packed)
        blobs = [
            (ref.digest, ref.chunks, ref.size)
            for named in (record.output, *(artifact.ref for artifact in record.artifacts))
            if named is not None and _is_kept(named, grade)
            for ref in named.blobs()
        ]
        if blobs:
            seconds = record.provenance.get("seconds")
            cost = float(seconds) if isinstance(seconds, int | float) and seconds > 0 else 0.0
            imported = record.status == "imported"
            self._held.append(_Held(key, since, cost, record.kind != "cell", imported, blobs))

    def look_up(
        self,
        environment: Environment,
        roots: Roots,
        limit: int,
        read_list: Callable[[Digest, Digest, int], list[Digest]],
    ) -> None:
        """Sorts out what cannot go, when the rest was used, and how large it is."""
        guarded: set[bytes] = set(roots.digests)
        with Scan(environment) as scan:
            for name, run in sorted(roots.runs.items(), key=lambda item: item[1].started):
                at = scan.commit_at(run.finished or run.started)
                digests = [cell[2] for cells in run_cells(scan, name) for cell in cells]
                self._used.update(dict.fromkeys(digests, at))
                if name in roots.guarded:
                    guarded.update(digests)
            for held in self._held:
                for blob in held.blobs:
                    if blob not in self._chunks:
                        self._chunks[blob] = self._expand(scan, blob, read_list)
        fixed = [h for h in self._held if h.imported or h.key in guarded or h.since > limit]
        for held in fixed:
            self._fixed.update(self._chunks_of(held))
        gone = {held.key for held in fixed}
        self._held = [held for held in self._held if held.key not in gone]

    def _expand(
        self, scan: Scan, blob: Blob, read_list: Callable[[Digest, Digest, int], list[Digest]]
    ) -> list[bytes]:
        digest, chunks, size = blob
        found: list[bytes] = [digest]
        if chunks != digest:
            try:
                found = [chunks, *read_list(digest, chunks, size)]
            except (Damaged, BlobNotFound):
                return []
        for chunk in found:
            if chunk not in self._sizes:
                entry = scan.chunk(chunk)
                self._sizes[chunk] = 0 if entry is None else entry.stored + HEADER_SIZE
        return found

    def _chunks_of(self, held: _Held) -> Iterable[bytes]:
        return (chunk for blob in held.blobs for chunk in self._chunks[blob])

    def choose(self, need: int) -> frozenset[bytes]:
        """The records to evict, for this many bytes: cached steps first, then any."""
        cells = [held for held in self._held if not held.cached]
        in_cells = {chunk for held in cells for chunk in self._chunks_of(held)}
        cached = [held for held in self._held if held.cached]
        chosen, freed = self._choose(cached, need, self._fixed | in_cells)
        if freed < need:
            rest = [held for held in self._held if held.key not in chosen]
            chosen |= self._choose(rest, need - freed, self._fixed)[0]
        return frozenset(chosen)

    def _choose(self, part: list[_Held], need: int, fixed: set[bytes]) -> tuple[set[bytes], int]:
        owners: dict[bytes, list[int]] = defaultdict(list)
        for place, held in enumerate(part):
            for chunk in dict.fromkeys(self._chunks_of(held)):
                if chunk not in fixed:
                    owners[chunk].append(place)
        candidates = [
            Candidate(held.key, held.seconds, max(held.since, self._used.get(held.key, 0)))
            for held in part
        ]
        choice = victims.choose(candidates, victims.shares_of(owners, self._sizes), need)
        return {part[place].key for place in choice.chosen}, choice.freed


def _is_kept(named: ObjectRef, grade: int) -> bool:
    if grade == BARE:
        return False
    return grade == KEEP_ALL or sum(ref.size for ref in named.blobs()) <= grade
