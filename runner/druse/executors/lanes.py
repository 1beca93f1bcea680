"""The lanes of a run: each experiment's executor, and one queue for what all of them report."""

from __future__ import annotations

import queue
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from druse.executors import Executor, Following, News, Resting
from druse.executors.spec import LOOP, Spec, make
from druse.task import CellName, Outcome, Stopped, Task, Untried

if TYPE_CHECKING:
    from druse.prepared import Prepared
    from druse.runtime import Workplace


@dataclass
class _Lane:
    spec: Spec
    executor: Executor | None = None
    resting: Resting | None = None
    following: Following | None = None
    active: set[object] = field(default_factory=set)

    def set(self, executor: Executor | None) -> None:
        self.executor = executor
        self.resting = executor if isinstance(executor, Resting) else None
        self.following = executor if isinstance(executor, Following) else None


class Lanes:
    """Executors by what was asked for; one is made when its first task comes.

    Experiments that ask for the same share an executor. Those whose cells are executed in this
    process take turns: its generators of random numbers are there only once. `is_ready` says of an
    experiment whether all that it reads of others is there.
    """

    def __init__(
        self,
        specs: Mapping[str, Spec],
        place: Workplace,
        make_executor: Callable[..., Executor] = make,
        is_ready: Callable[[str], bool] = lambda experiment: True,
    ) -> None:
        self._place = place
        self._make = make_executor
        self._is_ready = is_ready
        self._due: dict[str, set[CellName]] = {}
        self._names = {experiment: _name(spec) for experiment, spec in specs.items()}
        self._lanes = {_name(spec): _Lane(spec) for spec in specs.values()}
        self._alone = list(self._lanes)
        self._only = self._lanes[self._alone[0]] if len(self._alone) == 1 else None
        self._queue: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._came: list[News] = []  # taken out of it, and not asked for yet

    def name(self, experiment: str) -> str:
        """The lane of an experiment."""
        return self._names[experiment]

    def is_here(self, experiment: str) -> bool:
        """Whether an experiment's cells are executed in this process."""
        return self._lanes[self._names[experiment]].spec.is_here

    def may_be_far(self, experiment: str) -> bool:
        """Whether an experiment's cells may be executed on other machines."""
        return self._lanes[self._names[experiment]].spec.may_be_far

    def is_serial(self, experiment: str) -> bool:
        """Whether nothing else is under way while a cell of this experiment is."""
        return len(self._lanes) == 1 and self._lanes[self._names[experiment]].spec.kind == "serial"

    @property
    def are_busy(self) -> bool:
        """Whether any task is under way."""
        return any(lane.active for lane in self._lanes.values())

    def with_room(self) -> list[str]:
        """The lanes that would begin with another task soon."""
        only = self._only
        if only is not None:
            return self._alone if _has_room(only) and self._may_begin(only.spec) else []
        busy = [name for name, lane in self._lanes.items() if lane.spec.is_here and lane.active]
        return [
            name
            for name, lane in self._lanes.items()
            if _has_room(lane)
            and not (lane.spec.is_here and busy and name not in busy)
            and self._may_begin(lane.spec)
        ]

    def _may_begin(self, spec: Spec) -> bool:
        """A plugin's loop may call for any cell, so that all that they need has to be there."""
        return spec.kind != LOOP or self._is_ready(str(spec.address))

    def is_loop(self, experiment: str) -> bool:
        """Whether an experiment's plugin has a loop of its own."""
        return self._lanes[self._names[experiment]].spec.kind == LOOP

    def expect(self, experiment: str, cells: Iterable[CellName]) -> None:
        """Cells of an experiment are due: they will be submitted, or be over without that."""
        if self.is_loop(experiment):  # nobody else asks for them
            self._due.setdefault(experiment, set()).update(cells)

    def over(self, experiment: str, cells: Collection[CellName]) -> None:
        """Cells of an experiment are over, whatever came of them."""
        due = self._due.get(experiment)
        if due is not None:
            due.difference_update(cells)
        following = self._lanes[self._names[experiment]].following
        if following is not None:
            for cell in cells:
                following.over(cell)

    def rest(self) -> None:
        """All that can be submitted for the moment has been."""
        for lane in self._lanes.values():
            if lane.resting is not None:
                lane.resting.rest()

    def submit(self, prepared: Prepared, task: Task) -> None:
        """Raises DruseError where the executor cannot be had, or the experiment not be sent."""
        lane = self._lanes[self._names[prepared.name]]
        if lane.executor is None or (lane.following is not None and lane.following.is_over):
            lane.set(self._executor(lane.spec))
        assert lane.executor is not None
        lane.active.add(task.cell)
        lane.executor.submit(prepared, task)

    def _executor(self, spec: Spec) -> Executor:
        if spec.kind == LOOP:
            from druse.executors.loops import LoopExecutor

            return LoopExecutor(self._place, self._queue.put, self._due[str(spec.address)])
        return self._make(spec, self._place, self._queue.put)

    def await_news(self, wait: float | None) -> None:
        """Until something is reported, for so many seconds, or (None) for ever."""
        if not self._came and (wait is None or wait > 0):
            with suppress(queue.Empty):
                self._came.append(self._queue.get(timeout=wait))

    def news(self) -> Sequence[News]:
        """What was reported."""
        found, self._came = self._came, []
        take = self._queue.get_nowait
        with suppress(queue.Empty):
            while True:
                found.append(take())
        for each in found:
            if type(each) is Outcome or type(each) is Untried:
                self._lanes[self._names[each.cell[0]]].active.discard(each.cell)
        return found

    def wake(self) -> None:
        """From another thread: the run is to stop."""
        self._queue.put(Stopped(KeyboardInterrupt()))

    def finish(self, prepared: Prepared) -> None:
        """No more cells of an experiment will come."""
        executor = self._lanes[self._names[prepared.name]].executor
        if executor is not None:
            executor.finish(prepared)

    def __enter__(self) -> Lanes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for lane in self._lanes.values():
            if lane.executor is not None:
                lane.executor.close()
                lane.set(None)


def _has_room(lane: _Lane) -> bool:
    return lane.executor is None or len(lane.active) < lane.executor.capacity


def _name(spec: Spec) -> str:
    return f"{spec.name} {spec.workers or ''}"
