"""A plan for people: how many cells of what kind, why, how long that may take; what to cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from druse.explain import Explainer, Explanation
from druse.past import usual_durations
from druse.plan import State
from druse.proposals import Proposal, proposals
from druse.task import CellName

if TYPE_CHECKING:
    from druse.history import Durations
    from druse.past import History
    from druse.session import Session
    from druse_store import Record

_EXPLAINED = 40  # groups of which the differences are looked for
_SAMPLE = 50  # records of a run that times are taken from


@dataclass
class Group:
    """Cells of an experiment of which the same is to be said."""

    state: State
    reason: str
    read: str | None
    cells: list[CellName] = field(default_factory=list)
    explanation: Explanation | None = None

    @property
    def conditions(self) -> list[str]:
        return list(dict.fromkeys(cell.condition for cell in self.cells))


@dataclass
class ExperimentForecast:
    """What a run would do about one experiment. `seconds` is None without history."""

    name: str
    groups: list[Group]
    durations: Durations
    proposals: list[Proposal] = field(default_factory=list)

    def count(self, *states: State) -> int:
        return sum(len(group.cells) for group in self.groups if group.state in states)

    @property
    def seconds(self) -> float | None:
        """Of work, for the cells that are executed, as far as that is known."""
        due = [c for g in self.groups if g.state is not State.HIT for c in g.cells]
        times = [self.durations.of(cell.condition) for cell in due]
        known = [each for each in times if each is not None]
        return sum(known) if len(known) == len(times) else None


def forecast(session: Session) -> list[ExperimentForecast]:
    """Of a session whose plan has been made. Raises StoreError."""
    explainer = Explainer(session)
    found = []
    left = _EXPLAINED
    for name in session.plan.prepared:
        groups = list(_groups(session, name))
        for group in groups:
            if group.state is not State.HIT and left > 0:
                left -= 1
                group.explanation = explainer.explain(group.cells[0])
        records = _sample(session, explainer.history, name)
        prepared = session.plan.prepared[name]
        found.append(
            ExperimentForecast(
                name,
                groups,
                usual_durations(session.store, name),
                proposals(prepared, records),
            )
        )
    return found


def _groups(session: Session, name: str) -> Iterator[Group]:
    decisions = session.plan.decisions
    groups: dict[tuple[State, str, str | None, str], Group] = {}
    for cell in session.plan.cells(name):
        state, reason, _, read = decisions[cell]
        # What was read differs from condition to condition.
        condition = cell.condition if read is not None and state is State.RUN else ""
        key = (state, reason, read, condition)
        group = groups.get(key)
        if group is None:
            group = groups[key] = Group(state, reason, read)
        group.cells.append(cell)
    yield from groups.values()


def _sample(session: Session, history: History, name: str) -> dict[tuple[str, int], Record]:
    """Records of the latest run, of all conditions alike."""
    runs = history.runs(name)
    if not runs:
        return {}
    found = {}
    cells = sorted(history.cells(runs[0]).items(), key=lambda item: item[0][1])
    for key, digest in islice(cells, _SAMPLE):
        record = session.store.record_by_digest(digest)
        if record is not None and record.status == "ok":
            found[key] = record
    return found
