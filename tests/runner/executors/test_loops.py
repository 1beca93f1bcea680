"""Plugins with a loop of their own: they are asked for the replicates that are due."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from druse import (
    AsyncExecution,
    BasePlugin,
    ExperimentGraph,
    ParallelExecution,
    SerialExecution,
)
from support import cells
from support.cells import experiment, levels, metrics


class Backwards(BasePlugin):
    """Calls for the last replicate first, and notes what it got."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.due: list[list[int]] = []
        self.threads: set[int] = set()

    def run_experiment_loop(self, experiment: Any, replicate_fn: Any) -> Any:
        self.due.append(replicate_fn.due)
        self.threads.add(threading.get_ident())
        for replicate in reversed(range(experiment.replicates)):
            self.got.append(replicate_fn(replicate))
        return self.got


class InThreads(BasePlugin):
    def run_experiment_loop(self, experiment: Any, replicate_fn: Any) -> Any:
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(replicate_fn, range(experiment.replicates)))


class Gathering(BasePlugin):
    async def run_experiment_loop(self, experiment: Any, replicate_fn: Any) -> Any:
        return await asyncio.gather(*[replicate_fn(r) for r in range(experiment.replicates)])


class AwaitingOneByOne(BasePlugin):
    async def run_experiment_loop(self, experiment: Any, replicate_fn: Any) -> Any:
        return [await replicate_fn(r) for r in range(experiment.replicates)]


class MyParallel(ParallelExecution):
    """One that adds something to what druse has."""

    def run_experiment_loop(self, experiment: Any, replicate_fn: Any) -> Any:
        return super().run_experiment_loop(experiment, replicate_fn)


class MySerial(SerialExecution):
    async def run_experiment_loop(self, experiment: Any, replicate_fn: Any) -> Any:
        return await super().run_experiment_loop(experiment, replicate_fn)


class MyAsync(AsyncExecution):
    async def run_experiment_loop(self, experiment: Any, replicate_fn: Any) -> Any:
        return await super().run_experiment_loop(experiment, replicate_fn)


@pytest.mark.parametrize(
    "plugin",
    [Backwards, InThreads, Gathering, AwaitingOneByOne, MyParallel, MySerial, MyAsync],
)
def test_whatever_the_loop_does_the_results_are_the_same(plugin: Any) -> None:
    steps = [cells.draw(), cells.draw_between(), cells.where()]
    alone = experiment(*steps, treatments=levels(2), replicates=4, name="alone").run()
    found = experiment(*steps, treatments=levels(2), replicates=4, plugin=plugin()).run()
    assert not found.errors
    for condition, values in metrics(found).items():
        assert values["drawn"] == metrics(alone)[condition]["drawn"]
        assert values["value"] == metrics(alone)[condition]["value"]


def test_a_loop_is_asked_for_the_replicates_that_are_due(tmp_path: Path) -> None:
    plugin = Backwards()
    step = cells.note(folder=str(tmp_path))
    experiment(step, replicates=2, plugin=plugin).run()
    experiment(step, replicates=5, plugin=plugin).run(strategy="resume")
    ran = sorted(path.name.partition("-")[0] for path in tmp_path.iterdir() if "-" in path.name)
    assert ran == ["0", "1", "2", "3", "4"]
    assert plugin.due == [[0, 1], [2, 3, 4]]
    last = plugin.got[2:]
    assert [each.replicate for each in last] == [4, 3, 2, 1, 0]
    assert [each.baseline_metrics is not None for each in last] == [True] * 3 + [False] * 2


def test_a_loop_is_not_called_where_all_cells_hit() -> None:
    plugin = Backwards()
    experiment(cells.where(), plugin=plugin).run()
    experiment(cells.where(), plugin=plugin).run(strategy="resume")
    assert plugin.due == [[0]]


def test_cells_of_a_loop_in_threads_run_side_by_side_once_it_is_clear_that_none_draws() -> None:
    found = experiment(cells.crowd(), replicates=8, plugin=InThreads()).run()
    assert max(found.metrics.baseline.metrics["most"]) > 1


def test_replicates_that_a_loop_leaves_out_fail_and_say_why() -> None:
    class OnlyTheFirst(BasePlugin):
        def run_experiment_loop(self, experiment: Any, replicate_fn: Any) -> Any:
            return [replicate_fn(0)]

    found = experiment(cells.where(), replicates=3, plugin=OnlyTheFirst()).run()
    assert sorted(found.errors) == ["baseline_rep_1", "baseline_rep_2"]
    assert "replicate_fn(1)" in str(found.errors["baseline_rep_1"])


def test_a_loop_that_raises_fails_the_cells_that_are_left_with_its_error() -> None:
    class Broken(BasePlugin):
        def run_experiment_loop(self, experiment: Any, replicate_fn: Any) -> Any:
            replicate_fn(0)
            raise RuntimeError("no more today")

    found = experiment(cells.where(), replicates=2, plugin=Broken()).run()
    assert list(found.errors) == ["baseline_rep_1"]
    assert "no more today" in str(found.errors["baseline_rep_1"])


def test_errors_and_retries_work_in_a_loop_too(tmp_path: Path) -> None:
    class Patient(BasePlugin):
        retries = 2

        def run_experiment_loop(self, experiment: Any, replicate_fn: Any) -> Any:
            return [replicate_fn(r) for r in range(experiment.replicates)]

    step = cells.flaky(folder=str(tmp_path), until=2)
    found = experiment(step, replicates=2, plugin=Patient()).run()
    assert found.metrics.baseline.metrics["tries"] == [3, 3]
    failing = experiment(cells.fail(at=(1,)), replicates=3, plugin=Backwards()).run()
    assert list(failing.errors) == ["baseline_rep_1"]


def test_loops_and_other_executors_work_in_one_graph() -> None:
    first, second = cells.chain(100, 3, Backwards())
    second.plugins = [p for p in second.plugins if not isinstance(p, Backwards)]
    second.plugins.insert(0, ParallelExecution(2, "thread"))
    assert ExperimentGraph.from_experiments([first, second]).run()["sums"].errors == {}
    for one, other in (
        (ParallelExecution(2, "thread"), Backwards()),
        (ParallelExecution(2, "process"), Gathering()),
        (Backwards(), ParallelExecution(2, "process")),
    ):
        first, second = cells.chain(100, 3)
        first.plugins.insert(0, one)
        second.plugins.insert(0, other)
        found = ExperimentGraph.from_experiments([first, second]).run()
        assert found["sums"].errors == {}
        assert found["sums"].metrics.baseline.metrics["sum"] == [100, 110, 120]
    assert len(first.plugins) == 4


def test_a_wrong_executor_type_is_said_when_the_experiment_runs() -> None:
    with pytest.raises(ValueError, match="executor_type must be one of"):
        experiment(cells.where(), plugin=ParallelExecution(executor_type="gpu")).run()
    with pytest.raises(ValueError, match="executor_type must be one of"):
        ParallelExecution(executor_type="gpu").run_experiment_loop(
            experiment(cells.where()), lambda r: r
        )


def test_coroutines_are_refused_by_what_runs_threads() -> None:
    async def replicate_fn(replicate: int) -> None:
        return None

    with pytest.raises(TypeError, match="ParallelExecution only supports synchronous tasks"):
        ParallelExecution().run_experiment_loop(experiment(cells.where()), replicate_fn)
