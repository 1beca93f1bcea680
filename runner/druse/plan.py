"""What to do about each cell: take its record, execute it, or wait and see; and why.

One function decides, for a plan that is printed and for a run that carries it out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from druse.control import Control
from druse.lookup import Answer, Found, Lookup, Missing, Pending
from druse.names import BASELINE
from druse.reads import ABSENT
from druse.stored import find_artifact
from druse.task import CellName
from druse_store import ArtifactRef, Digest, Record

if TYPE_CHECKING:
    from druse.conditions import Condition
    from druse.glance import Glance
    from druse.ledger import Asked
    from druse.prepared import Input, Prepared
    from druse.stored import StoredArtifact


class State(Enum):
    """What a plan says of a cell."""

    HIT = "hit"
    RUN = "run"
    DEPENDS = "depends"


class Decision(NamedTuple):
    """What is to be done about a cell. `read` is the read that has another value, if one has."""

    state: State
    reason: str
    record: Record | None = None
    read: str | None = None


def answered(reason: str, record: Record) -> Decision:
    """The decision about a cell that this record answers."""
    return _new(Decision, (_HIT, reason, record, None))


_new, _HIT = tuple.__new__, State.HIT  # a named tuple's own way, and an enum's, take much longer


@dataclass(frozen=True)
class Options:
    """What was asked for. `forced` is what deleted markers ask for."""

    strategy: str = "rerun"
    control: Control = field(default_factory=Control)
    forced: Mapping[str, Asked] = field(default_factory=dict)

    def is_forced(self, experiment: str, condition: str, answer: Answer) -> bool:
        """Whether a deleted marker asks for a cell that is not newer than its deletion."""
        asked = self.forced.get(experiment)
        if asked is None:
            return False
        at: Any = answer.record.provenance.get("at") if isinstance(answer, Found) else None
        return asked.covers(condition, at)


HIT = "its record is in the store"
RERUN = "rerun was asked for"
FORCE = "a step of it is forced"
DOWNSTREAM = "it comes after a step that is forced"
_FORCED = (FORCE, DOWNSTREAM)
MARKER = "its exported folder, or a marker in it, was deleted"
DEPENDS = "it depends on what is executed upstream"
TREATMENT_FAILED = "its treatment raised an error"
GONE = "an artifact of it is needed, and its bytes are gone"
RAN_ALREADY = "an equal cell of this run was executed"


def decide(
    prepared: Prepared,
    condition: str,
    answer: Answer,
    options: Options,
    reason: str | None,
    fresh: Set[Digest],
) -> Decision:
    """The decision about one cell.

    `reason`: why the whole experiment is executed, if it is. `fresh`: the records that this very
    run has made.
    """
    is_new = fresh and isinstance(answer, Found) and answer.record.digest in fresh
    if is_new and isinstance(answer, Found) and not prepared.volatile:
        return answered(RAN_ALREADY, answer.record)
    if reason is None and options.forced and options.is_forced(prepared.name, condition, answer):
        reason = MARKER
    if reason is not None:
        return _to_run(reason)
    if isinstance(answer, Found):
        return answered(HIT, answer.record)
    if isinstance(answer, Pending):
        return Decision(State.DEPENDS, DEPENDS, read=answer.keys[0])
    return _to_run(answer.why, answer.read)


@lru_cache(1 << 10)  # one for all cells that it is true of
def _to_run(reason: str, read: str | None = None) -> Decision:
    return Decision(State.RUN, reason, read=read)


def reasons_to_run(prepared: Mapping[str, Prepared], options: Options) -> dict[str, str]:
    """Why all cells of an experiment are executed, whatever the store has; by experiment."""
    found: dict[str, str] = {}
    for name, each in prepared.items():  # upstream first
        reason = _reason_to_run(each, options)
        if reason is None and options.control.force_downstream:
            forced = [i.producer for i in each.inputs if found.get(i.producer, "") in _FORCED]
            reason = DOWNSTREAM if forced else None
        if reason is not None:
            found[name] = reason
    return found


def _reason_to_run(prepared: Prepared, options: Options) -> str | None:
    if any(options.control.forces(thing) for thing in prepared.things):
        return FORCE
    if options.strategy == "rerun":
        return RERUN
    if prepared.uncacheable:
        return f"its code cannot be known: {prepared.uncacheable}"
    if prepared.volatile:
        return f"{prepared.volatile} is volatile"
    return None


class Plan:
    """The decisions about all cells of a graph, in an order in which they can be carried out."""

    def __init__(self, prepared: list[Prepared]) -> None:
        self.prepared = {each.name: each for each in prepared}
        self.decisions: dict[CellName, Decision] = {}
        self.usual_seconds: Callable[[tuple[str, str]], float | None] = lambda group: None
        self._cells: dict[str, tuple[CellName, ...]] = {}
        self._artifacts: dict[tuple[Digest, str], ArtifactRef | None] = {}

    def cells(self, experiment: str) -> tuple[CellName, ...]:
        """The cells of an experiment, replicate by replicate: what is compared comes together."""
        known = self._cells.get(experiment)
        if known is None:
            prepared = self.prepared[experiment]
            known = self._cells[experiment] = tuple(
                CellName(experiment, condition, replicate)
                for replicate in range(prepared.replicates)
                for condition in prepared.conditions
            )
        return known

    def producer_cell(self, source: Input, condition: str, replicate: int) -> CellName | None:
        """The cell whose artifact a consumer's cell reads; None if it is not part of this graph."""
        producer = self.prepared.get(source.producer)
        if producer is None:
            return None
        if source.stored is not None:
            return self._stored_cell(source.stored, producer, replicate)
        known = condition if condition in producer.conditions else BASELINE
        return CellName(source.producer, known, replicate % producer.replicates)

    def _stored_cell(
        self, stored: StoredArtifact, producer: Prepared, replicate: int
    ) -> CellName | None:
        """The cell that is named, and no other one in its place."""
        if stored.condition not in producer.conditions or replicate >= producer.replicates:
            return None
        return CellName(stored.experiment, stored.condition, replicate)

    def artifact(self, record: Record, source: Input) -> ArtifactRef | None:
        """The artifact in a record that an input is."""
        if source.stored is not None:
            steps = self.prepared[source.producer].step_names
            return source.stored.find_in(record, steps)
        name = source.artifact.name
        key = (record.digest, name)
        if key not in self._artifacts:
            self._artifacts[key] = find_artifact(record, name)
        return self._artifacts[key]

    def hit_records(self) -> list[Digest]:
        """The records that answer cells."""
        found = (decision.record for decision in self.decisions.values())
        return [record.digest for record in found if record is not None]

    def counts(self, experiment: str) -> dict[State, int]:
        """How many cells of an experiment are in which state."""
        counts = dict.fromkeys(State, 0)
        for cell in self.cells(experiment):
            counts[self.decisions[cell].state] += 1
        return counts


