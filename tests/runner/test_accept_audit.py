"""Results taken over by a user's decision, and hits that are executed again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.forked import Forked
from support.oneexp import Exp, chain

STEPS = """
    import os
    from druse import Artifact, pipeline_step

    def tally():
        with open("ran.log", "a") as log:
            log.write("x")

    @pipeline_step()
    def fit(data, ctx, model: Artifact, k=1):
        tally()
        model.write(b"weights")
        return data * k, {"fit": 1}

    @pipeline_step()
    def score(data, ctx):
        return data, {"score": data}
"""


@pytest.fixture
def fitted(exp: Exp) -> Exp:
    exp.steps(
        STEPS,
        "[fit, score]",
        outputs="{model: {file_name: model.bin}}",
        treatments="{t: {k: 2}}",
        replicates="2",
    )
    assert exp.misses()
    exp.log("ran", reset=True)
    return exp


def asked(exp: Exp, *arguments: str, status: int = 0) -> dict[str, Any]:
    done = exp.druse(*arguments, "--json")
    assert done.status == status, (done.out, done.err)
    return json.loads(done.out)


# --- accept ----------------------------------------------------------------------------------


def test_accepted_results_hit_for_the_code_of_today_and_say_what_was_accepted(fitted: Exp) -> None:
    before = fitted.run_one()["metrics"]
    fitted.replace("exp/steps.py", "return data, {", "return data + 0, {")
    assert len(asked(fitted, "accept", "exp", "--dry-run")["accepted"]) == 4
    assert asked(fitted, "explain", "exp")["groups"][0]["state"] == "run"
    said = fitted.druse("accept", "exp").out
    assert "exp: 4 results were taken over" in said
    assert "accepted for 4 cells: score: its code changed" in said
    assert "4 cells: accepted by" in fitted.druse("show", "exp").out  # before any other run
    assert [run["version"] for run in asked(fitted, "ls", "exp")] == [0, 1]
    after = fitted.run_one()
    assert (after["hit"], after["run"], after["metrics"]) == (4, 0, before)
    assert fitted.log("ran") == 0
    shown = fitted.druse("show", "exp").out
    assert "4 cells: accepted by" in shown and "score: its code changed" in shown
    noted = asked(fitted, "show", "exp")["cells"][0]["provenance"]["accepted"]
    assert len(noted["from"]) == 64 and noted["at"] > 0
    (group,) = asked(fitted, "explain", "exp/t/0")["groups"]
    assert group["rests_on"]["accepted"]["differences"] == noted["differences"]
    assert "nothing to accept" in fitted.druse("accept", "exp").out
    assert fitted.hits()
    assert len(asked(fitted, "ls", "exp")) == 2  # a resume whose cells equal that run's makes none


def test_accepting_one_step_leaves_out_cells_where_something_else_changed(fitted: Exp) -> None:
    fitted.replace("exp/steps.py", "return data, {", "return data + 0, {")
    fitted.config(
        steps="[fit, score]",
        outputs="{model: {file_name: model.bin}}",
        treatments="{t: {k: 3}}",
        replicates="2",
    )
    found = asked(fitted, "accept", "exp/score", status=1)
    assert [each["cell"] for each in found["accepted"]] == [["baseline", 0], ["baseline", 1]]
    assert found["refused"][0]["why"].startswith("something else changed, too: ctx k 2 → 3")
    done = fitted.druse("accept", "exp/scroe")
    assert done.status == 2 and "it has: fit, score" in done.err


def test_equal_cells_have_one_accepted_record_between_them(exp: Exp) -> None:
    exp.step("return data, {'value': data}", treatments="{same: {unread: 1}}")
    exp.run_one()
    exp.step("return data + 0, {'value': data}", treatments="{same: {unread: 1}}")
    found = asked(exp, "accept", "exp")
    assert len({each["record"] for each in found["accepted"]}) == 1
    assert exp.hits()
    assert len(asked(exp, "ls", "exp")) == 2


def test_what_has_no_earlier_result_or_failed_is_refused(fitted: Exp) -> None:
    fitted.config(
        steps="[fit, score]",
        outputs="{model: {file_name: model.bin}}",
        treatments="{t: {k: 2}, new: {k: 7}}",
        replicates="2",
    )
    found = asked(fitted, "accept", "exp", status=1)
    assert found["accepted"] == [] and found["hits"] == 4
    assert found["refused"][0]["why"] == "there is no earlier result of it"
    fitted.replace("exp/steps.py", "tally()\n    model", "raise ValueError\n    model")
    assert fitted.run_one()["failed"] == 6
    assert (
        asked(fitted, "accept", "exp", status=1)["refused"][0]["why"] == "it failed the last time"
    )


def test_what_was_accepted_upstream_leaves_what_comes_after_a_hit(forked: Forked) -> None:
    chain(forked)
    forked.run("down")
    forked.replace("up/steps.py", "data * 2", "data + data")
    assert forked.druse("accept", "up").status == 0
    after = forked.run("down")
    assert [after[name]["run"] for name in ("up", "down")] == [0, 0]


# --- audit -----------------------------------------------------------------------------------


def test_an_audit_finds_nothing_where_steps_are_deterministic_and_writes_nothing(
    fitted: Exp,
) -> None:
    found = asked(fitted, "audit", "exp", "--fraction", "1")
    assert len(found["checked"]) == 4 and found["mismatches"] == []
    assert fitted.log("ran") == 4
    assert len(asked(fitted, "audit", "exp", "--fraction", "0.5")["checked"]) == 2
    assert len(json.loads(fitted.druse("ls", "exp", "--json").out)) == 1
    assert fitted.hits()


def test_an_audit_names_the_step_and_what_differs_first_and_marks_the_records(
    fitted: Exp,
) -> None:
    fitted.replace("exp/steps.py", 'b"weights"', "os.urandom(4)")
    fitted.replace("exp/steps.py", '"score": data', '"score": os.getpid()')
    assert fitted.misses()
    found = asked(fitted, "audit", "exp", "--cells", "exp/t", status=1)
    assert found["checked"] == [["exp", "t", 0], ["exp", "t", 1]]
    assert {(m["step"], m["what"]) for m in found["mismatches"]} == {("fit", "artifact model.bin")}
    said = fitted.druse("audit", "exp", "--cells", "exp/t/1").out
    assert "exp: fit is not deterministic: artifact model.bin" in said
    assert fitted.hits()
    shown = fitted.druse("show", "exp").out
    assert "not deterministic, as an audit found" in shown
    (group,) = asked(fitted, "explain", "exp/t/0")["groups"]
    assert group["rests_on"]["audit"]["step"] == "fit"
    versions = len(json.loads(fitted.druse("ls", "exp", "--json").out))
    assert fitted.hits()
    assert len(json.loads(fitted.druse("ls", "exp", "--json").out)) == versions


@pytest.mark.parametrize("way", ["hands on", "leaves in ctx"])
def test_an_audit_names_the_step_that_is_random_not_the_one_that_it_shows_in(
    fitted: Exp, way: str
) -> None:
    if way == "hands on":
        fitted.replace("exp/steps.py", "return data * k, {", "return os.urandom(4).hex(), {")
    else:
        fitted.replace(
            "exp/steps.py", "    tally()\n    model", "    ctx.add('x', os.urandom(4))\n    model"
        )
        fitted.replace("exp/steps.py", '"score": data', '"score": ctx.get("x").hex()')
    assert fitted.misses()
    found = asked(fitted, "audit", "exp", "--cells", "exp/t/0", status=1)
    (mismatch,) = found["mismatches"]
    assert (mismatch["step"], mismatch["what"]) == ("fit", "metric score")
    assert mismatch["sentence"].startswith("what it hands on differs; so does metric score")
    assert mismatch["sentence"].endswith("of score")


def test_an_audit_takes_cells_without_their_experiment_and_ignores_metrics_that_it_is_told_to(
    exp: Exp,
) -> None:
    exp.step(
        "import time\nctx.record('seconds', time.perf_counter())\nreturn data, {'value': 1}",
        takes="k=0",
        treatments="{t: {k: 1}}",
        replicates="2",
    )
    assert exp.misses()
    found = asked(exp, "audit", "exp", "--cells", "t/1", "--cells", "baseline", status=1)
    assert len(found["checked"]) == len(found["mismatches"]) == 3
    found = asked(exp, "audit", "exp", "--fraction", "1", "--ignore", "seconds")
    assert (len(found["checked"]), found["mismatches"]) == (4, [])


def test_an_audit_executes_what_reads_artifacts_of_others_and_steps_that_are_kept(
    forked: Forked,
) -> None:
    chain(forked)
    forked.replace("down/steps.py", "pipeline_step()", "pipeline_step(cacheable=True)")
    forked.replace(
        "down/steps.py", 'data["value"]}', 'data["value"], "at": __import__("os").getpid()}'
    )
    forked.run("down")
    done = forked.druse("audit", "down", "--fraction", "1", "--json")
    found = json.loads(done.out)
    assert [cell[0] for cell in found["checked"]] == ["up", "down"]
    assert [(m["step"], m["what"]) for m in found["mismatches"]] == [("use", "metric at")]


def test_what_cannot_be_audited_is_said(fitted: Exp) -> None:
    for name in ("exp/tt", "tt", "0", "-1"):
        done = fitted.druse("audit", "exp", "--cells", name)
        assert done.status == 2 and f"{name!r} names no cell: write CONDITION/REPLICATE" in done.err
    fitted.replace("exp/steps.py", "data * k", "data * k * 1")
    done = fitted.druse("audit", "exp", "--cells", "t/0")
    assert done.status == 2 and "'t/0' is no hit" in done.err
    done = fitted.druse("audit", "exp", "--fraction", "2")
    assert done.status == 2 and "fraction" in done.err
