"""One cell after another, in the thread of the run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from druse.executors.local import OwnLoop, SetUps
from druse.interrupts import uninterrupted
from druse.task import Untried

if TYPE_CHECKING:
    from druse.executors import Report
    from druse.executors.spec import Spec
    from druse.prepared import Prepared
    from druse.runtime import Workplace
    from druse.task import Task

_AT_ONCE = 64  # short cells before the run looks at what came of them
_MOMENT = 0.005  # seconds that these may take together


class SerialExecutor:
    """Gathers tasks, and executes them when no more can be submitted.

    Several while they are short and rest on nothing that the ones before them left. The others are
    given back, to be decided about by what is known then.
    """

    def __init__(self, place: Workplace, report: Report) -> None:
        self.capacity = _AT_ONCE
        self._report = report
        self._floor = place.floor
        self._block: list[tuple[Prepared, Task]] = []
        self._loop = OwnLoop()
        self._set_up = SetUps(place)

    def submit(self, prepared: Prepared, task: Task) -> None:
        self._block.append((prepared, task))

    def rest(self) -> None:
        """Executes what was submitted; then the run looks at what came of it."""
        block, self._block = self._block, []
        if not block:
            return
        self._floor.leave()
        try:
            done = self._execute(block)
        finally:
            uninterrupted(self._floor.take)
        for _, task in block[done:]:
            self._report(Untried(task.cell))

    def _execute(self, block: list[tuple[Prepared, Task]]) -> int:
        """How many of them were executed."""
        until = time.perf_counter() + _MOMENT
        for place, (prepared, task) in enumerate(block, 1):
            outcome = self._loop.execute(self._set_up, prepared, task)
            self._report(outcome)
            self._floor.note()
            if outcome.written or outcome.failure is not None:
                self.capacity = 1
                return place
            if time.perf_counter() > until:
                self.capacity = place
                return place
        self.capacity = min(2 * self.capacity, _AT_ONCE)
        return len(block)

    def finish(self, prepared: Prepared) -> None:
        self._set_up.tear_down(prepared.name)

    def close(self) -> None:
        self._set_up.close()
        self._loop.close()


def make(spec: Spec, place: Workplace, report: Report) -> SerialExecutor:
    return SerialExecutor(place, report)
