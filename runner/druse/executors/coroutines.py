"""Several cells at once in one event loop, for steps that are coroutine functions.

Between two awaits a cell has the process to itself. So each cell keeps its own state of the shared
generators of random numbers: it is put back whenever the cell goes on after another one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Coroutine, Generator
from typing import TYPE_CHECKING, Any

from druse import numpys
from druse.cell import CellRun, failed
from druse.errors import CellTimeout, DruseError
from druse.executors.local import SetUps
from druse.seeds import restore, state
from druse.task import Outcome, Task, Warned

if TYPE_CHECKING:
    from druse.executors import Report
    from druse.executors.spec import Spec
    from druse.prepared import Prepared
    from druse.runtime import Workplace


_PATIENCE = 5.0  # seconds that teardowns may take


class Turns:
    """Which cell was the last one to run, and the states that the others left."""

    def __init__(self) -> None:
        numpys.load()  # so that its generator is among the states
        self._last: Turn | None = None
        self._states: dict[Turn, tuple[Any, ...]] = {}

    def take(self, cell: Turn) -> None:
        if self._last is cell:
            return
        if self._last is not None:
            self._states[self._last] = state()
        kept = self._states.pop(cell, None)
        if kept is not None:
            restore(kept)
        self._last = cell

    def leave(self, cell: Turn) -> None:
        self._states.pop(cell, None)
        if self._last is cell:
            self._last = None


class Turn:
    """A cell's coroutine, which finds the generators as it left them each time that it goes on."""

    def __init__(self, coroutine: Coroutine[Any, Any, Outcome], turns: Turns) -> None:
        self._coroutine = coroutine
        self._turns = turns

    def __await__(self) -> Generator[Any, Any, Outcome]:
        step: Any = lambda: self._coroutine.send(None)  # noqa: E731
        try:
            while True:
                self._turns.take(self)
                try:
                    waits_for = step()
                except StopIteration as done:
                    outcome: Outcome = done.value
                    return outcome
                try:
                    value = yield waits_for
                except BaseException as error:
                    step = _thrower(self._coroutine, error)
                else:
                    step = _sender(self._coroutine, value)
        finally:
            self._turns.leave(self)


def _sender(coroutine: Coroutine[Any, Any, Outcome], value: Any) -> Any:
    return lambda: coroutine.send(value)


def _thrower(coroutine: Coroutine[Any, Any, Outcome], error: BaseException) -> Any:
    return lambda: coroutine.throw(error)


async def _directly(value: Awaitable[Any]) -> Any:
    return await value


class AsyncExecutor:
    """One event loop, in a thread of its own."""

    def __init__(self, place: Workplace, report: Report, at_once: int) -> None:
        self.capacity = at_once
        self._report = report
        place.share_steps()
        self._set_up = SetUps(place)
        self._turns = Turns()
        self._loop = asyncio.new_event_loop()
        self._alone = asyncio.Lock()
        self._is_closing = False
        self._running: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="druse-async", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def submit(self, prepared: Prepared, task: Task) -> None:
        self._loop.call_soon_threadsafe(self._start, prepared, task)

    def _start(self, prepared: Prepared, task: Task) -> None:
        running = self._loop.create_task(self._execute(prepared, task))
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def _execute(self, prepared: Prepared, task: Task) -> None:
        try:
            if prepared.seed.seed_fn is None:
                outcome = await self._within_time(prepared, task)
            else:  # nobody knows what it sets, so nobody can put it back
                self._report(
                    Warned(
                        f"{prepared.name}: its cells are executed one at a time, since its seed_fn "
                        "sets a generator that they share"
                    )
                )
                async with self._alone:
                    outcome = await self._within_time(prepared, task)
        except BaseException as error:  # whatever it is, the run waits for an outcome
            if self._is_closing:
                return
            outcome = failed(task, error)
        self._report(outcome)

    async def _within_time(self, prepared: Prepared, task: Task) -> Outcome:
        try:
            up = self._set_up.get(prepared)
            run = CellRun(up, task, _directly, tell=self._report)
            cell = Turn(run.run(), self._turns)
            async with asyncio.timeout(task.timeout):
                return await cell
        except TimeoutError:
            assert task.timeout is not None
            return failed(task, CellTimeout(task.timeout))
        except DruseError as error:
            return failed(task, error)

    def finish(self, prepared: Prepared) -> None:
        """In the loop, where the steps were set up."""
        self._loop.call_soon_threadsafe(self._set_up.tear_down, prepared.name)

    def close(self) -> None:
        self._is_closing = True
        is_idle = not self._running
        self._loop.call_soon_threadsafe(self._stop)
        if is_idle:
            self._thread.join(_PATIENCE)

    def _stop(self) -> None:
        for running in self._running:
            running.cancel()
        if not self._running:
            self._set_up.close()
        self._loop.call_soon(self._loop.stop)


def make(spec: Spec, place: Workplace, report: Report) -> AsyncExecutor:
    return AsyncExecutor(place, report, spec.workers or 1)
