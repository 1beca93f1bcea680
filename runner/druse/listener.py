"""Who watches a run: displays, and progress callbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from druse.plan import Plan
    from druse.progress import Summary
    from druse.task import CellName


class Listener:
    """Told what happens. Does nothing by itself; override what is of interest.

    `finished` comes from the thread that commits, everything else from the run's own.
    """

    shows_progress = False

    def planned(self, plan: Plan) -> None:
        """Every cell has been decided about."""

    def started(self, cell: CellName) -> None:
        """A cell is being executed."""

    def put_back(self, cell: CellName) -> None:
        """A cell that was said to be executed was not begun: it will be told of again."""

    def finished(self, cell: CellName, status: str) -> None:
        """A cell was executed ("run" or "failed"), and that is durable."""

    def retried(self, cell: CellName, why: str) -> None:
        """A cell failed, and is tried again."""

    def hit(self, cell: CellName) -> None:
        """A cell that depended on others turned out to be a hit."""

    def exporting(self, experiment: str, done: int, total: int) -> None:
        """An experiment's folder is being written: so many bytes of its artifacts are there."""

    def warned(self, text: str) -> None:
        """Something that people should know."""

    def ended(self, summary: Summary) -> None:
        """All cells of an experiment are over, its run and view are written."""


class Listeners(Listener):
    """Several listeners, told one after another."""

    def __init__(self, *listeners: Listener) -> None:
        self._all = listeners

    def planned(self, plan: Plan) -> None:
        for each in self._all:
            each.planned(plan)

    def started(self, cell: CellName) -> None:
        for each in self._all:
            each.started(cell)

    def put_back(self, cell: CellName) -> None:
        for each in self._all:
            each.put_back(cell)

    def finished(self, cell: CellName, status: str) -> None:
        for each in self._all:
            each.finished(cell, status)

    def retried(self, cell: CellName, why: str) -> None:
        for each in self._all:
            each.retried(cell, why)

    def hit(self, cell: CellName) -> None:
        for each in self._all:
            each.hit(cell)

    def exporting(self, experiment: str, done: int, total: int) -> None:
        """An experiment's folder is being written: so many bytes of its artifacts are there."""

    def warned(self, text: str) -> None:
        for each in self._all:
            each.warned(text)

    def ended(self, summary: Summary) -> None:
        for each in self._all:
            each.ended(summary)
