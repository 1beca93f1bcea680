"""What executors in one process have in common: experiments set up once, and a loop per thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from druse.cell import CellRun, failed
from druse.errors import DruseError
from druse.setups import SetUp, SetUpFailed
from druse.task import Outcome, Sighting, Task

if TYPE_CHECKING:
    from druse.prepared import Prepared
    from druse.runtime import Workplace
    from druse.seeds import Seeding
    from druse.witness import See


class SetUps:
    """The experiments whose steps were set up in this process, each once. Thread-safe."""

    def __init__(self, place: Workplace) -> None:
        self._place = place
        self._done: dict[str, SetUp | SetUpFailed] = {}  # by the experiments' names
        self._lock = threading.Lock()

    def has(self, prepared: Prepared) -> bool:
        """Whether an experiment was set up, or that failed."""
        return prepared.name in self._done

    def get(self, prepared: Prepared) -> SetUp:
        """Raises SetUpFailed, each time again, for what a step's `setup` raised."""
        up = self._done.get(prepared.name)
        if up is None:
            with self._lock:
                up = self._done.get(prepared.name)
                if up is None:
                    up = self._done[prepared.name] = self._make(prepared)
        if isinstance(up, SetUpFailed):
            raise up
        return up

    def _make(self, prepared: Prepared) -> SetUp | SetUpFailed:
        try:
            return SetUp(prepared, self._place)
        except SetUpFailed as error:
            return error

    def tear_down(self, experiment: str) -> None:
        """Calls the steps' `teardown`, if their `setup` was called."""
        up = self._done.pop(experiment, None)
        if isinstance(up, SetUp):
            up.tear_down()

    def close(self) -> None:
        for experiment in list(self._done):
            self.tear_down(experiment)


class OwnLoop:
    """Executes cells in one thread. Asynchronous steps get a loop, made when the first one comes.

    Not thread-safe: one for each thread.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def execute(
        self,
        set_up: SetUps,
        prepared: Prepared,
        task: Task,
        *,
        tell: Callable[[Sighting], None] | None = None,
        seeding: Seeding | None = None,
        see: See | None = None,
    ) -> Outcome:
        """Drives a cell to its end. It never suspends, since waiting blocks."""
        try:
            run = CellRun(set_up.get(prepared), task, self._wait, tell, seeding, see)
            for _ in run.go().__await__():
                raise AssertionError("a cell suspended, though its waiter blocks")
        except DruseError as error:
            return failed(task, error)
        return run.outcome

    async def _wait(self, value: Awaitable[Any]) -> Any:
        """Blocks; it is a coroutine only so that cells can await it."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(_as_coroutine(value))

    def close(self) -> None:
        if self._loop is not None:
            self._loop.close()
            self._loop = None


async def _as_coroutine(value: Awaitable[Any]) -> Any:
    return await value
