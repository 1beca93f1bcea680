"""Which executor: the one that an experiment's plugins ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from druse.executors.serial import SerialExecutor

if TYPE_CHECKING:
    from druse.executors import Executor
    from druse.experiment import Experiment
    from druse.runtime import Workplace


def choose(experiments: list[Experiment]) -> Callable[[Workplace], Executor]:
    """What makes the executor of a graph."""
    return SerialExecutor
