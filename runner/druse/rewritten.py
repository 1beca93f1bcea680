"""Files that a cell wrote and that others read: what rests on their old content is decided again.

An artifact tells what depends on what; a file that one experiment writes and another one opens does
not. So it may turn out in the middle of a run that a result from the store is outdated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from druse.plan import DEPENDS, Decision, State
from druse.task import CellName

if TYPE_CHECKING:
    from druse.current import Current


class Rewritten:
    """Makes cells due that were hits by what a file held before."""

    def __init__(self, current: Current) -> None:
        self._current = current
        self._plan = current.plan

    def take(self, written: tuple[str, ...], writer: CellName) -> None:
        """A cell opened these files (by their real paths) for writing."""
        if not written:
            return
        for name, lookup in self._current.session.lookups.items():
            forgotten = lookup.forget_files(written)
            if not forgotten:
                continue
            if name in self._current.ended:
                self._current.warn(
                    f"{name} read {forgotten[0]}, which {writer} has written after {name} was "
                    "over: run it again, and let it read an artifact instead"
                )
            else:
                self._decide_again(name)

    def _decide_again(self, name: str) -> None:
        session = self._current.session
        with session.glance as view:
            decided = [(c, session.decider.decide(view, c)) for c in self._current.runs[name].hits]
        for cell, decision in decided:
            if decision.state is not State.HIT:
                self._make_due(cell, decision)

    def _make_due(self, cell: CellName, decision: Decision) -> None:
        current = self._current
        self._plan.decisions[cell] = decision
        current.runs[cell.experiment].unhit(cell)
        lane = current.lanes.name(cell.experiment)
        current.scheduler.add(cell, current.waits(cell), lane)
        for name, prepared in self._plan.prepared.items():
            if name not in current.ended and any(
                source.producer == cell.experiment for source in prepared.inputs
            ):
                for consumer in list(current.runs[name].hits):
                    if cell in current.waits(consumer):
                        self._make_due(consumer, Decision(State.DEPENDS, DEPENDS))
