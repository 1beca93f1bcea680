"""Cells that may turn out equal are executed once; those that evidently differ run side by side."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from druse import AsyncExecution, ParallelExecution, Treatment
from support import cells
from support.cells import experiment, levels, metrics


def threads(count: int = 4) -> ParallelExecution:
    return ParallelExecution(count, "thread")


def processes(count: int = 4) -> ParallelExecution:
    return ParallelExecution(count, "process")


@pytest.mark.parametrize("plugin", [threads, processes])
@pytest.mark.parametrize("step", ["meet_by_parameter", "meet_by_context"])
def test_treatments_that_are_read_run_side_by_side_from_the_first_time_on(
    plugin: Any, step: str, tmp_path: Path
) -> None:
    made = getattr(cells, step)(folder=str(tmp_path), count=4)
    found = experiment(made, treatments=levels(3, "level"), plugin=plugin()).run()
    assert not found.errors
    assert metrics(found)["t3"]["met"] == [True]


@pytest.mark.parametrize("plugin", [threads, processes])
def test_a_value_that_several_treatments_share_is_computed_once(
    plugin: Any, tmp_path: Path
) -> None:
    treatments = [Treatment(f"t{n}", {"level": n % 2, "unread": n}) for n in range(6)]
    step = cells.note(folder=str(tmp_path))
    found = experiment(step, treatments=treatments, replicates=2, plugin=plugin()).run()
    ran = [path.read_text() for path in tmp_path.iterdir() if path.name[1] == "-"]
    assert sorted(ran) == sorted(["None", "0", "1"] * 2)
    assert [metrics(found)[f"t{n}"]["level"] for n in range(6)] == [[n % 2] * 2 for n in range(6)]
    how = [cell.how for cell in found.cells]
    assert how.count("run") == 6
    assert how.count("hit") == 8


def test_reads_that_depend_on_the_condition_are_told_apart(tmp_path: Path) -> None:
    treatments = [
        Treatment("plain", {"unread": 1}),
        Treatment("deep", {"kind": "deep", "depth": 2}),
        Treatment("deeper", {"kind": "deep", "depth": 3}),
        Treatment("deep again", {"kind": "deep", "depth": 2, "unread": 2}),
    ]
    step = cells.branch(folder=str(tmp_path))
    found = experiment(step, treatments=treatments, plugin=threads()).run()
    assert sorted(path.read_text() for path in tmp_path.iterdir() if path.is_file()) == [
        *("deep 2", "deep 3", "flat"),
    ]
    values = metrics(found)
    assert values["deep"] == values["deep again"] == {"depth": [2]}
    assert values["plain"] == values["baseline"] == {"depth": [0]}


def test_after_a_failure_an_equal_cell_is_tried_and_fails_by_itself(tmp_path: Path) -> None:
    step = cells.fail(at=(0,))
    found = experiment(step, treatments=levels(3, "unread"), replicates=2, plugin=threads()).run()
    assert sorted(found.errors) == [f"{c}_rep_0" for c in ("baseline", "t1", "t2", "t3")]
    assert [cell.how for cell in found.cells].count("run") == 1


def test_a_rerun_executes_equal_cells_once_too(tmp_path: Path) -> None:
    step = cells.note(folder=str(tmp_path))
    made = experiment(step, treatments=levels(3, "unread"), replicates=2, plugin=threads())
    made.run()
    made.run(strategy="rerun")
    assert len([path for path in tmp_path.iterdir() if path.name[1] == "-"]) == 4


def test_equal_experiments_of_one_graph_share_their_cells(tmp_path: Path) -> None:
    from druse import api
    from druse.session import Wanted

    both = [
        experiment(cells.note(folder=str(tmp_path)), name=name, replicates=2, plugin=threads())
        for name in ("first", "second")
    ]
    found = api.run([Wanted(each, [], 2) for each in both])
    assert len([path for path in tmp_path.iterdir() if path.name[1] == "-"]) == 2
    assert [cell.how for cell in found["first"].cells] == ["run"] * 2
    assert [cell.how for cell in found["second"].cells] == ["hit"] * 2


KEYS = ("a", "b", "c")
TREES = st.recursive(
    st.just(None),
    lambda below: st.tuples(st.sampled_from(KEYS), below, below),
    max_leaves=6,
)
VALUES = st.dictionaries(st.sampled_from(KEYS), st.booleans())


def expected_paths(tree: Any, values: dict[str, bool]) -> tuple[Any, ...]:
    """What a cell reads: key and value, as far as the tree leads."""
    path: list[Any] = []
    while tree is not None:
        key, no, yes = tree
        if (key, values.get(key)) not in path:
            path.append((key, values.get(key)))
        tree = yes if values.get(key) else no
    return tuple(path)


@settings(max_examples=25, deadline=None)
@given(
    tree=TREES,
    conditions=st.lists(VALUES, min_size=1, max_size=6),
    kind=st.sampled_from(["thread", "async"]),
)
def test_whatever_cells_read_equal_ones_are_executed_once_and_results_are_right(
    tree: Any, conditions: list[dict[str, bool]], kind: str
) -> None:
    folder = Path(tempfile.mkdtemp(dir="."))
    treatments = [Treatment(f"t{n}", values) for n, values in enumerate(conditions)]
    plugin = AsyncExecution(4) if kind == "async" else threads()
    step = (cells.walk_slowly if kind == "async" else cells.walk)(folder=str(folder), tree=tree)
    made = experiment(step, treatments=treatments, plugin=plugin, name=folder.name.strip("_"))
    found = made.run()
    assert not found.errors
    every = {"baseline": {}, **{f"t{n}": values for n, values in enumerate(conditions)}}
    paths = {name: expected_paths(tree, values) for name, values in every.items()}
    assert len(list(folder.iterdir())) == len(set(paths.values()))
    for name, path in paths.items():
        assert metrics(found)[name]["path"] == [[list(pair) for pair in path]]
