"""What must hit and what must miss, end to end: replicates, conditions, steps, files, failures."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from support.forked import Forked
from support.oneexp import Exp, chain

DRAWING = """
    import random
    from druse import pipeline_step

    @pipeline_step()
    def first(data, ctx):
        ctx.metrics.add("first", random.random())
        return data

    @pipeline_step()
    def second(data, ctx, k=0):
        ctx.metrics.add("second", random.random())
        return data
"""


def test_replicates_keep_their_seeds_conditions_share_them_and_steps_have_their_own(
    exp: Exp,
) -> None:
    exp.steps(DRAWING, "[first, second]", treatments="{t: {k: 1}}")
    two = exp.run_one("--replicates", "2")["metrics"]
    four = exp.run_one("--replicates", "4")["metrics"]
    assert four["baseline"]["first"][:2] == two["baseline"]["first"]
    assert len(set(four["baseline"]["first"])) == 4
    assert four["t"] == four["baseline"]
    assert four["baseline"]["first"][0] != four["baseline"]["second"][0]
    exp.druse("run", "exp", "--replicates", "4", "--strategy", "rerun")
    assert exp.run_one("--replicates", "4")["metrics"] == four


def test_more_replicates_run_the_new_ones_and_fewer_return_the_first_and_keep_the_rest(
    exp: Exp,
) -> None:
    exp.step("return data, {'value': ctx['replicate']}")
    assert exp.run_one("--replicates", "2")["run"] == 2
    assert exp.run_one("--replicates", "5")["executed"] == [["baseline", r] for r in (2, 3, 4)]
    fewer = exp.run_one("--replicates", "2")
    assert (fewer["run"], fewer["hit"]) == (0, 2)
    assert fewer["metrics"]["baseline"]["value"] == [0, 1]
    assert exp.hits("--replicates", "5")


def test_mixed_counts_have_a_status_for_each_cell_and_say_what_is_missing(exp: Exp) -> None:
    exp.step(
        "if ctx['replicate'] == 1 and bad: raise ValueError('no')\n"
        "return data, {'value': ctx['replicate']}",
        takes="bad=False",
        treatments="{t: {bad: true}}",
        replicates="3",
    )
    found = exp.run_one()
    assert found["failed_cells"] == [["t", 1]]
    assert found["metrics"]["baseline"]["value"] == [0, 1, 2]
    assert found["metrics"]["t"]["value"] == [0, 2]
    results = json.loads((Path(found["view"]) / "t" / "results.json").read_text())
    assert results["metrics"]["value"] == [0, None, 2]
    assert "failed" in exp.druse("show", "exp").out


def test_a_renamed_treatment_hits_and_a_new_or_changed_one_runs_only_its_cells(exp: Exp) -> None:
    exp.step("return data, {'value': k}", takes="k=0", treatments="{a: {k: 1}, b: {k: 2}}")
    assert exp.run_one()["run"] == 3
    exp.config(treatments="{renamed: {k: 1}, b: {k: 2}}")
    renamed = exp.run_one()
    assert renamed["run"] == 0
    assert renamed["metrics"]["renamed"]["value"] == [1]
    assert (Path(renamed["view"]) / "renamed" / "results.json").exists()
    exp.config(treatments="{renamed: {k: 1}, b: {k: 2}, c: {k: 3}}")
    assert exp.run_one()["executed"] == [["c", 0]]
    exp.config(treatments="{renamed: {k: 1}, b: {k: 5}, c: {k: 3}}")
    assert exp.run_one()["executed"] == [["b", 0]]


def test_a_failed_cell_is_recorded_is_no_hit_and_does_not_stop_its_siblings(exp: Exp) -> None:
    body = "if k: raise ValueError('a clear message')\nreturn data, {'value': 1}"
    exp.step(body, takes="k=0", treatments="{bad: {k: 1}, good: {j: 1}}")
    done = exp.druse("run", "exp")
    assert done.status == 1
    shown = exp.druse("show", "exp").out
    assert "ValueError: a clear message" in shown and "steps.py" in shown
    again = exp.run_one()
    assert (again["hit"], again["failed"]) == (2, 1)
    assert "failed the last time" in exp.druse("plan", "exp").out
    exp.step("return data, {'value': 1}", takes="k=0", treatments="{bad: {k: 1}, good: {j: 1}}")
    assert exp.misses() or exp.hits()


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


def counts(project: Forked, *arguments: str) -> tuple[int, int]:
    found = project.run("down", *arguments)
    return found["up"]["run"], found["down"]["run"]


def test_a_blob_that_is_missing_or_damaged_never_gives_wrong_bytes(forked: Forked) -> None:
    chain(forked)
    assert counts(forked) == (1, 1)
    forked.replace("down/steps.py", 'data["value"]}', 'data["value"] + 1}')
    for pack in (forked.root / ".druse" / "packs").rglob("*.pack"):
        raw = pack.read_bytes()
        pack.write_bytes(raw.replace(b"6", b"7"))
    after = forked.run("down")
    assert after["down"]["metrics"]["baseline"]["value"] == [7]
    assert (after["down"]["failed"], after["up"]["failed"]) == (0, 0)
    assert counts(forked) == (0, 0)


def test_the_same_bytes_from_upstream_hit_and_other_ones_run(forked: Forked) -> None:
    chain(forked)
    assert counts(forked) == (1, 1)
    forked.replace("up/steps.py", "data * 2", "data + data")
    assert counts(forked) == (1, 0)
    forked.replace("up/steps.py", "data + data", "data + 1")
    assert counts(forked) == (1, 1)


def test_only_a_deleted_marker_of_the_latest_view_exported_here_reruns(exp: Exp) -> None:
    exp.step("return data, {'value': k}", takes="k=0", treatments="{t: {k: 1}}")
    assert exp.misses()
    assert exp.misses("--strategy", "rerun")
    shutil.rmtree(exp.root / "data/exp/v0")
    assert exp.hits()
    (exp.root / "data/exp/v1/t/.crystallize_complete").unlink()
    assert exp.run_one()["executed"] == [["t", 0]]
    for name in ("metadata.json", ".crystallize_complete"):
        latest = Path(exp.run_one()["view"])
        (latest / name).unlink()
        assert exp.misses(), name
    shutil.rmtree(exp.root / "data")
    assert exp.hits()
    other = exp.root.parent / "checkout"
    shutil.copytree(exp.root, other, ignore=shutil.ignore_patterns("data"))
    elsewhere = Exp(Forked(other, exp.project.server))
    assert elsewhere.hits()


def test_two_processes_that_resume_at_once_leave_one_record_for_each_cell(exp: Exp) -> None:
    exp.step(
        "import time, random\ntime.sleep(0.02)\nreturn data, {'value': random.random()}",
        replicates="12",
        treatments="{t: {k: 1}}",
    )
    command = exp.project.command("run", "exp", "--json")
    processes = [
        subprocess.Popen(command, stdout=-1, stderr=-1, text=True, **exp.how()) for _ in range(2)
    ]
    ended = [(*each.communicate(), each.returncode) for each in processes]
    assert [status for *_, status in ended] == [0, 0], ended
    first, second = (json.loads(out)["experiments"][0]["metrics"] for out, *_ in ended)
    assert first == second
    assert exp.hits()
    program = """
        from druse_store import Store
        with Store.open(".druse") as store:
            cells = {cell.record for run in store.runs() for cell in run.cells}
            records = [store.record_by_digest(digest) for digest in cells]
            current = {(r.signature, r.replicate): r.digest for r in records}
            print(len(current), store.stats().records)
            for signature, replicate in current:
                assert len([r for r in store.records(signature) if r.replicate == replicate]) == 1
    """
    assert exp.python(program).split() == ["12", "12"]


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


def test_a_treatment_that_no_step_reads_and_the_baseline_are_one_execution(exp: Exp) -> None:
    exp.step(
        "open('step.log', 'a').write('x')\nreturn data, {'value': 1}",
        treatments="{t: {unread: 1}, s: {unread: 2}}",
        replicates="2",
    )
    found = exp.run_one()
    assert (found["run"], found["hit"], exp.log("step")) == (2, 4, 2)
    assert found["metrics"]["t"] == found["metrics"]["baseline"] == {"value": [1, 1]}
    exp.log("step", reset=True)
    assert exp.run_one("--strategy", "rerun")["run"] == 2
    assert exp.log("step") == 2


def test_reads_whose_names_differ_in_each_replicate_keep_lookups_linear(exp: Exp) -> None:
    exp["linear.py"] = """
        import druse
        from druse.lookup import Lookup
        from druse_store import View
        from exp.datasources import source

        @druse.pipeline_step()
        def step(data, ctx):
            return data, {"value": ctx.get(f"p{replicate_of(ctx)}", 0)}

        def replicate_of(ctx):
            return ctx["replicate"]

        @druse.pipeline_step()
        def hidden(data, ctx):
            import random
            return data, {"value": ctx.get(f"p{random.getrandbits(64)}", 0)}

        asked = 0
        def counted(fn):
            def counting(*args):
                global asked
                asked += 1
                return fn(*args)
            return counting
        Lookup.next_reads = counted(Lookup.next_reads)
        View.record_at = counted(View.record_at)
        View.record_by_digest = counted(View.record_by_digest)

        def run(kind):
            global asked
            steps = druse.Pipeline([kind()])
            made = druse.Experiment(source(), steps, name="linear", replicates=1000)
            made.run(strategy="resume")
            asked = 0
            found = made.run(strategy="resume")
            print({cell.how for cell in found.cells}, asked < 10_000)
    """
    lines = exp.python("import linear; linear.run(linear.step); linear.run(linear.hidden)")
    assert lines == "{'hit'} True\n" * 2


def test_a_resume_that_does_nothing_ten_times_makes_no_run_and_prunes_nothing(exp: Exp) -> None:
    exp["kept.py"] = """
        import druse
        from exp.datasources import source

        @druse.pipeline_step()
        def step(data, ctx):
            ctx.artifacts.add("big.bin", bytes(100))
            return data, {"value": 1}

        for _ in range(11):
            kept = druse.ArtifactPlugin(versioned=True, artifact_retention=3)
            made = druse.Experiment(source(), druse.Pipeline([step()]), name="kept", plugins=[kept])
            made.run(strategy="resume")
    """
    exp.python("import kept")
    assert len(json.loads(exp.druse("ls", "kept", "--json").out)) == 1
    assert [p.name for p in (exp.root / "data/kept").iterdir()] == ["v0"]
    assert (exp.root / "data/kept/v0/replicate_0/baseline/StepStep/big.bin").exists()


def test_a_baseline_that_fails_in_one_replicate_leaves_its_treatments_running(exp: Exp) -> None:
    exp.step(
        "if not good and ctx['replicate'] == 1: raise ValueError('no')\n"
        "return data, {'value': ctx['replicate'] + good}",
        takes="good=0",
        treatments="{t: {good: 10}}",
        replicates="3",
        hypotheses="[{name: h, verifier: difference, metrics: value}]",
    )
    exp["exp/verifiers.py"] = """
        from druse import verifier

        @verifier
        def difference(baseline, treatment):
            return {"pairs": list(zip(baseline["value"], treatment["value"]))}
    """
    found = exp.run_one()
    assert found["failed_cells"] == [["baseline", 1]]
    assert found["metrics"]["t"]["value"] == [10, 11, 12]
    program = """
        import druse, logging
        logging.disable()
        made = druse.Experiment.from_yaml("exp/config.yaml")
        found = made.run(strategy="resume")
        print(found.get_hypothesis("h").results)
    """
    assert exp.python(program) == "{'t': {'pairs': [(0, 10), (2, 12)]}}\n"


def test_an_artifact_that_cannot_be_written_fails_its_cell_with_a_clear_error(exp: Exp) -> None:
    exp.step(
        """
        if k == 1:
            ctx.artifacts.add("../out", b"x")
        if k == 2:
            ctx.artifacts.add("out", {"not": "bytes"})
        return data, {"value": 1}
        """,
        takes="k=0",
        treatments="{named: {k: 1}, typed: {k: 2}}",
    )
    done = exp.druse("run", "exp")
    assert done.status == 1
    assert "'../out' cannot be the name of an artifact" in done.err
    assert "has to be bytes" in done.err
    assert exp.run_one()["failed_cells"] == [["named", 0], ["typed", 0]]


def test_an_output_that_cannot_be_kept_runs_the_step_uncached_with_a_warning(exp: Exp) -> None:
    exp.steps(
        """
        import threading
        from druse import pipeline_step

        @pipeline_step(cacheable=True)
        def lock(data, ctx):
            with open("lock.log", "a") as log:
                log.write("x")
            return {"inner": threading.Lock()}

        @pipeline_step()
        def score(data, ctx):
            return None, {"value": 1}
        """,
        "[lock, score]",
    )
    done = exp.druse("run", "exp")
    assert done.status == 0
    assert "LockStep runs uncached" in done.err and "lock" in done.err
    assert exp.hits()
    assert exp.misses("--strategy", "rerun")
    assert exp.log("lock") == 2
