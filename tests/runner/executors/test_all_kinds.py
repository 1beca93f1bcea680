"""What holds for every executor: the contract, with real pools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from druse import (
    AsyncExecution,
    DaskExecution,
    ExperimentGraph,
    ParallelExecution,
    SeedPlugin,
    SerialExecution,
    Treatment,
)
from druse.executors.generators import Sharing
from support import cells
from support.cells import experiment, levels, metrics

KINDS: dict[str, Any] = {
    "serial": SerialExecution,
    "thread": lambda **more: ParallelExecution(3, "thread", **more),
    "process": lambda **more: ParallelExecution(3, "process", **more),
    "async": lambda **more: AsyncExecution(3, **more),
    "dask": DaskExecution,
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def plugin(kind: str, request: pytest.FixtureRequest) -> Any:
    if kind == "dask":
        address = request.getfixturevalue("cluster").address
        return lambda **more: DaskExecution(address, **more)
    return KINDS[kind]


def test_results_are_those_of_one_cell_after_another(plugin: Any) -> None:
    steps = [cells.where(), cells.draw(), cells.draw_between()]
    alone = experiment(*steps, treatments=levels(2), replicates=4, name="alone").run()
    found = experiment(*steps, treatments=levels(2), replicates=4, plugin=plugin()).run()
    assert not found.errors
    for condition, values in metrics(found).items():
        expected = metrics(alone)[condition]
        assert values["value"] == expected["value"]
        assert values["drawn"] == expected["drawn"]
        # Each replicate draws for itself, and the same in every condition.
        assert len({str(drawn[0]) for drawn in values["drawn"]}) == 8
        assert [d[:2] for d in values["drawn"]] == [
            d[:2] for d in metrics(alone)["baseline"]["drawn"]
        ]


def test_a_second_run_hits_whatever_executed_the_first(plugin: Any) -> None:
    steps = [cells.where(), cells.draw()]
    first = experiment(*steps, treatments=levels(2), replicates=3, plugin=plugin()).run()
    again = experiment(*steps, treatments=levels(2), replicates=3).run(strategy="resume")
    assert {cell.how for cell in again.cells} == {"hit"}
    assert metrics(again) == metrics(first)


def test_a_failed_cell_stops_no_other_and_its_error_says_where(plugin: Any) -> None:
    found = experiment(cells.fail(at=(1, 3)), replicates=5, plugin=plugin()).run()
    assert sorted(found.errors) == ["baseline_rep_1", "baseline_rep_3"]
    assert "went wrong: 3" in str(found.errors["baseline_rep_3"])
    assert 'raise Odd("went wrong"' in found.errors["baseline_rep_3"].traceback_str  # type: ignore[attr-defined]
    assert found.metrics.baseline.metrics["value"] == [0, 2, 4]


def test_retries_try_a_failed_cell_again_and_the_record_says_how_often(
    plugin: Any, tmp_path: Path
) -> None:
    step = cells.flaky(folder=str(tmp_path), until=2)
    found = experiment(step, replicates=2, plugin=plugin(retries=2)).run()
    assert not found.errors
    assert found.metrics.baseline.metrics["tries"] == [3, 3]
    failing = experiment(cells.fail(at=(0,)), replicates=1, plugin=plugin(retries=1)).run()
    assert list(failing.errors) == ["baseline_rep_0"]


def test_a_cell_that_takes_too_long_fails_and_the_others_do_not(kind: str, plugin: Any) -> None:
    step = (cells.sleep_well if kind == "async" else cells.sleep)(seconds=30, at=(1,))
    found = experiment(step, replicates=3, plugin=plugin(timeout=0.4)).run()
    assert list(found.errors) == ["baseline_rep_1"]
    assert "longer than the 0.4 s" in str(found.errors["baseline_rep_1"])
    assert found.metrics.baseline.metrics["value"] == [1, 1]


def test_who_need_not_be_alone_any_more_waits_for_nobody() -> None:
    """Else a cell that another one has set the steps up for would wait for that one's end."""
    sharing = Sharing(print)
    with sharing.being_alone("one"), sharing.being_alone("other", lambda: True) as is_alone:
        assert not is_alone
    with sharing.being_alone("other", lambda: False) as is_alone:
        assert is_alone


def test_a_step_that_exits_fails_its_cell_and_not_the_run(plugin: Any) -> None:
    found = experiment(cells.die(at=(1,), how="sys"), replicates=3, plugin=plugin()).run()
    assert list(found.errors) == ["baseline_rep_1"]
    assert found.metrics.baseline.metrics["value"] == [0, 2]


