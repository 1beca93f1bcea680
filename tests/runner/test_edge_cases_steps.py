"""What must hit and what must miss, end to end: cacheable steps, resources, files, hooks."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from support.forked import Forked
from support.oneexp import DRAWING, Exp, chain, counts

STEPWISE = """
    from druse import Artifact, data_source, pipeline_step

    def tally(name):
        with open(f"{name}.log", "a") as log:
            log.write("x")

    @pipeline_step(cacheable=True)
    def prepare(data, ctx, out: Artifact):
        tally("prepare")
        ctx.record("prepared", data, tags={"of": "prepare"})
        ctx.add("vocab", [data, data + 1])
        out.write(b"bytes")
        return {"prepared": data}, {"second": data}

    @pipeline_step()
    def use(data, ctx, k=0):
        tally("use")
        return data, {"used": len(ctx["vocab"]) + k, "metric": ctx.metrics["prepared"][0]}
"""


def test_a_hit_replays_metrics_artifacts_and_context_values_not_only_the_value(exp: Exp) -> None:
    outputs = "{out: {file_name: out.txt}}"
    exp.steps(STEPWISE, "[prepare, use]", outputs=outputs)
    first = exp.run_one()
    exp.replace("exp/steps.py", '"used": len', '"used": 10 + len')
    second = exp.run_one()
    assert second["run"] == 1
    assert (exp.log("prepare"), exp.log("use")) == (1, 2)
    expected = first["metrics"]["baseline"] | {"used": [12]}
    assert second["metrics"]["baseline"] == expected
    assert first["metrics"]["baseline"]["used"] == [2]
    path = Path(second["view"]) / "replicate_0/baseline/PrepareStep/out.txt"
    assert path.read_bytes() == b"bytes"
    tags = json.loads(exp.druse("show", "exp", "--json").out)["cells"][0]["provenance"]["tags"]
    assert tags == {"prepared": [{"of": "prepare"}]}
    assert exp.run_one("--strategy", "rerun", "--no-cache")["metrics"] == second["metrics"]
    assert exp.log("prepare") == 2


def test_a_step_that_changes_its_input_in_place_is_an_error_in_check_mode(exp: Exp) -> None:
    exp.steps(
        """
        from druse import pipeline_step

        @pipeline_step()
        def build(data, ctx):
            return {"rows": [3, 1, 2]}

        @pipeline_step()
        def tidy(data, ctx):
            data["rows"].sort()
            return data

        @pipeline_step()
        def count(data, ctx):
            return data, {"value": data["rows"][0]}
        """,
        "[build, tidy, count]",
    )
    assert exp.misses()
    checked = exp.druse("run", "exp", "--check", "--strategy", "rerun")
    assert checked.status == 1
    assert "TidyStep changed its input in place" in checked.err
    exp.replace("exp/steps.py", 'data["rows"].sort()', 'data = {"rows": sorted(data["rows"])}')
    assert exp.misses("--check", "--strategy", "rerun")


def test_a_cacheable_step_on_one_input_is_computed_once_for_the_conditions_of_a_replicate(
    exp: Exp,
) -> None:
    exp.steps(
        STEPWISE,
        "[prepare, use]",
        outputs="{out: {file_name: out.txt}}",
        treatments="{a: {k: 1}, b: {k: 2}}",
        replicates="2",
    )
    assert exp.misses()
    assert (exp.log("prepare"), exp.log("use")) == (2, 6)


ENTROPY = """
    import os
    from druse import pipeline_step

    @pipeline_step(FLAGS)
    def sample(data, ctx):
        with open("sample.log", "a") as log:
            log.write("x")
        return int.from_bytes(os.urandom(8), "big")

    @pipeline_step()
    def score(data, ctx, k=0):
        return data, {"value": data % 1000003, "k": k}
