"""What a collection starts from: runs at their levels, pins, leases, and what is young.

A record is kept in one of several grades, which say what of it: FULL, a number of bytes (artifacts
up to that size), or BARE (metrics and recipe). Records of steps and sources are a cache: they are
kept in full while they were made or used since the oldest run of their experiment that still keeps
artifacts began; where it has no run, or is not named, since the oldest of all, or for 30 days. So
are records that came from a remote.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from druse_store import packing, retention, trash
from druse_store.digest import Digest
from druse_store.errors import RecordDamaged
from druse_store.gc.buckets import Buckets
from druse_store.index import values
from druse_store.index.bulk import Scan
from druse_store.leases import Named
from druse_store.policy import Policy
from druse_store.retention import FULL, GONE, LIGHT, RANK
from druse_store.run import Run, RunName
from druse_store.runs import header_run
from druse_store.trash import Trash

KEEP_ALL = 1 << 63  # the grade FULL: artifacts of any size
BARE = -1
TOUCH_SLACK = 3_600  # seconds; how coarsely uses are noted


@dataclass(slots=True)
class LevelChange:
    """A run whose level is to be lowered."""

    experiment: str
    version: int
    old: str
    new: str


@dataclass(slots=True)
class Roots:
    """What is kept, before it is known what that needs."""

    levels: dict[RunName, str]
    changes: list[LevelChange]
    grades: dict[int, Buckets]  # grade -> the records that runs keep so
    digests: set[Digest]  # pinned or leased: records or blobs
    horizons: dict[str | None, int]  # experiment -> commit; None: of those that say nothing
    trash: Trash
    runs: dict[RunName, Run] = field(default_factory=dict)
    pinned: set[RunName] = field(default_factory=set)
    guarded: set[RunName] = field(default_factory=set)  # pinned, or going on
    pulled: frozenset[bytes] = frozenset()  # records that came from a remote


def gather(scan: Scan, policy: Policy, now: float, leased: Named, old: int) -> Roots:
    """Reads runs and pins. `old`: commits up to this one are older than the grace."""
    runs = [_read_run(scan, *key) for key in scan.run_keys()]
    digests, pinned = set(leased.digests), set()
    for _, target in scan.pins():
        if target[0] == "run":
            pinned.add(RunName(target[1], target[2]))
        else:
            digests.add(Digest(target[1]))
    levels = retention.plan(runs, policy, now, pinned, leased.runs)
    by_name = {RunName(run.experiment, run.version): run for run in runs}
    changes = lowered(runs, levels)
    grades: dict[int, Buckets] = {}
    holding = retention.held(runs, levels, pinned | leased.runs)
    for name, level in holding.items():
        if level != GONE:
            grade = grade_of(level, policy.of(name.experiment).big_file_threshold)
            _add_cells(scan, name, grades.setdefault(grade, Buckets()))
    horizons = _horizons(scan, runs, holding, now, old)
    return Roots(
        levels,
        changes,
        dict(sorted(grades.items(), reverse=True)),  # the kindest first
        digests,
        horizons,
        trash.look(scan),
        by_name,
        pinned,
        pinned | leased.runs,
        frozenset(key for _, rows in scan.slices(values.ORIGINS) for key, _ in rows),
    )


def lowered(runs: Iterable[Run], levels: dict[RunName, str]) -> list[LevelChange]:
    """The runs that these levels lower."""
    return [
        LevelChange(run.experiment, run.version, run.level, level)
        for run in runs
        if RANK[level := levels[RunName(run.experiment, run.version)]] < RANK.get(run.level, 0)
    ]


def grade_of(level: str, threshold: int) -> int:
    """The grade in which a run of this level keeps its records."""
    if level == FULL:
        return KEEP_ALL
    return threshold if level == LIGHT else BARE


def _read_run(scan: Scan, experiment: str, version: int) -> Run:
    header = scan.run(values.run_key(experiment, version))
    if header is None:
        raise RecordDamaged(f"the run {experiment}/v{version} cannot be decoded")
    return header_run(experiment, version, header)


def _add_cells(scan: Scan, name: RunName, into: Buckets) -> None:
    parts = into.parts
    for cells in run_cells(scan, name):
        for cell in cells:
            digest = cell[2]
            if len(digest) != 32:
                raise RecordDamaged(f"a cell of the run {name} names no record")
            parts[digest[0]] += digest


def run_cells(scan: Scan, name: RunName) -> Iterable[list[list[bytes]]]:
    """The pieces of a run's cells."""
    for _, body in scan.rows_under(values.CELLS, values.run_key(*name)):
        yield packing.unpack(body)


def _horizons(
    scan: Scan, runs: list[Run], levels: dict[RunName, str], now: float, old: int
) -> dict[str | None, int]:
    """For each experiment, the commit since which a cached step must have been made or used."""
    began: dict[str, float] = {}
    for run in runs:
        if RANK[levels[RunName(run.experiment, run.version)]] >= RANK[LIGHT]:
            at = run.started / 1e9
            began[run.experiment] = min(at, began.get(run.experiment, at))
    without = now - retention.UNFINISHED
    times: dict[str | None, float] = {None: min([without, *began.values()])}
    times.update(began)
    return {
        name: min(scan.commit_at(int((at - TOUCH_SLACK) * 1e9)), old) for name, at in times.items()
    }