def test_setup_is_called_before_the_first_cell_and_teardown_after_the_last(
    plugin: Any, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    found = experiment(cells.Resource(str(log)), replicates=6, plugin=plugin()).run()
    assert found.metrics.baseline.metrics["value"] == [1] * 6
    said = log.read_text().split("\n")[:-1]
    pids = {line.split()[1] for line in said}
    for pid in pids:  # once in each process
        assert [line for line in said if line.endswith(pid)] == [f"setup {pid}", f"teardown {pid}"]


def test_a_setup_that_fails_fails_the_cells_with_its_message(plugin: Any, tmp_path: Path) -> None:
    step = cells.Resource(str(tmp_path / "log"), fails=True)
    found = experiment(step, replicates=2, plugin=plugin()).run()
    assert len(found.errors) == 2
    assert "no resource to be had" in str(found.errors["baseline_rep_0"])


def test_a_callable_treatment_is_applied_once_for_each_cell_before_any_runs(plugin: Any) -> None:
    applied = []

    def draw_level(ctx: Any) -> None:
        applied.append(ctx.get("replicate"))
        ctx.add("k", len(applied))

    found = experiment(
        cells.where(), treatments=[Treatment("t", draw_level)], replicates=3, plugin=plugin()
    ).run()
    assert applied == [0, 1, 2]
    assert found.metrics.treatments["t"].metrics["value"] == [2, 3, 4]


def test_hooks_of_plugins_are_called_where_the_cell_is(plugin: Any) -> None:
    made = experiment(cells.where(), replicates=2, plugin=plugin(), plugins=[cells.Hook()])
    assert made.run().metrics.baseline.metrics["hooked"] == ["e", "e"]


@pytest.mark.parametrize("size", [10, 600_000])
def test_artifacts_go_from_one_experiment_to_the_next(plugin: Any, size: int) -> None:
    graph = ExperimentGraph.from_experiments(cells.chain(size, 4, plugin()))
    found = graph.run()
    assert not found["sums"].errors
    assert found["sums"].metrics.baseline.metrics["sum"] == [size + 10 * r for r in range(4)]
    again = ExperimentGraph.from_experiments(cells.chain(size, 4)).run(strategy="resume")
    assert {cell.how for result in again.values() for cell in result.cells} == {"hit"}


def test_a_custom_seed_function_gives_what_it_gives_alone(plugin: Any) -> None:
    def found(name: str, *plugins: Any) -> Any:
        seeds = SeedPlugin(seed=7, seed_fn=cells.seed_own)
        made = experiment(cells.draw_own(), replicates=5, name=name, plugins=[*plugins, seeds])
        return metrics(made.run())

    assert found("many", plugin()) == found("alone")


def test_cells_that_may_turn_out_equal_are_executed_once(plugin: Any, tmp_path: Path) -> None:
    unread = levels(5, key="nobody_reads_this")
    step = cells.note(folder=str(tmp_path))
    found = experiment(step, treatments=unread, replicates=3, plugin=plugin()).run()
    assert len([p for p in tmp_path.iterdir() if p.name[1] == "-"]) == 3
    assert all(values["level"] == [None] * 3 for values in metrics(found).values())


def test_a_cacheable_step_that_cells_come_to_at_once_is_executed_once(
    kind: str, plugin: Any, tmp_path: Path
) -> None:
    # The second step tells the conditions apart, so that their cells run side by side.
    steps = [cells.costly_note(folder=str(tmp_path)), cells.where()]
    found = experiment(*steps, treatments=levels(3), replicates=2, plugin=plugin()).run()
    assert not found.errors
    assert [values["value"] for values in metrics(found).values()] == [
        [1 + k] * 2 for k in range(4)
    ]
    assert len([path for path in tmp_path.iterdir() if path.name.startswith("ran-")]) == 2


def test_a_cacheable_step_that_reads_the_treatment_runs_for_each(
    plugin: Any, tmp_path: Path
) -> None:
    step = cells.costly_note(folder=str(tmp_path))
    for _ in range(2):
        found = experiment(step, treatments=levels(3, "grade"), plugin=plugin()).run()
        assert [values["grade"] for values in metrics(found).values()] == [[0], [1], [2], [3]]
    assert len([path for path in tmp_path.iterdir() if path.name.startswith("ran-")]) == 4
