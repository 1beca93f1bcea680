"""What must hit and what must miss, end to end: replicates, conditions, failures, runs."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from support.forked import Forked
from support.oneexp import DRAWING, Exp, chain, counts


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


def test_a_failure_leaves_the_result_that_there_was(exp: Exp) -> None:
    exp.step(
        "import os\nif os.path.exists('bad'): raise ValueError('no')\nreturn data, {'value': 1}",
        replicates="2",
    )
    assert exp.misses()
    (exp.root / "bad").mkdir()
    assert exp.run_one("--strategy", "rerun")["failed"] == 2
    (exp.root / "bad").rmdir()
    assert exp.hits()
    assert exp.value() == 1


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


def test_a_cell_that_a_neighbour_looked_at_for_a_moment_is_still_before_its_twins(exp: Exp) -> None:
    exp.step("return data, {'value': 1}", treatments="{t: {k: 1}}")
    program = """
        import druse.cli
        from druse_store import Neighbours
        take, refused = Neighbours.take, []

        def take_but_the_first(self, work):
            if refused:
                return take(self, work)
            refused.append(work)
            return False

        Neighbours.take = take_but_the_first
        Neighbours.were_there = property(lambda self: True)
        druse.cli.run_command(["run", "exp"])
    """
    exp.python(program)
    cells = json.loads(exp.druse("show", "exp", "--json").out)["cells"]
    assert {cell["condition"]: cell["how"] for cell in cells} == {"baseline": "run", "t": "hit"}


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
