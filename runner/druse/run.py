"""Carrying a plan out: cells as they become ready, records as they come, runs as they end."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from druse import finish
from druse.commit import Committer
from druse.exchange import Exchange
from druse.executors import Executor
from druse.listener import Listener
from druse.plan import Decision, State
from druse.progress import ExperimentRun
from druse.runtime import Workplace
from druse.scheduler import Scheduler
from druse.task import CellName, Failure, Outcome, Task, UpstreamArtifact
from druse_store import Record, StoreError

if TYPE_CHECKING:
    from druse.prepared import Input, Prepared
    from druse.result import Result
    from druse.session import Session

GONE = "an artifact of it is needed, and its bytes are gone"


class GraphRun:
    """One run of a graph."""

    def __init__(
        self,
        session: Session,
        make_executor: Callable[[Workplace], Executor],
        listener: Listener,
        exchange: Exchange | None = None,
    ) -> None:
        self._exchange = exchange or Exchange()
        self._held: list[CellName] = []  # ready, and not claimed yet
        self._claimed: deque[CellName] = deque()
        self._under_way = 0
        self._session = session
        self._plan = session.plan
        self._make_executor = make_executor
        self._listener = listener
        self._scheduler = Scheduler()
        self._must_run: set[CellName] = set()
        self._runs = {
            name: ExperimentRun(session.store, prepared, self._plan)
            for name, prepared in self._plan.prepared.items()
        }
        self.results: dict[str, Result] = {}

    def run(self) -> dict[str, Result]:
        """Executes what is due. Raises StoreError; what user code raises is in the results."""
        with self._session.keys.fingerprinter:
            return self._run()

    def _run(self) -> dict[str, Result]:
        session = self._session
        self._exchange.look(session.store, self._plan.prepared.values())
        session.decide_all()
        self._listener.planned(self._plan)
        self._before_run()
        place = Workplace(session.store, session.files, session.keys, self._exchange)
        executor: Executor | None = None
        try:
            if self._schedule():
                executor = self._make_executor(place)
                with session.store.batch(), Committer(session.store, self._durable) as committer:
                    self._work(executor, committer)
            for name in self._runs:
                self._end(name, executor)
        finally:
            if executor is not None:
                executor.close()
            place.close()
        return self.results

    def _before_run(self) -> None:
        for each in self._plan.prepared.values():
            for plugin in each.experiment.plugins:
                plugin.before_run(each.experiment)

    def _schedule(self) -> bool:
        """Adds every cell that is no hit; returns whether there are any."""
        for name in self._plan.prepared:
            for cell in self._plan.cells(name):
                decision = self._plan.decisions[cell]
                if decision.state is State.HIT:
                    self._runs[name].hit(cell, decision)
                else:
                    self._scheduler.add(cell, self._waits(cell))
            if not self._runs[name].is_over:
                self._warn_of_missing_conditions(self._plan.prepared[name])
        return self._scheduler.is_active

    def _waits(self, cell: CellName) -> list[CellName]:
        found = (
            self._plan.producer_cell(source, cell.condition, cell.replicate)
            for source in self._plan.prepared[cell.experiment].inputs
        )
        return [producer for producer in found if producer is not None]

    # --- the loop ------------------------------------------------------------------------------

    def _work(self, executor: Executor, committer: Committer) -> None:
        self._committer = committer
        for name in self._runs:
            self._end_if_over(name, executor)
        while self._scheduler.is_active:
            self._dispatch_ready(executor)
            outcomes = executor.wait()
            self._under_way -= len(outcomes)
            for outcome in outcomes:
                self._take(outcome, executor)
            if not outcomes and not self._scheduler.active and self._scheduler.is_active:
                raise AssertionError(f"cells that never become ready: {self._scheduler.due()[:5]}")

    def _dispatch_ready(self, executor: Executor) -> None:
        while executor.has_room():
            cell = self._claimed.popleft() if self._claimed else self._scheduler.get_ready()
            if cell is not None:
                self._dispatch(cell, executor)
            elif not self._held or not self._take_turn(executor):
                return

    def _take_turn(self, executor: Executor) -> bool:
        """Claims some of the cells that are ready. Whether there is something to go on with."""
        wait = not self._under_way
        mine, done = self._exchange.turn(self._session, self._held, self._find_done, wait=wait)
        over = {*mine, *done}
        self._held = [cell for cell in self._held if cell not in over]
        self._claimed.extend(mine)
        for cell in done:
            self._settle(cell, self._decide(cell), executor)
        return bool(over)

    def _find_done(self, cells: Sequence[CellName]) -> list[CellName]:
        """Those that a record answers by now."""
        for name in {cell.experiment for cell in cells}:
            self._session.decider.forget(name)
        return [cell for cell in cells if self._decide(cell).state is State.HIT]

    def _dispatch(self, cell: CellName, executor: Executor) -> None:
        decision = self._decide(cell)
        if decision.state is State.HIT:
            self._settle(cell, decision, executor)
            return
        if self._exchange.claims and not self._exchange.has_claimed(cell):
            self._held.append(cell)
            return
        upstream: dict[str, UpstreamArtifact] = {}
        for source in self._plan.prepared[cell.experiment].inputs:
            found = self._input(source, cell)
            if found is None:
                continue
            producer = self._recompute(source, cell, found)
            if producer is not None:
                self._scheduler.put_back(cell, [producer])
                return
            upstream[source.alias] = found
        self._plan.decisions[cell] = decision
        self._listener.started(cell)
        self._runs[cell.experiment].begin()
        self._under_way += 1
        task = Task(cell, upstream, self._session.options.no_cache)
        executor.submit(self._plan.prepared[cell.experiment], task)

    def _decide(self, cell: CellName) -> Decision:
        """Again, now that everything upstream is known, and equal cells may have been executed."""
        if cell in self._must_run:
            return Decision(State.RUN, GONE)
        with self._session.store.reading() as view:
            return self._session.decider.decide(view, cell)

    def _input(self, source: Input, cell: CellName) -> UpstreamArtifact | None:
        found = self._session.upstream.find(source, cell.condition, cell.replicate)
        if found is None:
            return None
        return UpstreamArtifact(found)

    def _warn_of_missing_conditions(self, prepared: Prepared) -> None:
        """Once for each input: the conditions that its producer does not have."""
        for source in prepared.inputs:
            producer = self._plan.prepared.get(source.producer)
            if producer is None:
                continue
            missing = [name for name in prepared.conditions if name not in producer.conditions]
            if missing:
                self._listener.warned(
                    f"{prepared.name}: {source.producer} has no {', '.join(missing)}, so its "
                    f"baseline's {source.artifact.name} stands in"
                )

    def _recompute(self, source: Input, cell: CellName, found: UpstreamArtifact) -> CellName | None:
        """The producer of an artifact whose bytes are gone, due again; None if they are here."""
        if self._exchange.bring(self._session.store, [found.artifact], None):
            return None
        return self._due_again(self._plan.producer_cell(source, cell.condition, cell.replicate))

    def _due_again(self, producer: CellName | None) -> CellName | None:
        """Makes a cell due that was a hit. None if it cannot be, or has been executed already."""
        if producer is None or self._scheduler.is_due(producer):
            return producer
        decision = self._plan.decisions[producer]
        if producer in self._must_run or decision.state is not State.HIT:
            return None
        self._must_run.add(producer)
        self._runs[producer.experiment].unhit(producer)
        self._plan.decisions[producer] = Decision(State.RUN, GONE, decision.record)
        self._scheduler.add(producer, self._waits(producer))
        return producer

    # --- what comes back -----------------------------------------------------------------------

    def _take(self, outcome: Outcome, executor: Executor) -> None:
        cell = outcome.cell
        if outcome.gone is not None and self._retry(outcome):
            return
        run = self._runs[cell.experiment]
        previous = self._plan.decisions[cell].record
        record = self._commit(outcome)
        if outcome.failure is not None:
            self._exchange.failed(cell, record)
            run.failed(cell, record, outcome)
            for blocked in self._scheduler.failed(cell):
                self._runs[blocked.experiment].blocked(blocked, cell)
                self._end_if_over(blocked.experiment, executor)
        else:
            self._exchange.computed(cell, record, outcome.seconds)
            self._compare(cell, previous, record)
            self._plan.decisions[cell] = Decision(
                State.HIT, self._plan.decisions[cell].reason, record
            )
            self._session.fresh.add(record.digest)
            self._session.decider.forget(cell.experiment)
            run.executed(cell, record, outcome)
            self._scheduler.done(cell)
        self._end_if_over(cell.experiment, executor)

    def _retry(self, outcome: Outcome) -> bool:
        """Lets the producer of a missing input run, then this cell again."""
        cell = outcome.cell
        for source in self._plan.prepared[cell.experiment].inputs:
            if source.alias == outcome.gone:
                producer = self._plan.producer_cell(source, cell.condition, cell.replicate)
                due = self._due_again(producer)
                if due is not None:
                    self._scheduler.put_back(cell, [due])
                    return True
        return False

    def _commit(self, outcome: Outcome) -> Record:
        name = outcome.cell.experiment
        prepared = self._plan.prepared[name]
        # A cell that is executed once more for its artifact's bytes, after its run has ended.
        writer = None if name in self.results else self._runs[name].writer()
        try:
            return self._committer.put(prepared, outcome, writer)
        except StoreError:
            raise
        except Exception as error:  # a name or a value that no record can hold
            outcome.failure = Failure("the cell's result", str(error), str(error), "InvalidResult")
            outcome.metrics, outcome.artifacts, outcome.tags = {}, [], {}
            return self._committer.put(prepared, outcome, writer)

    def _compare(self, cell: CellName, previous: Record | None, record: Record) -> None:
        """A cell that was executed for its artifact's bytes should give the same ones."""
        if previous is None or cell not in self._must_run:
            return
        before = {(a.name, a.step): a.ref.root.digest for a in previous.artifacts}
        for artifact in record.artifacts:
            known = before.get((artifact.name, artifact.step))
            if known is not None and known != artifact.ref.root.digest:
                self._listener.warned(
                    f"{cell}: {artifact.name} has other bytes than when it was first computed: "
                    "the step that writes it is not deterministic"
                )

    def _settle(self, cell: CellName, decision: Decision, executor: Executor) -> None:
        self._plan.decisions[cell] = decision
        self._runs[cell.experiment].hit(cell, decision)
        self._listener.hit(cell)
        self._scheduler.done(cell)
        self._end_if_over(cell.experiment, executor)

    def _durable(self, cells: list[CellName]) -> None:
        for cell in cells:
            self._listener.finished(cell, self._runs[cell.experiment].status(cell))

    # --- the end -------------------------------------------------------------------------------

    def _end_if_over(self, name: str, executor: Executor) -> None:
        if self._runs[name].is_over:
            self._end(name, executor)

    def _end(self, name: str, executor: Executor | None) -> None:
        if name in self.results:
            return
        run = self._runs[name]
        prepared: Prepared = self._plan.prepared[name]
        if executor is not None:
            executor.finish(prepared)
        started = time.perf_counter()
        if self._session.views == "full":
            self._bring_artifacts(run)
        self.results[name] = finish.end(self._session, prepared, run, self._listener)
        run.seconds_to_end = time.perf_counter() - started
        self._exchange.ended(self._session.store, prepared, run.run, run.is_new)
        self._listener.ended(run.summary())

    def _bring_artifacts(self, run: ExperimentRun) -> None:
        """What the view will show is here then, or named as missing."""
        artifacts = [a for record, _ in run.records().values() for a in record.artifacts]
        self._exchange.bring(self._session.store, artifacts, None)
