"""What a run would do, and why cells hit or miss, as the commands say it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.forked import Forked
from support.oneexp import Exp, chain


@pytest.fixture
def trained(exp: Exp) -> Exp:
    """Two conditions of an experiment with a helper in another module, run once."""
    exp["utils/__init__.py"] = ""
    exp["utils/norm.py"] = "import math\n\n\ndef scale(x):\n    return x * 2\n"
    exp["exp/steps.py"] = """
        import numpy as np
        from druse import pipeline_step
        from utils import norm

        @pipeline_step()
        def load(data, ctx):
            return data

        @pipeline_step()
        def train_model(data, ctx, lr=0.1):
            return norm.scale(data) * lr

        @pipeline_step()
        def score(data, ctx):
            return data, {"score": float(np.float64(data))}
    """
    settle(exp)
    assert exp.misses()
    return exp


def settle(exp: Exp, **parts: str) -> None:
    exp.config(
        **{
            "steps": "[load, train_model, score]",
            "treatments": "{fast: {lr: 0.5}}",
            "replicates": "2",
            **parts,
        }
    )


def explained(exp: Exp, *arguments: str) -> list[dict[str, Any]]:
    done = exp.druse("explain", *arguments, "--json")
    assert done.status == 0, done.err
    return json.loads(done.out)["groups"]


def sentences(exp: Exp, cell: str = "exp/fast/0") -> list[str]:
    (group,) = explained(exp, cell)
    return [each["sentence"] for each in group["differences"]]


def plan(exp: Exp | Forked, config: str = "exp", *arguments: str) -> dict[str, Any]:
    done = exp.druse("plan", config, "--json", *arguments)
    assert done.status == 0, done.err
    return json.loads(done.out)


# --- explain ---------------------------------------------------------------------------------


def test_a_changed_helper_is_named_with_its_file_and_line(trained: Exp) -> None:
    trained.replace("utils/norm.py", "x * 2", "x * 3")
    assert sentences(trained) == ["train_model: helper utils/norm.py:4 scale() changed"]
    trained.replace("utils/norm.py", "import math\n\n\n", "")
    assert sentences(trained) == ["train_model: helper utils/norm.py:1 scale() changed"]


def test_the_code_of_a_step_itself_is_said_to_have_changed(trained: Exp) -> None:
    trained.replace("exp/steps.py", "return data\n", "return data + 0\n")
    assert sentences(trained) == ["load: its code changed (exp/steps.py:6)"]


def test_a_context_value_is_shown_before_and_after_with_the_step_that_read_it(
    trained: Exp,
) -> None:
    settle(trained, treatments="{fast: {lr: 0.2}}")
    assert sentences(trained) == ["ctx lr 0.5 → 0.2 (read by Train_ModelStep)"]
    baseline, fast = explained(trained, "exp")
    assert (baseline["state"], fast["state"]) == ("hit", "run")
    assert fast["cells"] == [["fast", 0], ["fast", 1]]
    assert fast["read"] == "param:1:lr"


def test_a_parameter_is_shown_before_and_after(trained: Exp) -> None:
    settle(trained, steps="[load, {train_model: {lr: 0.3}}, score]")
    assert trained.run_one()["run"] > 0
    settle(trained, steps="[load, {train_model: {lr: 0.4}}, score]")
    assert sentences(trained) == ["train_model: parameter lr 0.3 → 0.4"]


def test_a_package_is_shown_with_both_versions(trained: Exp) -> None:
    trained["upgraded.py"] = """
        import dataclasses, numpy, druse.cli
        from druse.fingerprint import packages
        described = packages._described
        def newer(installed):
            found = described(installed)
            return dataclasses.replace(found, version="99.0") if found.name == "numpy" else found
        packages._described = newer
        druse.cli.run_command(["explain", "exp/fast/0", "--json"])
    """
    import numpy

    (group,) = json.loads(trained.python("import upgraded"))["groups"]
    assert [d["sentence"] for d in group["differences"]] == [f"numpy {numpy.__version__} → 99.0"]


def test_the_seed_and_the_order_of_steps_are_named(trained: Exp) -> None:
    settle(trained, seed="7")
    assert sentences(trained) == ["the seed 0 → 7"]
    settle(trained, steps="[load, train_model, load, score]")
    assert sentences(trained)[0] == "the pipeline has other steps: LoadStep was added"


def test_new_content_from_upstream_is_named_with_its_run(forked: Forked) -> None:
    chain(forked)
    forked.run("down")
    forked.replace("up/steps.py", "data * 2", "data * 5")
    found = plan(forked, "down")["experiments"]
    assert found[1]["groups"][0]["state"] == "depends"
    forked.run("up")
    (group,) = json.loads(forked.druse("explain", "down", "--json").out)["groups"]
    assert [d["sentence"] for d in group["differences"]] == ["up#out.json has new content (run v1)"]


def test_a_file_that_changed_or_is_gone_is_named(exp: Exp) -> None:
    exp["raw/x.txt"] = "1"
    exp.step(
        "import os\nreturn data, {'value': len(os.listdir('raw')) + len(open('raw/x.txt').read())}"
    )
    assert exp.misses()
    exp["raw/x.txt"] = "2"
    assert sentences(exp, "exp") == ["file raw/x.txt changed"]
    (exp.root / "raw/x.txt").unlink()
    assert sentences(exp, "exp") == ["folder raw holds other names", "file raw/x.txt is gone"]


def test_a_cell_that_failed_or_is_new_says_so(exp: Exp) -> None:
    exp.step("if ctx['replicate']: raise ValueError('no luck')\nreturn data", replicates="2")
    assert exp.run_one()["failed"] == 1
    (group,) = explained(exp, "exp/baseline/1")
    assert group["reason"] == "it failed the last time"
    assert group["notes"] == ["it failed then, in StepStep: no luck"]
    exp.step("return data, {'value': 1}", replicates="2")
    assert exp.misses()
    exp.config(replicates="3")
    (group,) = explained(exp, "exp/baseline/2")
    assert group["reason"] == "this replicate has not been computed"
    assert group["differences"] == []


def test_an_algorithm_of_keys_that_changed_is_told_from_code_that_did(trained: Exp) -> None:
    other = """
        import druse.key, druse.cli
        druse.key.ALGORITHM = 2
        druse.cli.run_command({arguments})
    """
    said = trained.python(other.format(arguments=["plan", "exp"]))
    assert "0 hit, 4 run" in said
    assert "keys are made by algorithm 2." in said
    assert "changed" not in said.replace("code, is why", "")
    assert "4 results were taken over" in trained.python(other.format(arguments=["accept", "exp"]))
    assert "4 hit, 0 run" in trained.python(other.format(arguments=["run", "exp"]))
    assert json.loads(trained.druse("show", "exp/v0", "--json").out)["cells"]  # still readable
    assert trained.hits()


def test_a_hit_says_what_it_rests_on(trained: Exp) -> None:
    (group,) = explained(trained, "exp/fast/1")
    rests = group["rests_on"]
    assert rests["code"] == 5
    assert [p.split()[0] for p in rests["packages"]] == ["numpy"]
    assert rests["reads"] == {"param:1:lr": "0.5"}
    assert rests["seed"] == 0
    said = trained.druse("explain", "exp/fast/1").out
    assert "hit, its record is in the store" in said and "parameter lr of train_model: 0.5" in said


BLIND = {
    "exists": "import os; value = os.path.exists('x')",
    "is_file": "from pathlib import Path; p = Path('x'); value = p.is_file()",
    "stat": "from pathlib import Path; value = [Path(n).stat() for n in '.']",
    "__subclasses__": "value = len(type(ctx).__subclasses__())",
    "importlib.util": "import importlib.util as u; value = u.spec_from_file_location",
    "inspect.getsource": "import inspect, json; value = len(inspect.getsource(json))",
}


@pytest.mark.parametrize("what", BLIND)
def test_what_asks_for_files_or_code_in_ways_that_no_key_sees_is_listed(
    exp: Exp, what: str
) -> None:
    exp.step(f"{BLIND[what]}\nreturn data, {{'value': 1}}")
    spots = exp.druse("explain", "exp", "--coverage").out
    assert f"step: {what}" in spots


def test_coverage_lists_the_blind_spots_of_each_step(exp: Exp) -> None:
    exp.step("import os, time\nreturn data, {'value': len(os.environ) + time.time()}")
    found = json.loads(exp.druse("explain", "exp", "--coverage", "--json").out)["parts"]
    assert [part["part"] for part in found] == ["datasource", "step"]
    assert any("os.environ" in spot for spot in found[1]["blind_spots"])
    assert any("time.time" in spot for spot in found[1]["blind_spots"])
    assert "blind spot: exp/steps.py:" in exp.druse("explain", "exp", "--coverage").out


def test_the_configuration_is_found_by_the_name_of_the_experiment(trained: Exp) -> None:
    settle(trained, name="named")
    assert trained.druse("explain", "named").status == 0  # below here
    trained.run_one_of("named")
    (trained.root / "elsewhere").mkdir()
    (trained.root / "exp").rename(trained.root / "elsewhere" / "moved")
    assert trained.druse("explain", "named/fast").status == 0
    assert trained.druse("explain", "elsewhere/moved/fast/1").status == 0
    assert trained.druse("explain", "named", "--config", "elsewhere/moved").status == 0
    for wrong, said in (
        ("named/fats", "did you mean 'fast'?"),
        ("named/fast/9", "it has 2, from 0"),
        ("nmaed", "did you mean 'named'?"),
    ):
        done = trained.druse("explain", wrong)
        assert done.status == 2 and said in done.err, done


def test_an_experiment_from_python_says_where_to_ask(exp: Exp) -> None:
    exp["made.py"] = """
        import druse
        from exp.datasources import source

        @druse.pipeline_step()
        def step(data, ctx):
            return data

        druse.Experiment(source(), druse.Pipeline([step()]), name="made").run()
    """
    exp.python("import made")
    done = exp.druse("explain", "made")
    assert done.status == 2 and "from Python" in done.err


# --- plan ------------------------------------------------------------------------------------


def test_a_plan_says_how_many_cells_hit_run_or_depend_and_executes_nothing(
    forked: Forked,
) -> None:
    chain(forked)
    before = plan(forked, "down")
    assert (before["hit"], before["run"], before["depends"]) == (0, 2, 0)
    assert not (forked.root / ".druse").exists()
    forked.run("down")
    assert plan(forked, "down")["hit"] == 2
    forked.replace("up/steps.py", "data * 2", "data + data")
    changed = plan(forked, "down")
    assert (changed["run"], changed["depends"]) == (1, 1)
    said = forked.druse("plan", "down").out
    assert "at most 2 of 2 cells to execute" in said
    assert "make: its code changed" in said
    executed = forked.run("down")
    assert [executed[name]["run"] for name in ("up", "down")] == [1, 0]


def test_a_plan_expects_the_time_that_the_cells_took_before(exp: Exp) -> None:
    exp.step("import time\ntime.sleep(0.05)\nreturn data, {'value': 1}", replicates="4")
    assert plan(exp)["experiments"][0]["seconds"] is None
    assert exp.misses()
    exp.replace("exp/steps.py", "'value': 1", "'value': 2")
    assert 0.2 < plan(exp)["experiments"][0]["seconds"] < 4


def test_a_plan_does_what_is_asked_for_as_the_run_does(exp: Exp) -> None:
    exp.step("return data, {'value': 1}", replicates="3")
    assert exp.misses()
    assert plan(exp, "exp", "--force", "step")["run"] == 3
    assert plan(exp, "exp", "--strategy", "rerun")["run"] == 3
    assert plan(exp, "exp", "--replicates", "5")["run"] == 2
    assert exp.druse("plan", "exp", "--force", "stp").status == 2


def test_a_plan_proposes_what_to_make_cacheable_and_what_to_share(exp: Exp) -> None:
    text = """
        import time
        from druse import pipeline_step

        @pipeline_step(FLAGS)
        def prepare(data, ctx):
            time.sleep(0.15)
            return data

        @pipeline_step()
        def train(data, ctx, k=0):
            time.sleep(0.15)
            return data, {"value": k + ctx["replicate"]}
    """
    parts = {"treatments": "{a: {k: 1}, b: {k: 2}}", "replicates": "3"}
    exp.steps(text.replace("FLAGS", ""), "[prepare, train]", **parts)
    assert exp.misses()
    (proposal,) = plan(exp)["experiments"][0]["proposals"]
    assert (proposal["step"], proposal["flag"]) == ("prepare", "cacheable=True")
    assert proposal["seconds"] > 0.8
    exp.steps(text.replace("FLAGS", "cacheable=True"), "[prepare, train]", **parts)
    assert exp.hits()
    exp.replace("exp/steps.py", "k + ctx", "k + 0 + ctx")
    assert exp.misses()
    (proposal,) = plan(exp)["experiments"][0]["proposals"]
    assert (proposal["step"], proposal["flag"]) == ("prepare", "shared=True")
    assert "same in all 3 replicates" in exp.druse("plan", "exp").out
