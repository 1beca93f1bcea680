"""What a collection did, or (a dry run) would do: the same numbers for both, to the byte."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from druse_store.gc.roots import LevelChange


class Counts(NamedTuple):
    """How many records, blobs of several chunks, and chunks."""

    records: int = 0
    blobs: int = 0
    chunks: int = 0


class Freed(NamedTuple):
    """What a run loses: bytes that leave the disk now, and those that leave later. `blobs`: how
    many of its artifacts' blobs have to be computed again when they are needed.

    Without an experiment: what no run that changes has, and what packs hold besides chunks.
    """

    experiment: str | None
    version: int | None
    old: str
    new: str
    freed: int
    later: int
    blobs: int


@dataclass(slots=True)
class GcReport:
    """`freed` bytes of packs leave the disk, whole packs and what others are written anew without.
    `swept` left the index, `waiting` got a tombstone, and can be brought back until the grace is
    over: then `later` bytes leave. `left` bytes of garbage stay in packs that are hardly wasteful
    until they are more so. `log_freed` bytes of the log left, too, which a dry run does not
    foresee. `problems` say why less was done than could be.
    """

    dry_run: bool
    levels: list[LevelChange]
    freed: int = 0
    later: int = 0
    left: int = 0
    swept: Counts = field(default_factory=Counts)
    waiting: Counts = field(default_factory=Counts)
    evicted: int = 0
    packs_removed: int = 0
    packs_written: int = 0
    log_freed: int = 0
    by_run: list[Freed] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    size: int = 0
    seconds: float = 0.0
