"""One cell after another, in the thread of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from druse.executors.local import OwnLoop, SetUps
from druse.task import Task

if TYPE_CHECKING:
    from druse.executors import Report
    from druse.executors.spec import Spec
    from druse.prepared import Prepared
    from druse.runtime import Workplace


class SerialExecutor:
    """Executes a task when it is submitted."""

    capacity = 1

    def __init__(self, place: Workplace, report: Report) -> None:
        self._report = report
        self._loop = OwnLoop()
        self._set_up = SetUps(place)

    def submit(self, prepared: Prepared, task: Task) -> None:
        self._report(self._loop.execute(self._set_up, prepared, task))

    def finish(self, prepared: Prepared) -> None:
        self._set_up.tear_down(prepared.name)

    def close(self) -> None:
        self._set_up.close()
        self._loop.close()


def make(spec: Spec, place: Workplace, report: Report) -> SerialExecutor:
    return SerialExecutor(place, report)
