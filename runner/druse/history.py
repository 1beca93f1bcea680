"""How long cells and steps took, from what their records say. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from druse_store import Record


@dataclass(frozen=True)
class Durations:
    """Mean seconds: of a cell, of the cells of each condition, and of each step by its name.

    A step whose result was kept, and so was not executed, tells nothing of its time.
    """

    cell: float | None = None
    conditions: Mapping[str, float] = field(default_factory=dict)
    steps: Mapping[str, float] = field(default_factory=dict)

    def of(self, condition: str) -> float | None:
        """Of a cell of this condition; of any, where it has not been run before."""
        return self.conditions.get(condition, self.cell)


def durations(cells: Iterable[tuple[str, Record]], steps: Sequence[str]) -> Durations:
    """Of records with their conditions; `steps` are the names of their steps."""
    by_condition: dict[str, list[float]] = {}
    by_step: dict[str, list[float]] = {}
    for condition, record in cells:
        said = record.provenance
        seconds = said.get("seconds")
        if record.status != "ok" or not _is_time(seconds):
            continue
        by_condition.setdefault(condition, []).append(float(seconds))  # type: ignore[arg-type]
        for name, took in _executed(said, steps):
            by_step.setdefault(name, []).append(took)
    every = [seconds for values in by_condition.values() for seconds in values]
    return Durations(
        statistics.fmean(every) if every else None,
        {condition: statistics.fmean(values) for condition, values in by_condition.items()},
        {name: statistics.fmean(values) for name, values in by_step.items()},
    )


def _executed(said: Mapping[str, Any], steps: Sequence[str]) -> Iterable[tuple[str, float]]:
    times, replayed = said.get("step_seconds", []), said.get("step_hits", [])
    for place, took in enumerate(times if isinstance(times, list) else []):
        if place < len(steps) and place not in replayed and _is_time(took):
            yield steps[place], float(took)


def _is_time(value: Any) -> bool:
    """Whether a number can be seconds: records may be anybody's."""
    return type(value) in (int, float) and 0 <= value < 1e9
