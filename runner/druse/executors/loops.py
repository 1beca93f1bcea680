"""A plugin's own loop: it says when each replicate is executed, and in which thread or coroutine.

The loop begins once everything that the experiment reads of others is there. It is handed a
function of a replicate's number, which executes the cells of that replicate that are due.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from druse import execution
from druse.cell import CellRun, failed
from druse.errors import DefinitionError, DruseError
from druse.executors.coroutines import Turn, Turns
from druse.executors.generators import Sharing
from druse.executors.local import OwnLoop, SetUps
from druse.task import CellName, Outcome, Task, Warned

if TYPE_CHECKING:
    from druse.executors import Report
    from druse.prepared import Prepared
    from druse.runtime import Workplace
    from druse.seeds import Seeding

_PAUSE = 0.005  # seconds between two looks of a coroutine for what it may do next


class ReplicateResult:
    """What a plugin's loop gets for a replicate: metrics and errors of the cells that were due."""

    def __init__(self, replicate: int) -> None:
        self.replicate = replicate
        self.baseline_metrics: dict[str, Any] | None = None
        self.treatment_metrics: dict[str, dict[str, Any]] = {}
        self.errors: dict[str, str] = {}

    def add(self, outcome: Outcome) -> None:
        cell = outcome.cell
        if outcome.failure is not None:
            self.errors[f"{cell.condition}_rep_{cell.replicate}"] = outcome.failure.message
        elif cell.condition == "baseline":
            self.baseline_metrics = outcome.metrics
        else:
            self.treatment_metrics[cell.condition] = outcome.metrics

    def __await__(self) -> Any:
        """A loop that is no coroutine function may await it all the same."""
        return self
        yield  # what makes it a generator


class LoopExecutor:
    """Executes one experiment's cells when its plugin calls for them."""

    capacity = 1 << 30

    def __init__(self, place: Workplace, report: Report, due: Iterable[CellName]) -> None:
        self._report = report
        place.share_steps()
        self._set_up = SetUps(place)
        self._sharing = Sharing(lambda text: report(Warned(text)), probes_first=True)
        self._turns = Turns()
        self._changed = threading.Condition()
        self._due = set(due)
        self._tasks: dict[CellName, Task] = {}
        self._prepared: Prepared | None = None
        self._is_begun = self._is_over = False
        self._local = threading.local()

    # --- the run's thread ----------------------------------------------------------------------

    def submit(self, prepared: Prepared, task: Task) -> None:
        with self._changed:
            self._prepared = prepared
            if not self._is_over:
                self._due.add(task.cell)
                self._tasks[task.cell] = task
                self._changed.notify_all()
                return
        self._report(failed(task, self._not_called(task.cell)))

    def rest(self) -> None:
        """All that can be submitted for the moment has been: the loop may begin."""
        if self._prepared is not None and not self._is_begun:
            self._is_begun = True
            threading.Thread(target=self._run, name="druse-loop", daemon=True).start()

    def over(self, cell: CellName) -> None:
        """A cell is over, whatever came of it: nobody waits for it any more."""
        with self._changed:
            self._due.discard(cell)
            self._changed.notify_all()

    def finish(self, prepared: Prepared) -> None:
        self._set_up.tear_down(prepared.name)

    def close(self) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    # --- the plugin's thread -------------------------------------------------------------------

    def _run(self) -> None:
        assert self._prepared is not None
        experiment = self._prepared.experiment
        plugin = execution.of(experiment)
        error: BaseException | None = None
        try:
            assert plugin is not None
            loop: Any = plugin.run_experiment_loop
            if inspect.iscoroutinefunction(loop):
                asyncio.run(loop(experiment, self._awaitable()))
            else:
                returned = loop(experiment, self._callable())
                if inspect.isawaitable(returned):
                    asyncio.run(_awaited(returned))
        except BaseException as raised:  # the plugin is the user's code, and so is its error
            error = raised
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        with self._changed:
            left, self._tasks = self._tasks, {}
            self._is_over = True
        for cell, task in left.items():
            self._report(failed(task, error or self._not_called(cell)))
        if error is not None and not left:
            self._report(
                Warned(f"{self._name}: the loop of its plugin raised {error!r} at its end")
            )

    @property
    def is_over(self) -> bool:
        """Whether the loop has ended: another one is needed for further cells."""
        return self._is_over

    @property
    def _name(self) -> str:
        return "" if self._prepared is None else self._prepared.name

    def _not_called(self, cell: CellName) -> DefinitionError:
        return DefinitionError(
            f"{cell} was not executed: the loop of the experiment's plugin ended without calling "
            f"replicate_fn({cell.replicate})"
        )

    def _callable(self) -> Callable[[int], ReplicateResult]:
        def replicate_fn(replicate: int) -> ReplicateResult:
            result = ReplicateResult(replicate)
            while (task := self._next(replicate)) is not None:
                result.add(self._execute(task))
            return result

        _say_what_is_due(replicate_fn, self._due)
        return replicate_fn

    def _awaitable(self) -> Callable[[int], Awaitable[ReplicateResult]]:
        async def replicate_fn(replicate: int) -> ReplicateResult:
            result = ReplicateResult(replicate)
            while self._is_due(replicate):
                task = self._take(replicate)
                if task is None:
                    await asyncio.sleep(_PAUSE)
                else:
                    result.add(await self._execute_in_loop(task))
            return result

        _say_what_is_due(replicate_fn, self._due)
        return replicate_fn

    # --- tasks ---------------------------------------------------------------------------------

    def _is_due(self, replicate: int) -> bool:
        return not self._is_over and any(cell.replicate == replicate for cell in list(self._due))

    def _take(self, replicate: int) -> Task | None:
        with self._changed:
            for cell in self._tasks:
                if cell.replicate == replicate:
                    return self._tasks.pop(cell)
        return None

    def _next(self, replicate: int) -> Task | None:
        """The next task of a replicate; waits for it. None if no cell of it is due any more."""
        with self._changed:
            while self._is_due(replicate):
                task = self._take(replicate)
                if task is not None:
                    return task
                self._changed.wait()
        return None

    def _execute(self, task: Task) -> Outcome:
        prepared = self._prepared
        assert prepared is not None
        own = self._local.__dict__.setdefault("loop", OwnLoop())

        def execute(seeding: Seeding) -> Outcome:
            found: Outcome = own.execute(
                self._set_up, prepared, task, tell=self._report, seeding=seeding
            )
            return found

        try:
            outcome = self._sharing.run(prepared, object(), execute)
        except BaseException as error:  # whatever it is, the run waits for an outcome
            self._report(failed(task, error))
            raise
        self._report(outcome)
        return outcome

    async def _execute_in_loop(self, task: Task) -> Outcome:
        assert self._prepared is not None
        try:
            up = self._set_up.get(self._prepared)
            run = CellRun(up, task, _directly, tell=self._report)
            outcome = await Turn(run.run(), self._turns)
        except DruseError as error:
            outcome = failed(task, error)
        except BaseException as error:
            self._report(failed(task, error))
            raise
        self._report(outcome)
        return outcome


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


async def _directly(value: Awaitable[Any]) -> Any:
    return await value


def _say_what_is_due(replicate_fn: Any, due: Iterable[CellName]) -> None:
    """A plugin that looks for it needs to call for no other replicates."""
    replicate_fn.due = sorted({cell.replicate for cell in due})
