"""Handing cells that can run to executors: decided about once more, with what they need."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from druse.claims import Claims
from druse.plan import GONE, Decision, State
from druse.task import CellName, Task, UpstreamArtifact

if TYPE_CHECKING:
    from druse.conditions import Condition
    from druse.current import Current
    from druse.prepared import Input, Prepared
    from druse.progress import ExperimentRun
    from druse_store import ArtifactRef, Digest

_PATIENCE = 0.05  # seconds, while neighbours compute what is left


class _Kind(NamedTuple):
    """What the cells of one experiment and condition have in common.

    `is_sure`: whatever comes up while a run goes on, what was decided about them stays: they are
    asked for, read nothing of others, and no other cell can equal one of them.
    """

    prepared: Prepared
    condition: Condition
    run: ExperimentRun
    timeout: float | None
    has_twins: bool
    is_sure: bool


class Dispatcher:
    """Says of each cell that could run what becomes of it."""

    def __init__(self, current: Current) -> None:
        self._current = current
        self._scheduler = current.scheduler
        self._plan = current.plan
        self._session = current.session
        self._control = current.session.options.control
        self._between_machines = current.exchange.claims
        self._kinds: dict[tuple[str, str], _Kind] = {}
        self._bringing: dict[tuple[Digest, ...], CellName] = {}  # blobs, and who writes them again
        self._claims = Claims(current, self._decide, self._settle)

    @property
    def only_others_work(self) -> bool:
        """Whether all that is left is what others have claimed."""
        return self._claims.only_others_work

    @property
    def patience(self) -> float | None:
        """How long nothing need be done unless something is reported, in seconds; None: forever."""
        return _PATIENCE if self._claims.waits_for_neighbours else None

    def dispatch_ready(self) -> None:
        """Hands cells over as long as any lane has room for one. Raises DruseError."""
        claims, get_ready = self._claims, self._scheduler.get_ready
        with_room = self._current.lanes.with_room
        claims.look_ahead()
        while True:
            lanes = with_room()
            cell = lanes and (
                (claims.has_claimed and claims.get_claimed(lanes))
                or get_ready(lanes)
                or claims.get_back(lanes)
            )
            if cell:
                self._dispatch(cell)
            else:
                self._current.lanes.rest()  # before others are waited for
                if not lanes or not claims.take_turn(lanes):
                    return

    def _kind(self, cell: CellName) -> _Kind:
        experiment, condition, _ = cell
        known = self._kinds.get((experiment, condition))
        if known is None:
            current, prepared = self._current, self._plan.prepared[experiment]
            has_twins = current.twins.may_have(cell)
            is_asked_for = self._session.decider.are_asked_for(experiment)
            known = self._kinds[experiment, condition] = _Kind(
                prepared,
                prepared.conditions[condition],
                current.runs[experiment],
                current.choices[experiment].timeout,
                has_twins,
                is_asked_for and not (has_twins or prepared.inputs or self._between_machines),
            )
        return known

    def _dispatch(self, cell: CellName) -> None:
        kind = self._kind(cell)
        if kind.is_sure:
            self._submit(cell, kind, {})
            return
        if not self._claims.is_ours(cell):
            return
        decision = self._decide(cell)
        if decision.state is State.HIT:
            self._settle(cell, decision)
            return
        if self._between_machines and self._claims.holds(cell):
            return
        inputs = kind.prepared.inputs
        upstream = self._gather(cell, inputs) if inputs else {}
        if upstream is None:
            return
        if kind.has_twins and self._is_held(cell):
            self._claims.give_back(cell)
            return
        self._plan.decisions[cell] = decision
        self._submit(cell, kind, upstream)

    def _gather(
        self, cell: CellName, inputs: Iterable[Input]
    ) -> dict[str, UpstreamArtifact] | None:
        """What a cell reads of others; None where it has to wait for that."""
        upstream: dict[str, UpstreamArtifact] = {}
        for source in inputs:
            found = self._session.upstream.find(source, cell.condition, cell.replicate)
            producer = self._awaited(source, cell, found)
            if producer is not None:
                self._current.twins.remove(cell)
                self._claims.give_back(cell)
                self._scheduler.put_back(cell, [producer])
                return None
            if found is not None:
                upstream[source.alias] = self._with_data(found, cell)
        return upstream

    def _decide(self, cell: CellName) -> Decision:
        """Again, where more may be known now: of what is upstream, or of cells that are equal."""
        current, planned = self._current, self._plan.decisions[cell]
        if cell in current.must_run:
            return planned
        news = self._between_machines or current.twins.may_be_answered(cell)
        has_neighbours = current.neighbours.were_there
        if planned.state is State.RUN and not news and not has_neighbours:
            return planned
        with self._session.glance as view:
            if has_neighbours:
                self._session.decider.catch_up(view)
            return self._session.decider.decide(view, cell)

    def _settle(self, cell: CellName, decision: Decision) -> None:
        """A cell needs no execution after all."""
        self._claims.give_back(cell)
        self._plan.decisions[cell] = decision
        self._current.runs[cell.experiment].hit(cell, decision)
        self._current.listener.hit(cell)
        self._scheduler.done(cell)
        self._current.lanes.over(cell.experiment, [cell])
        self._current.note_if_over(cell.experiment)

    def _is_held(self, cell: CellName) -> bool:
        """Whether a cell that may turn out to equal this one is under way."""
        twins = self._current.twins
        if not self._scheduler.is_busy_besides(cell) or not twins.has_company(cell):
            return False
        with self._session.glance as view:
            other = twins.find(view, cell)
        if other is None:
            return False
        self._scheduler.hold(cell, other)
        return True

    def _submit(self, cell: CellName, kind: _Kind, upstream: dict[str, UpstreamArtifact]) -> None:
        current = self._current
        tells = False
        if kind.has_twins:
            current.twins.begin(cell)
            if not current.lanes.is_serial(cell.experiment):
                with self._session.glance as view:
                    tells = current.twins.is_astray(view, cell)
        given = kind.condition.given(cell.replicate)
        task = Task(cell, upstream, self._control, kind.timeout, tells, given)
        current.listener.started(cell)
        kind.run.begin()
        current.lanes.submit(kind.prepared, task)

    def take_back(self, cell: CellName) -> None:
        """A cell that was handed over was not begun: it can run as before."""
        self._current.listener.put_back(cell)
        self._current.twins.remove(cell)
        self._claims.give_back(cell)
        self._scheduler.put_back(cell)

    # --- what a cell reads of others -----------------------------------------------------------

    def _with_data(self, found: ArtifactRef, cell: CellName) -> UpstreamArtifact:
        """With its bytes, where these are not committed yet and another process would need them."""
        lanes = self._current.lanes
        if lanes.is_here(cell.experiment):
            return UpstreamArtifact(found)
        data = self._current.committer.uncommitted(found.ref.root.digest)
        if data is None and lanes.may_be_far(cell.experiment):
            return self._current.exchange.hand_out(self._session.store, found)
        return UpstreamArtifact(found, data)

    def _awaited(self, source: Input, cell: CellName, found: ArtifactRef | None) -> CellName | None:
        """The producer that a cell has to wait for: of bytes that are gone, or, where nothing is
        found, one that became due again since the cell was scheduled: for another consumer."""
        if found is not None:
            return self._recompute(source, cell, found)
        producer = self._plan.producer_cell(source, cell.condition, cell.replicate)
        return producer if producer is not None and self._scheduler.is_due(producer) else None

    def _recompute(self, source: Input, cell: CellName, found: ArtifactRef) -> CellName | None:
        """The producer of an artifact whose bytes are gone, due again; None if they are here."""
        blobs = tuple(blob.digest for blob in found.ref.blobs())
        if all(self._current.committer.uncommitted(digest) is not None for digest in blobs):
            return None
        if self._current.exchange.bring(self._session.store, [found], None):
            return None
        other = self._bringing.get(blobs)
        if other is not None and self._scheduler.is_due(other):
            return other  # which is about to write the same
        producer = self.due_again(self._plan.producer_cell(source, cell.condition, cell.replicate))
        if producer is not None:
            self._bringing[blobs] = producer
        return producer

    def due_again(self, producer: CellName | None) -> CellName | None:
        """Makes a cell due that was a hit. None if it cannot be, or has been executed already."""
        if producer is None or self._scheduler.is_due(producer):
            return producer
        current, decision = self._current, self._plan.decisions[producer]
        if producer in current.must_run or decision.state is not State.HIT:
            return None
        current.must_run.add(producer)
        current.runs[producer.experiment].unhit(producer)
        self._plan.decisions[producer] = Decision(State.RUN, GONE, decision.record)
        lane = current.lanes.name(producer.experiment)
        self._scheduler.add(producer, current.waits(producer), lane)
        current.lanes.expect(producer.experiment, [producer])
        return producer