"""


def test_a_step_that_becomes_cacheable_or_shared_or_stops_being_it_leaves_results_alike(
    exp: Exp,
) -> None:
    text = DRAWING.replace("return data", "return random.random()", 1)
    text = text.replace('"second", random.random()', '"second", data + random.random()')
    exp.steps(text, "[first, second]", treatments="{t: {k: 1}}", replicates="3")
    plain = exp.run_one()["metrics"]
    for flags in ("cacheable=True", ""):
        exp.steps(
            text.replace("@pipeline_step()", f"@pipeline_step({flags})", 1),
            "[first, second]",
            treatments="{t: {k: 1}}",
            replicates="3",
        )
        assert exp.hits(), flags
        for _ in range(2):
            assert exp.run_one("--strategy", "rerun")["metrics"] == plain, flags
    steady = text.replace("random.random()", "7")
    exp.steps(steady, "[first, second]", replicates="3")
    plain = exp.run_one()["metrics"]
    exp.steps(
        steady.replace("@pipeline_step()", "@pipeline_step(shared=True)", 1),
        "[first, second]",
        replicates="3",
    )
    assert exp.hits()
    assert exp.run_one("--strategy", "rerun")["metrics"] == plain


def test_fresh_entropy_gives_each_replicate_its_own_and_a_shared_step_one_with_a_warning(
    exp: Exp,
) -> None:
    exp.steps(ENTROPY.replace("FLAGS", "cacheable=True"), "[sample, score]", replicates="4")
    found = exp.run_one()
    assert len(set(found["metrics"]["baseline"]["value"])) == 4
    exp.steps(ENTROPY.replace("FLAGS", "shared=True"), "[sample, score]", replicates="4")
    exp.log("sample", reset=True)
    done = exp.druse("run", "exp", "--strategy", "rerun")
    assert "all 4 replicates of baseline have the same k, value" in done.err
    assert exp.log("sample") == 1


@pytest.mark.parametrize("flags", ["cacheable=True", "shared=True"])
def test_a_cacheable_step_that_draws_gives_in_threads_what_it_gives_elsewhere(
    exp: Exp, flags: str
) -> None:
    text = """
        import random, time
        from druse import pipeline_step

        @pipeline_step(FLAGS)
        def prepare(data, ctx):
            time.sleep(0.002)
            return [random.random() for _ in range(3)]

        @pipeline_step()
        def train(data, ctx, k=0):
            return data, {"value": sum(data) + k}
    """.replace("FLAGS", flags)
    exp.steps(text, "[prepare, train]", replicates="6", treatments="{a: {k: 1}, b: {k: 2}}")
    threads = exp.run_one("-j", "4", "--executor", "thread")["metrics"]
    assert exp.run_one("--strategy", "rerun")["metrics"] == threads
    assert exp.run_one("--strategy", "rerun", "--no-cache")["metrics"] == threads


def test_a_treatment_that_changes_what_a_cacheable_step_reads_gets_its_own_result(
    exp: Exp,
) -> None:
    exp.steps(
        """
        from druse import pipeline_step

        @pipeline_step(cacheable=True)
        def scale(data, ctx, factor=1):
            with open("scale.log", "a") as log:
                log.write("x")
            return data * factor * ctx.get("unit", 1)

        @pipeline_step()
        def score(data, ctx):
            return data, {"value": data}
        """,
        "[scale, score]",
        treatments="{f: {factor: 3}, u: {unit: 5}, n: {none: 1}}",
    )
    for _ in range(2):
        found = exp.run_one("--strategy", "rerun")["metrics"]
        assert {name: m["value"][0] for name, m in found.items()} == {
            "baseline": 1,
            "n": 1,
            "f": 3,
            "u": 5,
        }
    assert exp.log("scale") == 3


def test_a_resource_that_depends_on_the_context_is_each_conditions_own(exp: Exp) -> None:
    exp["exp/steps.py"] = "from resource_steps import use"
    exp["resource_steps.py"] = """
        from druse import pipeline_step, resource_factory

        def make(ctx):
            with open("make.log", "a") as log:
                log.write("x")
            return {"size": ctx.get("size", 1)}

        @pipeline_step()
        def using(data, ctx, resource):
            return data, {"value": resource["size"]}

        def use():
            return using(resource=resource_factory(make))
    """
    exp.config(steps="[use]", treatments="{t: {size: 2}, n: {other: 2}}", replicates="2")
    found = exp.run_one()
    assert {name: m["value"] for name, m in found["metrics"].items()} == {
        "baseline": [1, 1],
        "n": [1, 1],
        "t": [2, 2],
    }
    assert exp.log("make") == 2
    assert exp.hits()
    exp.config(steps="[use]", treatments="{t: {size: 3}, n: {other: 3}}", replicates="2")
    assert exp.run_one()["executed"] == [["t", 0], ["t", 1]]
    exp.replace("resource_steps.py", '"size": ctx', '"size": 10 * ctx')
    assert exp.value() == 10


def test_a_class_whose_instance_is_unpickled_counts_though_its_bytes_are_the_same(
    forked: Forked,
) -> None:
    chain(forked)
    forked["zoo.py"] = """
        class Model:
            def __init__(self):
                self.weight = 3

            def predict(self, x):
                return self.weight * x
    """
    forked["up/steps.py"] = """
        import importlib
        from druse import Artifact, pipeline_step

        @pipeline_step()
        def make(data, ctx, out: Artifact):
            out.write(getattr(importlib.import_module("zo" + "o"), "Model")())
            return data
    """
    forked["up/outputs.py"] = """
        import pickle

        def to_json(value):
            return pickle.dumps(value)

        def from_json(path):
            return pickle.loads(path.read_bytes())
    """
    forked.replace("down/steps.py", '"value": data["value"]', '"value": data["value"].predict(2)')
    forked["down/config.yaml"] = "{name: down, datasource: {value: 'up#out'}, steps: [use]}"
    assert counts(forked) == (1, 1)
    assert counts(forked) == (0, 0)
    forked.replace("zoo.py", "self.weight * x", "self.weight + x")
    found = forked.run("down")
    assert (found["up"]["run"], found["down"]["run"]) == (0, 1)
    assert found["down"]["metrics"]["baseline"]["value"] == [5]
    forked.replace("up/outputs.py", "return pickle.loads", "return 0 or pickle.loads")
    assert counts(forked) == (0, 1)


def test_a_file_that_a_datasource_or_step_opens_counts_by_its_content(exp: Exp) -> None:
    exp["x.csv"] = "a,b\n1,2\n"
    exp["y.txt"] = "5"
    exp["exp/datasources.py"] = """
        import pandas as pd
        from druse import data_source

        @data_source
        def source(ctx):
            return int(pd.read_csv("x.csv").sum().sum())
    """
    exp.step("return data, {'value': data + int(open('y.txt').read())}")
    assert exp.value() == 8
    os.utime(exp.root / "x.csv")
    os.utime(exp.root / "y.txt")
    assert exp.hits()
    exp["x.csv"] = "a,b\n1,3\n"
    assert exp.value() == 9
    exp["y.txt"] = "6"
    assert exp.value() == 10
    exp["x.csv"] = "a,b\n1,2\n"
    exp["y.txt"] = "5"
    assert exp.hits()


def test_a_value_that_one_step_adds_for_the_next_hits_and_a_treatment_that_adds_it_is_no_stale_hit(
    exp: Exp,
) -> None:
    exp.steps(
        """
        from druse import pipeline_step

        @pipeline_step()
        def learn(data, ctx):
            ctx.add("vocab", [1, 2, 3])
            return data

        @pipeline_step()
        def use(data, ctx, vocab):
            return data, {"value": len(vocab)}

        @pipeline_step()
        def read(data, ctx):
            return data, {"value": len(ctx["vocab"])}
        """,
        "[learn, read]",
        treatments="{t: {unread: 1}}",
    )
    assert exp.run_one()["executed"] == [["baseline", 0]]
    assert exp.hits()
    exp.config(steps="[learn, read]", treatments="{t: {vocab: [7]}}")
    found = exp.run_one()
    assert (found["hit"], found["failed_cells"]) == (1, [["t", 0]])


def test_a_step_that_reads_a_metric_of_one_that_changed_misses(exp: Exp) -> None:
    exp.steps(
        """
        from druse import pipeline_step

        @pipeline_step()
        def measure(data, ctx):
            ctx.metrics.add("acc", 1)
            return data

        @pipeline_step(cacheable=True)
        def decide(data, ctx):
            return ctx.metrics["acc"][0] * 100

        @pipeline_step()
        def report(data, ctx):
            return data, {"value": data}
        """,
        "[measure, decide, report]",
    )
    assert exp.value() == 100
    exp.replace("exp/steps.py", '"acc", 1', '"acc", 2')
    assert exp.value() == 200
    exp.replace("exp/steps.py", '"acc", 2', '"acc", 1')
    assert exp.run_one("--strategy", "rerun")["metrics"]["baseline"]["value"] == [100]


PLUGIN = """
    import druse
    from exp.datasources import source

    class Plugin(druse.BasePlugin):
        def before_replicate(self, experiment, ctx):
            ctx.add("bonus", 1)

    class Setting(druse.PipelineStep):
        def setup(self, ctx):
            with open("setup.log", "a") as log:
                log.write("x")
            self.model = 5

        def __call__(self, data, ctx):
            return data, {"value": self.model + ctx["bonus"]}

    def run(**more):
        made = druse.Experiment(
            source(), druse.Pipeline([Setting()]), name="made",
            plugins=[Plugin(), druse.LoggingPlugin(verbose=True)], **more,
        )
        found = made.run(strategy="resume")
        print([cell.how for cell in found.cells], found.metrics.baseline.metrics["value"])

    run(replicates=2)
"""


def test_a_users_hook_counts_the_built_in_ones_do_not_and_setup_runs_only_where_a_cell_does(
    exp: Exp,
) -> None:
    exp["made.py"] = PLUGIN
    assert exp.python("import made") == "['run', 'run'] [6, 6]\n"
    assert exp.python("import made") == "['hit', 'hit'] [6, 6]\n"
    assert exp.log("setup") == 1
    exp.replace("made.py", '"bonus", 1', '"bonus", 2')
    assert exp.python("import made") == "['run', 'run'] [7, 7]\n"
    exp.replace("made.py", "verbose=True", "verbose=False")
    assert exp.python("import made") == "['hit', 'hit'] [7, 7]\n"
    exp.replace("made.py", "self.model = 5", "self.model = 6")
    assert exp.python("import made") == "['run', 'run'] [8, 8]\n"
