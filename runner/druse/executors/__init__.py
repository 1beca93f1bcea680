"""Executors: where cells are executed. One contract, so that a new place needs one new file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from druse.task import Outcome, Task

if TYPE_CHECKING:
    from druse.prepared import Prepared


class Executor(Protocol):
    """Takes tasks and gives outcomes, in any order. Only the thread of the run calls it."""

    def has_room(self) -> bool:
        """Whether a task that is submitted now would start soon."""

    def submit(self, prepared: Prepared, task: Task) -> None:
        """Takes a task. May execute it at once."""

    def wait(self) -> list[Outcome]:
        """Waits for an outcome, and returns all that are there; none if nothing is under way."""

    def finish(self, prepared: Prepared) -> None:
        """No more cells of this experiment will come: its steps are torn down."""

    def close(self) -> None:
        """Gives everything up; what is under way is not waited for."""
