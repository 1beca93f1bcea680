"""Rows of measurements: several systems do the same work, in turns, and are compared.

A contestant is a generator function of a folder of its own. It prepares, yields the action to be
timed, and, once that ran, yields the bytes that it left on the disk (or None). What comes after the
last yield cleans up; the folder is removed for it.
"""

import gc
import os
import resource
import shutil
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path


class Missing(Exception):
    """A peer that is not installed here."""


@dataclass
class Result:
    system: str
    seconds: list = field(default_factory=list)
    cpu: list = field(default_factory=list)  # seconds of all cores, of children too
    size: int | None = None
    missing: str | None = None

    @property
    def median(self):
        return statistics.median(self.seconds) if self.seconds else None


@dataclass(frozen=True)
class Target:
    """`druse` must be `times` as fast as each of `peers`, or store `times` the bytes at most."""

    what: str  # "time" | "size" | "seconds" (absolute) | "MiB" (absolute)
    limit: float
    peers: tuple = ()
    system: str = "druse"


@dataclass
class Row:
    name: str
    contestants: dict
    volume: int | None = None  # bytes that the action handles, for a rate
    count: int | None = None  # things that the action handles, for a time each
    targets: tuple = ()
    results: dict = field(default_factory=dict)


def run_rows(rows, folder, rounds):
    for row in rows:
        print(f"... {row.name}", file=sys.stderr, flush=True)
        for _ in range(rounds):
            for system, contestant in row.contestants.items():
                result = row.results.setdefault(system, Result(system))
                if result.missing is None:
                    _run_once(contestant, result, folder / "work")


def _run_once(contestant, result, folder):
    folder.mkdir(parents=True)
    trial, here = contestant(folder), Path.cwd()
    try:
        action = next(trial)
        os.sync()  # nobody pays for what others left to be written, or to be collected
        gc.collect()
        begin, cpu = time.perf_counter(), _cpu()
        taken = action()
        seconds = time.perf_counter() - begin
        result.cpu.append(_cpu() - cpu)
        result.seconds.append(taken if isinstance(taken, float) else seconds)
        result.size = next(trial)
        next(trial, None)  # what comes after the last yield
    except Missing as missing:
        result.missing = str(missing)
    finally:
        os.chdir(here)
        shutil.rmtree(folder)


def _cpu():
    """Seconds that this process and its children have spent: a busy machine changes them least."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def disk_bytes(folder):
    """The space that a folder takes: allocated blocks, since an index is a sparse file."""
    return sum(p.lstat().st_blocks * 512 for p in Path(folder).rglob("*") if p.is_file())


def verdicts(row):
    """One line per target: (text, met or None where nothing can be said)."""
    for target in row.targets:
        own = row.results.get(target.system)
        if own is None or own.median is None:
            continue
        if target.what == "seconds":
            yield (
                f"{own.median * 1e3:.3g} ms, target {target.limit * 1e3:g}",
                (own.median <= target.limit),
            )
        elif target.what == "MiB":
            yield (
                f"{own.size / 2**20:.0f} MiB, target {target.limit:g}",
                (own.size <= target.limit * 2**20),
            )
        else:
            yield from _beside(row, own, target)


def _beside(row, own, target):
    for name in target.peers:
        peer = row.results.get(name)
        if peer is None or peer.median is None:
            yield f"{name} is not installed: not compared", None
        elif target.what == "time":
            ratio = peer.median / own.median
            yield f"{ratio:.2f} x {name}, target {target.limit:g}", ratio >= target.limit
        else:
            ratio = own.size / peer.size
            yield (
                f"{ratio:.3f} x the bytes of {name}, target {target.limit:g}",
                (ratio <= target.limit),
            )
