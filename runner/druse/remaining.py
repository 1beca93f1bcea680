"""How long a run will go on: from how long its cells take, and how many are done at once. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from itertools import islice
from typing import TYPE_CHECKING

from druse.task import CellName

if TYPE_CHECKING:
    from druse_store import Store

_SAMPLE = 20  # records that times are taken from


def usual_seconds(store: Store, experiment: str) -> float | None:
    """How long a cell of an experiment took in the latest run that has any; None without one."""
    for run in reversed(list(store.runs(experiment))):
        records = (store.record_by_digest(cell.record) for cell in run.cells)
        times = [
            record.provenance["seconds"]
            for record in islice(records, _SAMPLE)
            if record is not None and record.status == "ok" and "seconds" in record.provenance
        ]
        known = [float(each) for each in times if isinstance(each, int | float)]
        if known:
            return statistics.fmean(known)
    return None


class Remaining:
    """Told when cells begin and end. Times are seconds on any one clock.

    `due` is how many cells of each experiment will run at most, `usual` how long one took before.
    """

    def __init__(
        self, due: Mapping[str, int], usual: Callable[[str], float | None], now: float
    ) -> None:
        self._due = dict(due)
        self._usual = usual
        self._known: dict[str, float | None] = {}
        self._spent: dict[str, float] = {}
        self._ended: dict[str, int] = {}
        self._begun: dict[CellName, float] = {}
        self._started = now

    def begin(self, cell: CellName, now: float) -> None:
        self._begun[cell] = now

    def end(self, cell: CellName, now: float) -> None:
        """A cell is over: executed, or a hit after all."""
        self._due[cell.experiment] = self._due.get(cell.experiment, 1) - 1
        begun = self._begun.pop(cell, None)
        if begun is not None:
            name = cell.experiment
            self._spent[name] = self._spent.get(name, 0.0) + now - begun
            self._ended[name] = self._ended.get(name, 0) + 1

    def seconds(self, now: float) -> float | None:
        """How long it will take from now on; None while nothing is known."""
        means = {name: self._mean(name) for name, count in self._due.items() if count > 0}
        known = [mean for mean in means.values() if mean is not None]
        if not known:
            return None
        usual = sum(known) / len(known)
        left = sum(self._due[n] * (usual if mean is None else mean) for n, mean in means.items())
        under_way = sum(now - begun for begun in self._begun.values())
        at_once = (sum(self._spent.values()) + under_way) / max(now - self._started, 1e-9)
        return max(0.0, left - under_way) / max(at_once, 1.0)

    def _mean(self, name: str) -> float | None:
        ended = self._ended.get(name, 0)
        if ended:
            return self._spent[name] / ended
        if name not in self._known:
            self._known[name] = self._usual(name)
        return self._known[name]
