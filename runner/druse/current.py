"""What the parts of one run share: its plan, its cells, and how its experiments are getting on."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from druse.scheduler import Scheduler
from druse.task import CellName
from druse.twins import Twins

if TYPE_CHECKING:
    from druse.commit import Committer
    from druse.exchange import Exchange
    from druse.executors.choose import Choice
    from druse.executors.lanes import Lanes
    from druse.listener import Listener
    from druse.plan import Plan
    from druse.progress import ExperimentRun
    from druse.session import Session
    from druse_store import Neighbours


@dataclass
class Current:
    """One run while cells are executed. `must_run`: cells whose artifact's bytes are gone."""

    session: Session
    choices: Mapping[str, Choice]
    runs: Mapping[str, ExperimentRun]
    lanes: Lanes
    listener: Listener
    exchange: Exchange
    neighbours: Neighbours
    committer: Committer
    scheduler: Scheduler
    must_run: set[CellName] = field(default_factory=set)
    attempts: dict[CellName, int] = field(default_factory=dict)
    over: deque[str] = field(default_factory=deque)
    ended: set[str] = field(default_factory=set)
    _warned: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.twins = Twins(self.plan, self.session.lookups)

    @property
    def plan(self) -> Plan:
        return self.session.plan

    def warn(self, text: str) -> None:
        """Says something, once."""
        if text not in self._warned:
            self._warned.add(text)
            self.listener.warned(text)

    def note_if_over(self, experiment: str) -> None:
        """An experiment whose last cell is over is to be ended."""
        known = experiment in self.ended or experiment in self.over
        if not known and self.runs[experiment].is_over:
            self.over.append(experiment)

    def get_over(self) -> str | None:
        """The next experiment to be ended; None if there is none."""
        while self.over:
            name = self.over.popleft()
            if self.runs[name].is_over:  # none of its cells became due again
                self.ended.add(name)
                return name
        return None

    def waits(self, cell: CellName) -> list[CellName]:
        """The cells of this run that a cell reads artifacts of."""
        inputs = self.plan.prepared[cell.experiment].inputs
        if not inputs:
            return []
        found = (self.plan.producer_cell(each, cell.condition, cell.replicate) for each in inputs)
        return [producer for producer in found if producer is not None]
