"""How long a run will go on: from how long its cells take, and how many are done at once. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping

from druse.task import CellName

Group = tuple[str, str]
"""An experiment and a condition: cells that take about as long as each other."""


class Remaining:
    """Told when cells begin and end. Times are seconds on any one clock.

    `due` is how many cells of each group will run at most, `usual` how long one took before.
    """

    def __init__(
        self, due: Mapping[Group, int], usual: Callable[[Group], float | None], now: float
    ) -> None:
        self._due = dict(due)
        self._usual = usual
        self._known: dict[Group, float | None] = {}
        self._spent: dict[Group, float] = {}
        self._ended: dict[Group, int] = {}
        self._begun: dict[CellName, float] = {}
        self._started = now

    def begin(self, cell: CellName, now: float) -> None:
        self._begun[cell] = now

    def put_back(self, cell: CellName) -> None:
        """A cell was not begun."""
        self._begun.pop(cell, None)

    def end(self, cell: CellName, now: float) -> None:
        """A cell is over: executed, or a hit after all."""
        group = cell.experiment, cell.condition
        self._due[group] = self._due.get(group, 1) - 1
        begun = self._begun.pop(cell, None)
        if begun is not None:
            self._spent[group] = self._spent.get(group, 0.0) + now - begun
            self._ended[group] = self._ended.get(group, 0) + 1

    def seconds(self, now: float) -> float | None:
        """How long it will take from now on; None while nothing is known."""
        due = {group: count for group, count in self._due.items() if count > 0}
        means = {group: self._mean(group) for group in due}
        known = [mean for mean in means.values() if mean is not None]
        if not known:
            return None
        left = sum(
            count * (self._like(group, means) if means[group] is None else means[group] or 0.0)
            for group, count in due.items()
        )
        under_way = sum(now - begun for begun in self._begun.values())
        at_once = (sum(self._spent.values()) + under_way) / max(now - self._started, 1e-9)
        return max(0.0, left - under_way) / max(at_once, 1.0)

    def _mean(self, group: Group) -> float | None:
        ended = self._ended.get(group, 0)
        if ended:
            return self._spent[group] / ended
        if group not in self._known:
            self._known[group] = self._usual(group)
        return self._known[group]

    def _like(self, group: Group, means: Mapping[Group, float | None]) -> float:
        """What a group is thought to take that nobody knows: as its experiment's, else as all."""
        others = {each: mean for each, mean in means.items() if mean is not None}
        for each in self._ended:
            others.setdefault(each, self._spent[each] / self._ended[each])
        own = [mean for (name, _), mean in others.items() if name == group[0]]
        return statistics.fmean(own or others.values())
