"""One cell after another, in the thread of the run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from druse.cell import CellRun, SetUp
from druse.runtime import Workplace
from druse.task import Outcome, Task

if TYPE_CHECKING:
    from druse.prepared import Prepared


class OwnLoop:
    """Awaits what asynchronous steps return, in a loop that is made when the first one does."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    async def wait(self, value: Awaitable[Any]) -> Any:
        """Blocks; it is a coroutine only so that cells can await it."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(_as_coroutine(value))

    def run(self, cell: CellRun) -> Outcome:
        """Drives a cell to its end. It never suspends, since waiting blocks."""
        coroutine = cell.run()
        try:
            coroutine.send(None)
        except StopIteration as done:
            outcome: Outcome = done.value
            return outcome
        raise AssertionError("a cell suspended, though its waiter blocks")

    def close(self) -> None:
        if self._loop is not None:
            self._loop.close()
            self._loop = None


async def _as_coroutine(value: Awaitable[Any]) -> Any:
    return await value


class SerialExecutor:
    """Executes a task when it is submitted."""

    def __init__(self, place: Workplace) -> None:
        self._place = place
        self._loop = OwnLoop()
        self._done: list[Outcome] = []
        self._set_up: dict[str, SetUp] = {}

    def has_room(self) -> bool:
        return not self._done

    def submit(self, prepared: Prepared, task: Task) -> None:
        up = self._set_up.get(prepared.name)
        if up is None:
            up = self._set_up[prepared.name] = SetUp(prepared, self._place)
        self._done.append(self._loop.run(CellRun(up, task, self._loop.wait)))

    def wait(self) -> list[Outcome]:
        done, self._done = self._done, []
        return done

    def finish(self, prepared: Prepared) -> None:
        up = self._set_up.pop(prepared.name, None)
        if up is not None:
            up.tear_down()

    def close(self) -> None:
        for up in self._set_up.values():
            up.tear_down()
        self._set_up.clear()
        self._loop.close()
