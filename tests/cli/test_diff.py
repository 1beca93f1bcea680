"""`druse diff`: two runs side by side."""

from __future__ import annotations

import json

from support.forked import Forked


def test_two_runs_are_told_apart(quick: Forked) -> None:
    quick.run("draw")
    quick.replace("draw/config.yaml", "shift: 5", "shift: 6")
    quick.replace("draw/steps.py", "return data * factor", "return data * factor + 1")
    quick.run("draw")
    done = quick.druse("diff", "draw/v0", "draw/v1")
    assert done.status == 0, done
    assert "draw/v0 → draw/v1: 0 of 9 cells rest on the same record" in done.out
    assert "ScaleStep: helper draw/steps.py:4 scale() changed" in done.out
    assert "parameter shift of KeepStep 5 → 6 (shifted)" in done.out
    row = next(line.split() for line in done.out.splitlines() if line.startswith("shifted"))
    assert row[-1] == "+2"
    assert "KeepStep/kept.json" in done.out
    assert quick.druse("diff", "draw").out == done.out
    assert quick.druse("diff", "draw", "--exit-status").status == 1


def test_json_has_all_of_it(quick: Forked) -> None:
    quick.run("draw")
    quick.replace("draw/config.yaml", "replicates: 3", "replicates: 4")
    quick.run("draw")
    found = json.loads(quick.druse("diff", "draw/v0", "draw/v1", "--json").out)
    assert (found["same_records"], found["cells"], found["is_same"]) == (9, 12, False)
    metric = next(m for m in found["metrics"] if m["condition"] == "large")
    assert (metric["metric"], metric["before"]["n"], metric["after"]["n"]) == ("value", 3, 4)
    assert found["artifacts"] == [
        {
            "step": "KeepStep",
            "name": "kept.json",
            "same": 9,
            "changed": 0,
            "removed": 0,
            "added": 3,
        }
    ]
    assert (found["code"], found["values"]) == ([], [])


def test_the_same_run_is_the_same(quick: Forked) -> None:
    quick.run("draw")
    quick.run("draw", "--strategy", "rerun")
    done = quick.druse("diff", "draw/v0", "draw/v1", "--exit-status")
    assert done.status == 0, done
    assert "code" not in done.out


def test_what_cannot_be_compared_is_refused(quick: Forked) -> None:
    quick.run("draw")
    done = quick.druse("diff", "draw")
    assert done.status == 2
    assert "there is no run before draw/v0" in done.err
    assert quick.druse("diff", "draw/v0", "draw/v7").status == 2
    done = quick.druse("diff", "drew", "draw")
    assert "did you mean 'draw'?" in done.err