class UpstreamOfPlan:
    """What cells read of others: of the plan's cells, or else of the store's latest runs."""

    def __init__(
        self,
        plan: Plan,
        latest: Callable[[str, str, str, int], ArtifactRef | None],
        stored: Callable[[StoredArtifact, int], ArtifactRef | None],
    ) -> None:
        self._plan = plan
        self._latest = latest
        self._stored = stored

    def artifact(self, source: Input, condition: str, replicate: int) -> Digest | None:
        cell = self._plan.producer_cell(source, condition, replicate)
        if cell is not None and not self._is_known(cell):
            return None
        found = self.find(source, condition, replicate)
        return ABSENT if found is None else found.ref.root.digest

    def _is_known(self, cell: CellName) -> bool:
        decision = self._plan.decisions.get(cell)
        return decision is not None and decision.state is State.HIT

    def find(self, source: Input, condition: str, replicate: int) -> ArtifactRef | None:
        """The artifact that a cell would read; None if there is none, or none yet."""
        cell = self._plan.producer_cell(source, condition, replicate)
        if cell is None and source.stored is not None:
            return None
        if cell is None:
            return self._latest(source.producer, source.artifact.name, condition, replicate)
        decision = self._plan.decisions.get(cell)
        if decision is None or decision.state is not State.HIT or decision.record is None:
            return None
        return self._plan.artifact(decision.record, source)

    def stored(self, source: StoredArtifact, replicate: int) -> Digest:
        found = self._stored(source, replicate)
        return ABSENT if found is None else found.ref.root.digest


class Decider:
    """Decides cell by cell, for a plan and again while it is carried out."""

    def __init__(
        self, plan: Plan, lookups: Mapping[str, Lookup], options: Options, fresh: set[Digest]
    ) -> None:
        self._plan = plan
        self._lookups = lookups
        self.options = options
        self._fresh = fresh
        self._reasons = reasons_to_run(plan.prepared, options)
        self._commit = -1
        self._by_start: dict[Digest, list[Lookup]] = {}
        for name, lookup in lookups.items():
            self._by_start.setdefault(plan.prepared[name].start, []).append(lookup)

    def decide(self, view: Glance, cell: CellName) -> Decision:
        """The decision about a cell as things are now."""
        return next(self._decisions(view, cell.experiment, [cell]))

    def decide_all(self, view: Glance, experiment: str) -> None:
        """Notes in the plan what is to be done about each cell of an experiment."""
        cells = self._plan.cells(experiment)
        for condition in self._plan.prepared[experiment].conditions.values():
            condition.apply(self._plan.prepared[experiment].replicates)
        decided = self._decisions(view, experiment, cells)
        self._plan.decisions.update(zip(cells, decided, strict=True))

    def _decisions(
        self, view: Glance, experiment: str, cells: Iterable[CellName]
    ) -> Iterator[Decision]:
        prepared, options = self._plan.prepared[experiment], self.options
        conditions, find = prepared.conditions, self._lookups[experiment].find
        reason, fresh = self._reasons.get(experiment), self._fresh
        unasked = Missing("")
        for _, name, replicate in cells:
            condition: Condition = conditions[name]
            if condition.fails(replicate):
                yield Decision(State.RUN, TREATMENT_FAILED)
                continue
            needs_answer = reason is None or bool(fresh)
            answer = find(view, condition, replicate) if needs_answer else unasked
            yield decide(prepared, name, answer, options, reason, fresh)

    def is_asked_for(self, cell: CellName) -> bool:
        """Whether a cell is to be executed whatever the store has."""
        return self.are_asked_for(cell.experiment) or self._plan.decisions[cell].reason == MARKER

    def are_asked_for(self, experiment: str) -> bool:
        """Whether all cells of an experiment are to be executed whatever the store has."""
        return self._reasons.get(experiment) is not None

    def catch_up(self, view: Glance) -> None:
        """Other processes may have committed: what was read of the index before may be old."""
        commit = view.commit
        if commit != self._commit:
            self._commit = commit
            for lookup in self._lookups.values():
                lookup.forget_records()

    def learn(self, experiment: str, records: Collection[Record]) -> None:
        """New records of an experiment came: more may be found now."""
        for lookup in self._by_start[self._plan.prepared[experiment].start]:
            lookup.learn(records)
