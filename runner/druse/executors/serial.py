"""One cell after another, in the thread of the run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from druse.executors.local import OwnLoop, SetUps
from druse.interrupts import uninterrupted

if TYPE_CHECKING:
    from druse.executors import Report
    from druse.executors.spec import Spec
    from druse.prepared import Prepared
    from druse.runtime import Workplace
    from druse.task import Task

_AT_ONCE = 64  # short cells before the run looks at what came of them
_MOMENT = 0.005  # seconds that these may take together


class SerialExecutor:
    """Executes a task when it is submitted."""

    def __init__(self, place: Workplace, report: Report) -> None:
        self._report = report
        self._floor = place.floor
        self._until = 0.0
        self._loop = OwnLoop()
        self._set_up = SetUps(place)

    @property
    def capacity(self) -> int:
        """Several while they are short and rest on nothing that the ones before them left."""
        return _AT_ONCE if self._until == 0.0 or time.perf_counter() < self._until else 1

    def submit(self, prepared: Prepared, task: Task) -> None:
        began = time.perf_counter()
        self._floor.leave()
        try:
            outcome = self._loop.execute(self._set_up, prepared, task)
        finally:
            uninterrupted(self._floor.take)
        if outcome.written or outcome.failure is not None:
            self._until = began
        elif self._until == 0.0:
            self._until = began + _MOMENT
        self._report(outcome)
        self._floor.note()

    def rest(self) -> None:
        """The run looks at what came of all that was submitted."""
        self._until = 0.0

    def finish(self, prepared: Prepared) -> None:
        self._set_up.tear_down(prepared.name)

    def close(self) -> None:
        self._set_up.close()
        self._loop.close()


def make(spec: Spec, place: Workplace, report: Report) -> SerialExecutor:
    return SerialExecutor(place, report)
