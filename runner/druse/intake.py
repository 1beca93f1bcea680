"""Taking in what executors report: records, failures, cells to be tried again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, cast

from druse.plan import answered
from druse.rewritten import Rewritten
from druse.shown import package
from druse.task import CellName, Failure, Outcome, Sighting, Stopped, Untried, Warned
from druse.unpickled import finished
from druse_store import BlobVanished, ObjectRef, Record, StoreError

if TYPE_CHECKING:
    from druse.current import Current
    from druse.dispatch import Dispatcher
    from druse.executors import News

_VANISHED_AT_MOST = 3  # times that the bytes of one cell's artifact may vanish before its commit


class Intake:
    """Says what becomes of each piece of news."""

    def __init__(self, current: Current, dispatcher: Dispatcher) -> None:
        self._current = current
        self._dispatcher = dispatcher
        self._scheduler = current.scheduler
        self._plan = current.plan
        self._rewritten = Rewritten(current)
        self._vanished: dict[CellName, int] = {}

    def take_all(self, news: Sequence[News]) -> None:
        """Raises what an executor stopped for, and StoreError."""
        if news:
            with self._current.committer.putting():
                for experiment, some in groupby(news, self._experiment_of_plain):
                    if experiment is None:
                        for each in some:
                            self._take(each)
                    else:
                        self._take_results(experiment, cast("Iterable[Outcome]", some), plain=True)

    def _experiment_of_plain(self, news: News) -> str | None:
        """The experiment of a result of which there is nothing more to say; None for other news."""
        is_plain = type(news) is Outcome and news.is_plain and not self._current.attempts
        return news.cell.experiment if is_plain else None  # type: ignore[union-attr]

    def _take(self, news: News) -> None:
        if isinstance(news, Outcome):
            self._outcome(news)
        elif isinstance(news, Stopped):
            raise news.error
        elif isinstance(news, Sighting):
            if self._current.twins.sighted(news):
                self._scheduler.let_go(news.cell)
        elif isinstance(news, Untried):
            self._dispatcher.take_back(news.cell)
        elif isinstance(news, Warned):
            self._current.warn(news.text)

    def _outcome(self, outcome: Outcome) -> None:
        cell, current = outcome.cell, self._current
        if outcome.failure is not None:
            current.twins.remove(cell)
            if outcome.gone is not None and self._wait_for_input(outcome):
                return
            if self._try_again(outcome):
                return
        if current.attempts:
            outcome.attempts += current.attempts.pop(cell, 0)
        if outcome.seen:
            self._add_seen(outcome)
        if outcome.written:
            self._rewritten.take(outcome.written, cell)
        if outcome.indexes or outcome.kept:
            self._bring(outcome)
        self._take_results(cell.experiment, [outcome], plain=False)

    def _take_results(self, experiment: str, outcomes: Iterable[Outcome], *, plain: bool) -> None:
        """Outcomes of cells of one experiment that are over, however they ended."""
        current = self._current
        put, done, over = self._putter(experiment, plain), dict[CellName, Record](), []
        seconds = 0.0
        try:
            for outcome in outcomes:
                record = put(outcome)
                if record is None:
                    continue
                over.append(outcome.cell)
                if outcome.failure is None:
                    done[outcome.cell] = record
                    seconds += outcome.seconds
                    if not plain:
                        current.runs[experiment].note_warnings(outcome)
                else:
                    self._failed(outcome, record)
        finally:
            self._succeeded(experiment, done, seconds)
        current.lanes.over(experiment, over)
        current.note_if_over(experiment)

    def _add_seen(self, outcome: Outcome) -> None:
        """Files that were opened, and classes that were unpickled, are read as well."""
        for name, digest in finished(outcome.seen, self._current.session.keys).items():
            outcome.reads.setdefault(name, digest)
            if name.startswith("package:"):
                outcome.shown[name] = package(name.partition(":")[2])

    def _bring(self, outcome: Outcome) -> None:
        """Takes in what a worker that does not see the store has put on the remote."""
        store = self._current.session.store
        refs = [a.data for a in outcome.artifacts if isinstance(a.data, ObjectRef)]
        kept = [Record.decode(data) for data in outcome.kept]
        blobs = [blob for ref in refs for blob in ref.blobs()]
        blobs += [blob for record in kept for blob in record.refs()]
        self._current.exchange.take_over(store, blobs, outcome.indexes)
        for record in kept:
            try:
                store.put_record(record)
            except BlobVanished:  # the step runs once more, when it is needed again
                continue

    # --- failures ------------------------------------------------------------------------------

    def _wait_for_input(self, outcome: Outcome) -> bool:
        """Lets the producer of a missing input run, then this cell again."""
        cell = outcome.cell
        if self._current.lanes.is_loop(cell.experiment):
            return False  # its loop would wait for the producer, which waits for the loop to end
        for source in self._plan.prepared[cell.experiment].inputs:
            if source.alias == outcome.gone:
                producer = self._plan.producer_cell(source, cell.condition, cell.replicate)
                due = self._dispatcher.due_again(producer)
                if due is not None:
                    self._scheduler.put_back(cell, [due])
                    return True
        return False

    def _try_again(self, outcome: Outcome) -> bool:
        cell, attempts = outcome.cell, self._current.attempts
        if attempts.get(cell, 0) >= self._current.choices[cell.experiment].retries:
            return False
        attempts[cell] = attempts.get(cell, 0) + 1
        assert outcome.failure is not None
        self._current.listener.retried(cell, outcome.failure.message)
        self._scheduler.put_back(cell)
        return True

    def _failed(self, outcome: Outcome, record: Record) -> None:
        current, cell = self._current, outcome.cell
        current.twins.remove(cell)
        current.exchange.failed(cell, record)
        current.runs[cell.experiment].failed(cell, record, outcome)
        for blocked in self._scheduler.failed(cell):
            current.runs[blocked.experiment].blocked(blocked, cell)
            current.lanes.over(blocked.experiment, [blocked])
            current.note_if_over(blocked.experiment)

    # --- results -------------------------------------------------------------------------------

    def _succeeded(self, experiment: str, done: Mapping[CellName, Record], seconds: float) -> None:
        """Takes results into account, which took so long together."""
        current, decisions = self._current, self._plan.decisions
        if current.must_run:
            for cell, record in done.items():
                self._compare(cell, record)
        current.exchange.computed(done, seconds)
        current.session.fresh.update([record.digest for record in done.values()])
        current.session.decider.learn(experiment, done.values())
        current.twins.learned(done)
        # Their bytes alone: what a hundred thousand records are made of is much to keep.
        kept = {cell: record.packed() for cell, record in done.items()}
        for cell, record in kept.items():
            decisions[cell] = answered(decisions[cell].reason, record)
        current.runs[experiment].executed(kept)
        self._scheduler.all_done(kept)

    def _putter(self, experiment: str, plain: bool) -> Callable[[Outcome], Record | None]:
        """What writes an outcome of an experiment; it gives None where that has to wait."""
        current, prepared = self._current, self._plan.prepared[experiment]
        # A cell that is executed once more for its artifact's bytes, after its run has ended.
        writer = None if experiment in current.ended else current.runs[experiment].writer()
        write = current.committer.put

        def put(outcome: Outcome) -> Record | None:
            try:
                return write(prepared, outcome, writer, plain)
            except BlobVanished:
                if not self._tries_once_more(outcome.cell):
                    raise
                return None
            except StoreError:
                raise
            except Exception as error:  # a name or a value that no record can hold
                outcome.failure = Failure(
                    "the cell's result", str(error), str(error), "InvalidResult"
                )
                outcome.metrics, outcome.artifacts, outcome.tags = {}, [], {}
                return write(prepared, outcome, writer)

        return put

    def _tries_once_more(self, cell: CellName) -> bool:
        """Has a cell executed again whose artifact's bytes have vanished before their commit."""
        known = self._vanished.get(cell, 0)
        if known >= _VANISHED_AT_MOST:
            return False
        self._vanished[cell] = known + 1
        self._current.twins.remove(cell)
        self._scheduler.put_back(cell)
        return True

    def _compare(self, cell: CellName, record: Record) -> None:
        """A cell that was executed for its artifact's bytes should give the same ones."""
        previous = self._plan.decisions[cell].record
        if cell not in self._current.must_run or previous is None:
            return
        before = {(a.name, a.step): a.ref.root.digest for a in previous.artifacts}
        for artifact in record.artifacts:
            known = before.get((artifact.name, artifact.step))
            if known is not None and known != artifact.ref.root.digest:
                self._current.warn(
                    f"{cell}: {artifact.name} has other bytes than when it was first computed: "
                    "the step that writes it is not deterministic"
                )
