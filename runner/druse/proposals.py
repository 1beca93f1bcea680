"""Which steps had better be cacheable, or shared: by what they took and gave in the latest run."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from druse.prepared import Prepared
    from druse_store import Digest, Record

_WORTH = 0.5  # seconds that a proposal has to save at least
_SAME_FROM = 3  # replicates that gave the same

Records = Mapping[tuple[str, int], "Record"]


class Proposal(NamedTuple):
    """`flag` for a step, which would have saved about so many seconds of the latest run."""

    step: str
    flag: str
    seconds: float
    why: str


def proposals(prepared: Prepared, records: Records) -> list[Proposal]:
    """The proposals for one experiment, from records of its latest run."""
    found = []
    for place, step in enumerate(prepared.steps):
        if step.volatile or step.shared:
            continue
        name = prepared.part_name(f"step {place}")
        proposal = _shared(name, place, records) if step.cacheable else None
        if not step.cacheable:
            proposal = _cacheable(name, place, records)
        if proposal is not None:
            found.append(proposal)
    return found


def _cacheable(name: str, place: int, records: Records) -> Proposal | None:
    """A step that takes time, where neither it nor what comes before reads the condition."""
    by_replicate: dict[int, list[Record]] = {}
    for (_, replicate), record in records.items():
        by_replicate.setdefault(replicate, []).append(record)
    several = [cells for cells in by_replicate.values() if len(cells) > 1]
    if not several or not all(_read_alike(cells, place) for cells in several):
        return None
    saved = sum(_mean(cells, place) * (len(cells) - 1) for cells in several)
    if saved < _WORTH:
        return None
    conditions = max(len(cells) for cells in several)
    return Proposal(
        name,
        "cacheable=True",
        saved,
        f"it reads nothing that differs between the {conditions} conditions of a replicate",
    )


def _read_alike(cells: list[Record], place: int) -> bool:
    """Whether cells read the same up to a step."""
    values = [_reads_until(record, place) for record in cells]
    return None not in values and all(each == values[0] for each in values)


def _reads_until(record: Record, place: int) -> dict[str, Digest] | None:
    trace = record.provenance.get("trace")
    if not isinstance(trace, list) or len(trace) <= place:
        return None
    later = {name for step in trace[place + 1 :] for name in _names(step)}
    return {read.key: read.value for read in record.reads if read.key not in later}


def _names(step: Any) -> list[str]:
    return list(step.get("reads", ())) if isinstance(step, dict) else []


def _shared(name: str, place: int, records: Records) -> Proposal | None:
    """A cacheable step whose output was the same in all replicates."""
    outputs: dict[str, list[Any]] = {}
    for (condition, _), record in records.items():
        given = record.provenance.get("outputs")
        output = given.get(str(place)) if isinstance(given, dict) else None
        if output is None:
            return None
        outputs.setdefault(condition, []).append(output)
    counts = [len(each) for each in outputs.values()]
    if not counts or min(counts) < _SAME_FROM or any(len(set(o)) > 1 for o in outputs.values()):
        return None
    seconds = _mean(list(records.values()), place) * (max(counts) - 1)
    return Proposal(
        name, "shared=True", seconds, f"it gave the same in all {max(counts)} replicates"
    )


def _mean(records: list[Record], place: int) -> float:
    times = []
    for record in records:
        provenance: Mapping[str, Any] = record.provenance
        taken, hits = provenance.get("step_seconds"), provenance.get("step_hits") or ()
        if isinstance(taken, list) and len(taken) > place and place not in hits:
            times.append(float(taken[place]))
    return statistics.fmean(times) if times else 0.0
