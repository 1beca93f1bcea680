"""Plugins that say where an experiment's cells are executed, and a plugin's own loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from druse.errors import DefinitionError
from druse.executors.spec import LOOP, Spec
from druse.plugins import BasePlugin

if TYPE_CHECKING:
    from druse.experiment import Experiment

_TYPES = ("process", "thread")
_AT_ONCE = 100  # coroutines, where nobody says how many

Replicate = Callable[[int], Any]


@dataclass
class SerialExecution(BasePlugin):
    """Cells one after another; the default.

    Here as in the other plugins, `progress` shows how far the run is, `timeout` is how many seconds
    a cell may take, and `retries` how often one that failed is tried again.
    """

    progress: bool = False
    timeout: float | None = None
    retries: int = 0

    observes_only: ClassVar[bool] = True

    async def run_experiment_loop(self, experiment: Experiment, replicate_fn: Replicate) -> Any:
        """For plugins that build on this one."""
        return [await _awaited(replicate_fn(each)) for each in range(experiment.replicates)]


@dataclass
class ParallelExecution(BasePlugin):
    """Several cells at once: in threads, or in processes (`executor_type="process"`).

    Threads share the generators of `random`, numpy and torch: cells that draw from these are
    executed one at a time there. Where a cell dies with its process, only that cell fails.
    """

    max_workers: int | None = None
    executor_type: str = "thread"
    progress: bool = False
    timeout: float | None = None
    retries: int = 0

    observes_only: ClassVar[bool] = True

    def run_experiment_loop(self, experiment: Experiment, replicate_fn: Replicate) -> Any:
        """For plugins that build on this one: in threads, whatever `executor_type` says."""
        from concurrent.futures import ThreadPoolExecutor

        if inspect.iscoroutinefunction(replicate_fn):
            raise TypeError(
                "ParallelExecution only supports synchronous tasks; for coroutines there is "
                "AsyncExecution"
            )
        self.check()
        with ThreadPoolExecutor(self.max_workers or max(1, experiment.replicates)) as pool:
            return list(pool.map(replicate_fn, range(experiment.replicates)))

    def check(self) -> None:
        """Raises DefinitionError."""
        if self.executor_type not in _TYPES:
            raise DefinitionError(
                f"executor_type must be one of {_TYPES}, and not {self.executor_type!r}"
            )
        _check_count(self.max_workers, "max_workers")


@dataclass
class AsyncExecution(BasePlugin):
    """Several cells at once in one event loop, for steps that are coroutine functions."""

    max_concurrency: int | None = None
    progress: bool = False
    timeout: float | None = None
    retries: int = 0

    observes_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if isinstance(self.max_concurrency, bool):  # Crystallize's only parameter is `progress`
            self.progress, self.max_concurrency = self.max_concurrency, None

    async def run_experiment_loop(self, experiment: Experiment, replicate_fn: Replicate) -> Any:
        """For plugins that build on this one."""
        calls = (_awaited(replicate_fn(each)) for each in range(experiment.replicates))
        return await asyncio.gather(*calls)


@dataclass
class DaskExecution(BasePlugin):
    """Cells on a Dask cluster: the one at `address`, or a local one of `max_workers` processes."""

    address: str | None = None
    max_workers: int | None = None
    progress: bool = False
    timeout: float | None = None
    retries: int = 0

    observes_only: ClassVar[bool] = True

    def run_experiment_loop(self, experiment: Experiment, replicate_fn: Replicate) -> Any:
        """Druse does it."""
        return NotImplemented


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def _check_count(count: int | None, name: str) -> int | None:
    if count is not None and (type(count) is not int or count < 1):
        raise DefinitionError(f"{name} has to be a whole number from 1, and not {count!r}")
    return count


# --- what an experiment asks for -------------------------------------------------------------


def of(experiment: Experiment) -> BasePlugin | None:
    """The plugin that says how an experiment is executed: the last one with a loop."""
    for plugin in reversed(experiment.plugins):
        if _loop_of(plugin) is not BasePlugin.run_experiment_loop:
            return plugin
    return None


def _loop_of(plugin: BasePlugin) -> Any:
    return type(plugin).run_experiment_loop


def spec_of(plugin: BasePlugin | None, experiment: Experiment) -> Spec:
    """The executor that a plugin asks for. Raises DefinitionError."""
    if plugin is None or _loop_of(plugin) is SerialExecution.run_experiment_loop:
        return Spec()
    loop = _loop_of(plugin)
    if isinstance(plugin, ParallelExecution) and loop is ParallelExecution.run_experiment_loop:
        plugin.check()
        return Spec(plugin.executor_type, plugin.max_workers)
    if isinstance(plugin, AsyncExecution) and loop is AsyncExecution.run_experiment_loop:
        return Spec("async", _check_count(plugin.max_concurrency, "max_concurrency") or _AT_ONCE)
    if isinstance(plugin, DaskExecution) and loop is DaskExecution.run_experiment_loop:
        return Spec("dask", _check_count(plugin.max_workers, "max_workers"), plugin.address)
    return Spec(LOOP, None, experiment.folder_name)
