"""How long cells and steps took, from records; and that plans and runs say so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from druse.history import Durations, durations
from druse_store import Digest, Record
from support.forked import Forked
from support.oneexp import chain
from support.project import numbers


def record(seconds: Any = 1.0, steps: Any = (), *, hits: Any = (), status: str = "ok") -> Record:
    start = Digest.of(b"start")
    said = {"seconds": seconds, "step_seconds": list(steps), "step_hits": list(hits)}
    fields: dict[str, Any] = {"signature": start, "base": start, "start": start, "reads": ()}
    return Record(
        **fields,
        replicate=0,
        status=status,
        metrics={},
        artifacts=(),
        output=None,
        provenance=said,
        manifest=None,
    )


def test_means_are_taken_of_cells_conditions_and_steps() -> None:
    cells = [
        ("baseline", record(1.0, [0.25, 0.5])),
        ("baseline", record(3.0, [0.75, 1.5])),
        ("large", record(8.0, [1.0, 6.0])),
    ]
    found = durations(cells, ["Load", "Fit"])
    assert found.cell == pytest.approx(4.0)
    assert found.conditions == {"baseline": 2.0, "large": 8.0}
    assert found.steps == pytest.approx({"Load": 2 / 3, "Fit": 8 / 3})
    assert found.of("large") == 8.0
    assert found.of("new") == pytest.approx(4.0)


def test_steps_that_were_replayed_and_cells_that_failed_tell_nothing() -> None:
    cells = [
        ("baseline", record(1.0, [0.001, 0.5], hits=[0])),
        ("baseline", record(9.0, [4.0], status="failed")),
        ("baseline", record(9.0, [4.0], status="imported")),
    ]
    found = durations(cells, ["Load", "Fit"])
    assert (found.cell, found.steps) == (1.0, {"Fit": 0.5})


@pytest.mark.parametrize("strange", [None, "1", -1.0, float("nan"), float("inf"), True, [1]])
def test_times_that_cannot_be_are_not_believed(strange: Any) -> None:
    assert durations([("baseline", record(strange, [strange]))], ["Load"]) == Durations()
    assert durations([("baseline", record(1.0, [strange]))], ["Load"]).steps == {}
    assert durations([], []) == Durations()


def test_a_plan_says_how_long_what_is_due_has_taken(forked: Forked) -> None:
    numbers(forked)
    forked.replace(
        "draw/steps.py", "return data * factor", "import time; time.sleep(0.05); return data"
    )
    plan = json.loads(forked.druse("plan", "draw", "--json").out)["experiments"][0]
    assert (plan["run"], plan["seconds"], plan["step_seconds"]) == (9, None, {})
    forked.run("draw")
    forked.replace("draw/config.yaml", "large: {factor: 10}", "large: {shift: 10}")
    forked.replace("draw/config.yaml", "replicates: 3", "replicates: 4")
    plan = json.loads(forked.druse("plan", "draw", "--json").out)["experiments"][0]
    assert plan["run"] == 1 + 1 + 4
    assert 6 * 0.05 <= plan["seconds"] < 8
    assert 0.05 <= plan["step_seconds"]["ScaleStep"] < 1


def test_what_was_only_found_did_not_take_the_time_of_what_was_executed(forked: Forked) -> None:
    chain(forked)
    forked.run("down")
    slow = 'import time; time.sleep(0.7); return data, {"value": 6}'
    forked.replace("down/steps.py", 'return data, {"value": data["value"]}', slow)
    found = forked.run("down")
    assert (found["up"]["run"], found["down"]["run"]) == (0, 1)
    assert found["up"]["seconds"] < 0.7 <= found["down"]["seconds"]
