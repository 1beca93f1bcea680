"""Carrying a plan out: cells as they become ready, records as they come, runs as they end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from druse import finish, retiring
from druse.claims import work
from druse.collecting import seldom_collected, uncollected
from druse.commit import Committer
from druse.current import Current
from druse.dispatch import Dispatcher
from druse.exchange import Exchange
from druse.executors.lanes import Lanes
from druse.intake import Intake
from druse.interrupts import Interrupts, uninterrupted
from druse.listener import Listener
from druse.past import usual_durations
from druse.plan import State
from druse.progress import ExperimentRun
from druse.runtime import Workplace
from druse.scheduler import Scheduler
from druse.task import CellName
from druse_store import Neighbours

if TYPE_CHECKING:
    from druse.executors.choose import Choice
    from druse.floor import Floor
    from druse.history import Durations
    from druse.prepared import Prepared
    from druse.result import Result
    from druse.session import Session


class GraphRun:
    """One run of a graph."""

    def __init__(
        self,
        session: Session,
        choices: Mapping[str, Choice],
        listener: Listener,
        exchange: Exchange | None = None,
        make_lanes: Callable[..., Lanes] = Lanes,
    ) -> None:
        self._session = session
        self._plan = session.plan
        self._choices = choices
        self._listener = listener
        self._exchange = exchange or Exchange()
        self._make_lanes = make_lanes
        self._interrupts = Interrupts()
        self._neighbours = Neighbours(session.store)
        self._wake: Callable[[], None] = lambda: None
        self._runs = {
            name: ExperimentRun(session.store, prepared, self._plan)
            for name, prepared in self._plan.prepared.items()
        }
        self._after = {
            each.experiment.folder_name: each.after for each in session.wanted if each.after
        }
        self._durations: dict[str, Durations] = {}
        self.results: dict[str, Result] = {}

    def run(self) -> dict[str, Result]:
        """Executes what is due. Raises StoreError; what user code raises is in the results."""
        with self._session.keys.fingerprinter, self._interrupts, self._neighbours:
            results = self._run()
            self._interrupts.check()
            return results

    def stop(self) -> None:
        """From another thread: what has finished is committed, then `run` raises."""
        self._interrupts.stop()
        self._wake()

    def _run(self) -> dict[str, Result]:
        session = self._session
        self._exchange.look(session.store, self._plan.prepared.values())
        session.remember_markers()
        session.decide_all()
        self._plan.usual_seconds = self._usual_seconds
        with session.store.lease(self._plan.hit_records()):
            self._carry_out(session)
        self._tidy_up()
        return self.results

    def _carry_out(self, session: Session) -> None:
        """The run, while no collection can take the records that it rests on."""
        self._listener.planned(self._plan)
        for each in self._plan.prepared.values():
            for plugin in each.experiment.plugins:
                plugin.before_run(each.experiment)
        place = Workplace(session.store, session.files, session.keys, self._exchange)
        try:
            with uncollected():
                others = self._note_hits()
            if others:
                with (
                    seldom_collected(),
                    session.store.batch(),
                    Committer(session.store, self._durable) as committer,
                    self._make_lanes(
                        _specs(self._choices), place, is_ready=self._is_ready
                    ) as lanes,
                ):
                    self._work(committer, lanes, place.floor)
            for name in self._runs:
                self._end(name)
        finally:
            place.close()

    def _usual_seconds(self, group: tuple[str, str]) -> float | None:
        """How long a cell of an experiment and condition took before."""
        experiment, condition = group
        if experiment not in self._durations:
            self._durations[experiment] = usual_durations(self._session.store, experiment)
        return self._durations[experiment].of(condition)

    def _tidy_up(self) -> None:
        """Retention, behind everything that could still need what it drops."""
        new = [self._plan.prepared[name] for name, run in self._runs.items() if run.is_new]
        if new:
            retiring.after_runs(self._session.store, self._session.retention, new, self._listener)

    def _note_hits(self) -> bool:
        """Notes the cells that are hits; returns whether there are any others."""
        others = False
        for cell, decision in self._plan.decisions.items():
            if decision.state is State.HIT:
                self._runs[cell.experiment].hit(cell, decision)
            else:
                others = True
        return others

    def _is_ready(self, experiment: str) -> bool:
        """Whether all that an experiment reads of others is there."""
        others = {i.producer for i in self._plan.prepared[experiment].inputs}
        others.update(self._after.get(experiment, ()))
        return all(self._runs[name].is_over for name in others if name in self._runs)

    # --- the loop ------------------------------------------------------------------------------

    def _work(self, committer: Committer, lanes: Lanes, floor: Floor) -> None:
        current = Current(
            session=self._session,
            choices=self._choices,
            runs=self._runs,
            lanes=lanes,
            listener=self._listener,
            exchange=self._exchange,
            neighbours=self._neighbours,
            committer=committer,
            scheduler=Scheduler(),
        )
        dispatcher = Dispatcher(current)
        intake = Intake(current, dispatcher)
        self._schedule(current)
        self._wake = lanes.wake

        def take_in(wait: float | None = 0.0) -> None:
            floor.forget()
            lanes.await_news(wait)
            uninterrupted(lambda: intake.take_all(lanes.news()))

        with floor, committer.helping(take_in, floor):
            try:
                self._loop(current, dispatcher, take_in)
            except KeyboardInterrupt:
                take_in()  # what has finished is committed
                raise

    def _loop(
        self, current: Current, dispatcher: Dispatcher, take_in: Callable[[float | None], None]
    ) -> None:
        committer, lanes = current.committer, current.lanes
        while current.scheduler.is_active or current.over:
            dispatcher.dispatch_ready()
            self._interrupts.check()
            over = current.get_over()
            if over is not None:
                self._end(over, lanes)  # while the executors are busy
                self._open_gates(current)
            elif not current.scheduler.has_active:
                if current.scheduler.is_active:
                    raise AssertionError(f"never ready: {current.scheduler.due()[:5]}")
                return
            has_to_wait = current.scheduler.has_active and not current.over
            wait = dispatcher.patience if has_to_wait and not dispatcher.only_others_work else 0.0
            take_in(wait)
            self._interrupts.check()
            uninterrupted(committer.flush_if_due)

    def _schedule(self, current: Current) -> None:
        """Adds every cell that is no hit. Experiments that wait for others begin at a gate."""
        for name, others in self._after.items():
            if any(not self._runs[other].is_over for other in others):
                current.scheduler.close(_gate(name))
        for name, prepared in self._plan.prepared.items():
            self._schedule_cells(current, prepared)
            current.note_if_over(name)
            if not self._runs[name].is_over:
                self._warn_of_missing_conditions(prepared)

    def _schedule_cells(self, current: Current, prepared: Prepared) -> None:
        """Those of one experiment."""
        name, scheduler = prepared.name, current.scheduler
        decisions, cells, lane = (
            self._plan.decisions,
            self._plan.cells(name),
            current.lanes.name(name),
        )
        due = [cell for cell in cells if decisions[cell].state is not State.HIT]
        if not all(condition.is_constant for condition in prepared.conditions.values()):
            for _, condition, replicate in due:
                # A callable treatment is applied now, before any cell runs.
                prepared.conditions[condition].apply_one(replicate)
        gates = [_gate(name)] if name in self._after else []
        if prepared.inputs or gates:
            for cell in due:
                scheduler.add(cell, current.waits(cell) + gates, lane)
        else:
            scheduler.add_all(due, lane)
        current.lanes.expect(name, due)

    def _open_gates(self, current: Current) -> None:
        """Lets experiments begin that wait for none any more."""
        for name, others in self._after.items():
            if current.scheduler.is_due(_gate(name)) and all(n in self.results for n in others):
                current.scheduler.done(_gate(name))

    def _warn_of_missing_conditions(self, prepared: Prepared) -> None:
        """Once for each input: the conditions that its producer does not have."""
        for source in prepared.inputs:
            producer = self._plan.prepared.get(source.producer)
            if producer is None or source.stored is not None:
                continue
            missing = [name for name in prepared.conditions if name not in producer.conditions]
            if missing:
                self._listener.warned(
                    f"{prepared.name}: {source.producer} has no {', '.join(missing)}, so its "
                    f"baseline's {source.artifact.name} stands in"
                )

    def _durable(self, cells: list[CellName]) -> None:
        prepared = self._plan.prepared
        self._neighbours.give_back(work(prepared[cell.experiment], cell) for cell in cells)
        for cell in cells:
            self._listener.finished(cell, self._runs[cell.experiment].status(cell))

    # --- the end -------------------------------------------------------------------------------

    def _end(self, name: str, lanes: Lanes | None = None) -> None:
        if name in self.results:
            return
        run, prepared = self._runs[name], self._plan.prepared[name]
        if lanes is not None:
            lanes.finish(prepared)
        run.begin()
        started = time.perf_counter()
        if self._session.views == "full" and not self._exchange.is_alone:
            self._bring_artifacts(run)
        with uncollected():
            self.results[name] = finish.end(self._session, prepared, run, self._listener)
        run.seconds_to_end = time.perf_counter() - started
        self._exchange.ended(self._session.store, prepared, run.run, run.is_new)
        self._listener.ended(run.summary())

    def _bring_artifacts(self, run: ExperimentRun) -> None:
        """What the view will show is here then, or named as missing."""
        artifacts = [a for record, _ in run.records().values() for a in record.artifacts]
        self._exchange.bring(self._session.store, artifacts, None)


def _specs(choices: Mapping[str, Choice]) -> dict[str, Any]:
    return {name: choice.spec for name, choice in choices.items()}


def _gate(experiment: str) -> CellName:
    """What stands before an experiment's cells until those that it comes after are over."""
    return CellName(experiment, "", -1)
