"""Executors: where cells are executed. One contract, so that a new place needs one new file.

An executor is made with a function that it reports by, from any thread: an `Outcome` for each task
that it took (or that it is `Untried`), and before that a `Sighting` for what a cell read (where its
task asks for that).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from druse.task import CellName, Outcome, Sighting, Stopped, Task, Untried, Warned

if TYPE_CHECKING:
    from druse.prepared import Prepared

News = Outcome | Sighting | Untried | Stopped | Warned
Report = Callable[[News], None]


class Executor(Protocol):
    """Takes tasks, and reports their outcomes in any order. Only the thread of the run calls it."""

    @property
    def capacity(self) -> int:
        """How many tasks it takes at once, now: what goes beyond would only wait in a queue."""

    def submit(self, prepared: Prepared, task: Task) -> None:
        """Takes a task. May execute it at once. Raises DruseError for what cannot be sent."""

    def finish(self, prepared: Prepared) -> None:
        """No more cells of this experiment will come: its steps are torn down."""

    def close(self) -> None:
        """Gives everything up; what is under way is not waited for."""


@runtime_checkable
class Resting(Protocol):
    """What an executor has besides that gathers tasks before it sends them, or begins."""

    def rest(self) -> None:
        """All that can be submitted for the moment has been."""


@runtime_checkable
class Following(Protocol):
    """What an executor has besides that does not execute its tasks by itself."""

    @property
    def is_over(self) -> bool:
        """Whether it takes no more tasks."""

    def over(self, cell: CellName) -> None:
        """A cell is over, whatever came of it."""
