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

    def planned(self, plan: Plan) -> None:
        """Every cell has been decided about."""

    def started(self, cell: CellName) -> None:
        """A cell is being executed."""

    def finished(self, cell: CellName, status: str) -> None:
        """A cell was executed ("run" or "failed"), and that is durable."""

    def retried(self, cell: CellName, why: str) -> None:
        """A cell failed, and is tried again."""

    def hit(self, cell: CellName) -> None:
        """A cell that depended on others turned out to be a hit."""

    def warned(self, text: str) -> None:
        """Something that people should know."""

    def ended(self, summary: Summary) -> None:
        """All cells of an experiment are over, its run and view are written."""
