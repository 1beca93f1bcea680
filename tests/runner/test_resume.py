"""Runs of a folder of experiments, each in a process of its own, as people run them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

from support.project import Project

ALL_DRAWN = [(c, r) for c in ("baseline", "large", "shifted") for r in range(3)]
ALL_TOTALS = [(c, r) for c in ("baseline", "large", "shifted") for r in range(5)]


def test_a_second_run_executes_nothing_and_makes_no_new_version(chained: Project) -> None:
    first = chained.run("total")
    # `factor` is given in the configuration, so the treatment that sets it changes nothing.
    assert first["draw"]["run"] + first["draw"]["hit"] == len(ALL_DRAWN)
    assert first["total"]["run"] + first["total"]["hit"] == len(ALL_TOTALS)
    second = chained.run("total")
    assert [each["run"] for each in second.values()] == [0, 0]
    assert second["total"]["run_name"] == "total/v0"
    assert second["total"]["metrics"] == first["total"]["metrics"]
    assert sorted(p.name for p in (chained.root / "data" / "draw").glob("v*")) == ["v0"]


def test_a_treatment_that_no_step_reads_shares_the_baselines_execution(chained: Project) -> None:
    executed = chained.executed("draw")["draw"]
    assert executed == [(c, r) for c in ("baseline", "shifted") for r in range(3)]
    results = json.loads((chained.root / "data/draw/v0/large/results.json").read_text())
    baseline = json.loads((chained.root / "data/draw/v0/baseline/results.json").read_text())
    assert results == baseline


def test_a_changed_treatment_runs_only_its_cells_and_what_depends_on_them(
    chained: Project,
) -> None:
    chained.run("total")
    chained.replace("draw/config.yaml", "shift: 5", "shift: 6")
    executed = chained.executed("total")
    assert executed["draw"] == [("shifted", r) for r in range(3)]
    # Replicates 3 and 4 read what 0 and 1 read, so they are equal to these.
    assert executed["total"] == [("shifted", r) for r in range(5)]


def test_more_replicates_run_only_the_new_ones_and_fewer_run_none(chained: Project) -> None:
    chained.run("draw")
    assert chained.executed("draw", "--replicates", "5")["draw"] == [
        (c, r) for c in ("baseline", "shifted") for r in (3, 4)
    ]
    fewer = chained.run("draw", "--replicates", "2")["draw"]
    assert fewer["run"] == 0
    assert len(fewer["metrics"]["baseline"]["value"]) == 2


def test_rerun_executes_everything_and_keeps_the_earlier_run(chained: Project) -> None:
    chained.run("draw")
    again = chained.run("draw", "--strategy", "rerun")["draw"]
    assert again["run"] == 6
    assert again["run_name"] == "draw/v1"
    shown = json.loads(chained.druse("show", "draw/v0", "--json").out)
    assert shown["metrics"] == again["metrics"]


def test_deleting_the_root_marker_the_metadata_or_all_of_the_view_reruns(chained: Project) -> None:
    chained.run("draw")
    for name in ("v0/.crystallize_complete", "v1/metadata.json"):
        (chained.root / "data/draw" / name).unlink()
        assert len(chained.executed("draw")["draw"]) == 6, name
    subprocess.run(["rm", "-r", str(chained.root / "data/draw")], check=True)
    assert len(chained.executed("draw")["draw"]) == 6
    assert chained.executed("draw")["draw"] == []


def test_a_fresh_checkout_gets_its_view_without_executing(chained: Project) -> None:
    chained.run("draw")
    subprocess.run(["rm", "-r", str(chained.root / "data")], check=True)
    again = chained.run("draw")["draw"]
    assert again["run"] == 0
    assert (chained.root / "data/draw/v0/.crystallize_complete").exists()


def test_moving_the_folder_changes_no_key(chained: Project, tmp_path: Path) -> None:
    chained.run("total")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("draw", "total", "pyproject.toml"):
        (chained.root / name).rename(elsewhere / name)
    moved = Project(elsewhere)
    moved_store = {"DRUSE_STORE": str(chained.root / ".druse")}
    done = moved.druse("run", "total", "--json", env=moved_store)
    assert [e["run"] for e in json.loads(done.out)["experiments"]] == [0, 0], done


def test_a_killed_run_goes_on_where_it_was(project: Project) -> None:
    project["slow/config.yaml"] = """
        replicates: 40
        datasource: {nothing: nothing}
        steps: [wait]
    """
    project["slow/datasources.py"] = """
        from druse import data_source

        @data_source
        def nothing(ctx):
            return 0
    """
    project["slow/steps.py"] = """
        import random
        import time
        from druse import pipeline_step

        @pipeline_step()
        def wait(data, ctx):
            with open("executed.log", "a") as log:
                log.write(f"{ctx['replicate']}\\n")
            time.sleep(0.03)
            return data, {"drawn": random.random()}
    """
    running = subprocess.Popen(project.command("run", "slow", "-q"), **project.how())
    log = project.root / "executed.log"
    while not log.exists() or len(log.read_text().split()) < 20:
        assert running.poll() is None
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    executed_first = log.read_text().split()
    log.unlink()
    after = project.run("slow")["slow"]
    again = set(log.read_text().split())
    # A cell is finished once its commit is durable, a tenth of a second later at most.
    assert 10 <= after["hit"] < 40
    assert len(again & set(executed_first)) <= 6
    assert after["hit"] + after["run"] == 40
    other = Project(project.root)
    uninterrupted = other.druse("run", "slow", "--json", env={"DRUSE_STORE": "elsewhere/.druse"})
    fresh = json.loads(uninterrupted.out)["experiments"][0]
    assert fresh["run"] == 40
    assert fresh["metrics"] == after["metrics"]


def test_two_runs_at_once_both_end_well_with_one_record_for_each_cell(chained: Project) -> None:
    processes = [
        subprocess.Popen(
            chained.command("run", "total", "--json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **chained.how(),
        )
        for _ in range(2)
    ]
    ended = [(*process.communicate(), process.returncode) for process in processes]
    assert [status for _, _, status in ended] == [0, 0], ended
    first, second = (json.loads(out)["experiments"] for out, _, _ in ended)
    assert [e["metrics"] for e in first] == [e["metrics"] for e in second]
    assert chained.executed("total") == {"draw": [], "total": []}
    alone = chained.druse("run", "total", "--json", env={"DRUSE_STORE": "elsewhere/.druse"})
    for one, other, all_of_them in zip(
        first, second, json.loads(alone.out)["experiments"], strict=True
    ):
        assert one["run"] + other["run"] == all_of_them["run"], "each cell by one of them"


def test_interrupting_a_run_keeps_what_has_finished(project: Project) -> None:
    project["slow/config.yaml"] = "{replicates: 30, datasource: {nothing: nothing}, steps: [wait]}"
    project["slow/datasources.py"] = """
        from druse import data_source

        @data_source
        def nothing(ctx):
            return 0
    """
    project["slow/steps.py"] = """
        import time
        from druse import pipeline_step

        @pipeline_step()
        def wait(data, ctx):
            open("executed.log", "a").write("x")
            time.sleep(0.03)
            return data, {"replicate": ctx["replicate"]}
    """
    how = project.how()
    how["env"] = dict(how["env"], PYTHONWARNINGS="ignore")
    running = subprocess.Popen(project.command("run", "slow"), stderr=subprocess.PIPE, **how)
    log = project.root / "executed.log"
    while not log.exists() or len(log.read_text()) < 10:
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGINT)
    _, err = running.communicate()
    assert running.returncode == 130
    assert b"Traceback" not in err
    assert project.run("slow")["slow"]["hit"] >= 9
