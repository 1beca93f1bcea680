"""gc, rm, pin and du, as people meet them; retention at the end of runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.forked import Forked, Server
from support.project import Project, numbers

STEPS = """
    import random

    from druse import pipeline_step

    @pipeline_step()
    def measure(data, ctx, number=0):
        noise = random.Random(number)
        ctx.artifacts.add("small.txt", noise.randbytes(2_000))
        ctx.artifacts.add("large.bin", noise.randbytes(100_000))
        return data, {"number": number}
"""


@pytest.fixture
def versions(tmp_path: Path, server: Server) -> Project:
    """An experiment that makes a new version whenever its number changes."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "pyproject.toml").write_text("")
    project = Forked(tmp_path / "project", server)
    project["exp/datasources.py"] = """
        from druse import data_source

        @data_source
        def source(ctx):
            return 1
    """
    project["exp/steps.py"] = STEPS
    write(project, 0)
    return project


def write(project: Project, number: int) -> None:
    project["exp/config.yaml"] = f"""
        name: exp
        datasource: {{data: source}}
        steps:
          - measure: {{number: {number}}}
    """


def run_versions(project: Project, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        write(project, number)
        project.run("exp")


def levels(project: Project) -> list[str]:
    return [run["level"] for run in json.loads(project.druse("ls", "exp", "--json").out)]


def files(project: Project, version: int) -> set[str]:
    folder = project.root / f"data/exp/v{version}"
    return {path.name for path in folder.rglob("*") if path.is_file()}


ALL = {"small.txt", "large.bin", "results.json", "metadata.json", "_manifest.json"}
ALL |= {".crystallize_complete"}


def test_ten_versioned_runs_keep_what_crystallizes_rule_says(versions: Project) -> None:
    environment = {"DRUSE_BIG_FILE_THRESHOLD_MB": "0"}
    for number in range(10):
        write(versions, number)
        versions.run("exp", env=environment)
    assert levels(versions) == ["metrics"] * 7 + ["light"] * 2 + ["full"]
    assert files(versions, 9) == ALL
    assert files(versions, 8) == files(versions, 0) == ALL - {"small.txt", "large.bin"}
    assert versions.druse("gc", "--now", "-q").status == 0
    shown = json.loads(versions.druse("show", "exp/v2", "--json").out)
    assert "number" in json.dumps(shown)
    assert versions.executed("exp") == {"exp": []}  # resume still hits
    assert versions.druse("verify", "-q").status == 0
    write(versions, 3)  # what v3 computed is asked for again: its metrics are there
    assert versions.executed("exp") == {"exp": []}


def test_druse_yaml_says_what_is_kept_and_views_follow(versions: Project) -> None:
    versions["druse.yaml"] = "retention: {keep_last: 2}"
    run_versions(versions, 3)
    changed = versions.root / "data/exp/v1/replicate_0/baseline/MeasureStep/small.txt"
    changed.write_text("mine now")
    (changed.parent / "notes.txt").write_text("mine")
    run_versions(versions, 1, first=3)
    assert levels(versions) == ["metrics", "metrics", "full", "full"]
    assert files(versions, 0) == ALL - {"small.txt", "large.bin"}
    assert files(versions, 1) == ALL - {"large.bin"} | {"notes.txt"}
    assert changed.read_text() == "mine now"
    assert files(versions, 2) == files(versions, 3) == ALL


def test_a_rule_that_does_not_exist_is_named_before_anything_runs(versions: Project) -> None:
    versions["druse.yaml"] = "retention: {keep_lsat: 2}"
    done = versions.druse("run", "exp")
    assert done.status == 2
    assert "druse.yaml: retention.keep_lsat: no such rule" in done.err
    versions["druse.yaml"] = "retention: {keep_last: 2}"
    versions.run("exp")
    wrong = versions.druse("gc", "--keep-within", "30")
    assert wrong.status == 2
    assert "--keep-within" in wrong.err


def test_a_dry_run_says_what_gc_does_and_undo_brings_it_back(versions: Project) -> None:
    run_versions(versions, 3)
    said = json.loads(versions.druse("gc", "--now", "--keep-last", "1", "--dry-run", "--json").out)
    assert said["freed"] > 200_000
    assert levels(versions) == ["light", "light", "full"]
    shown = versions.druse("gc", "--keep-last", "1")
    assert "full → metrics" in shown.out, shown
    assert levels(versions) == ["metrics", "metrics", "full"]
    assert "exp/v0 is whole again" in versions.druse("gc", "--undo").out
    assert levels(versions) == ["full", "full", "full"]
    done = json.loads(versions.druse("gc", "--now", "--keep-last", "1", "--json").out)
    assert done["freed"] == said["freed"]
    assert versions.druse("gc", "--undo").out.strip() == "0 records and 0 chunks are back"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--undo", "--dry-run"), "--dry-run cannot be combined with --undo"),
        (("--undo", "--now", "--keep-last", "1"), "--keep-last, --now cannot be combined"),
        (("--now", "--grace", "1h"), "--grace cannot be combined with --now"),
        (("--remote", "x", "--undo"), "--undo cannot be combined with --remote"),
        (("--remote", "x", "--max-size", "1GB"), "--max-size cannot be combined with --remote"),
    ],
)
def test_options_that_contradict_each_other_change_nothing(
    versions: Project, options: tuple[str, ...], said: str
) -> None:
    run_versions(versions, 2)
    versions.druse("rm", "exp/v0", "--yes")
    refused = versions.druse("gc", *options)
    assert refused.status == 2, refused
    assert said in refused.err
    assert len(levels(versions)) == 1


def test_what_a_plugin_said_holds_for_every_collection_of_the_store(versions: Project) -> None:
    environment = {"DRUSE_BIG_FILE_THRESHOLD_MB": "0", "DRUSE_ARTIFACT_RETENTION": "2"}
    for number in range(3):
        write(versions, number)
        versions.run("exp", env=environment)
    assert levels(versions) == ["metrics", "light", "full"]
    done = json.loads(versions.druse("gc", "--now", "--json").out)  # which sees no such variable
    assert [(share["version"], share["freed"] > 100_000) for share in done["by_run"][:2]] == [
        (0, True),
        (1, True),
    ]
    lacks = versions.druse("export", "exp/v1", "--to", "there")
    assert "missing: replicate_0/baseline/MeasureStep/large.bin (its bytes" in lacks.err, lacks


@pytest.mark.parametrize("name", ["ARTIFACT_RETENTION", "BIG_FILE_THRESHOLD_MB"])
def test_a_variable_that_is_no_number_is_named_before_anything_runs(
    versions: Project, name: str
) -> None:
    done = versions.druse("run", "exp", env={f"DRUSE_{name}": "ten"})
    assert done.status == 2, done
    assert f"DRUSE_{name} is a whole number, not 'ten'" in done.err
    assert "Traceback" not in done.err


def test_a_folder_that_was_moved_away_behind_a_link_is_left_alone(
    versions: Project, tmp_path: Path
) -> None:
    run_versions(versions, 2)
    view = versions.root / "data/exp/v0"
    view.rename(tmp_path / "archive")
    view.symlink_to(tmp_path / "archive")
    versions.druse("gc", "--now", "--keep-last", "1")
    assert levels(versions) == ["metrics", "full"]
    assert (tmp_path / "archive/replicate_0/baseline/MeasureStep/large.bin").exists()


def test_an_experiment_that_has_no_runs_is_named_where_rules_speak_of_it(
    versions: Project,
) -> None:
    run_versions(versions, 1)
    versions["druse.yaml"] = "retention: {experiments: {exq: {keep_last: 1}}}"
    done = versions.druse("gc", "--dry-run")
    assert (done.status, done.err) == (
        0,
        "druse.yaml: retention.experiments.exq: it has no runs here\n",
    )


def test_what_waits_for_the_grace_to_begin_is_told(versions: Project) -> None:
    versions["druse.yaml"] = "retention: {keep_last: 1}"
    run_versions(versions, 1)
    assert versions.druse("gc").out == "freed 0 B\n"
    run_versions(versions, 1, first=1)
    done = versions.druse("gc")
    assert "what is younger than the grace of 1h, or than a running job, stays" in done.out, done


def test_it_is_told_beside_other_garbage_too(versions: Project) -> None:
    versions["druse.yaml"] = "retention: {keep_last: 7}"
    run_versions(versions, 7)
    assert "of garbage stay" in versions.druse("gc", "--now", "--keep-last", "6").out
    run_versions(versions, 1, first=7)
    done = versions.druse("gc", "--keep-last", "6")
    assert "of garbage stay" in done.out
    assert "what is younger than the grace of 1h, or than a running job, stays" in done.out, done


def test_garbage_that_is_not_worth_writing_a_pack_anew_is_told(versions: Project) -> None:
    versions["druse.yaml"] = "retention: {keep_last: 7}"
    run_versions(versions, 7)
    done = versions.druse("gc", "--now", "--keep-last", "6")
    assert "freed 0 B; 9" in done.out
    assert "KiB of garbage stay in packs until a fifth of one is waste" in done.out


def test_runs_are_removed_when_asked_twice_and_come_back(versions: Project) -> None:
    run_versions(versions, 2)
    assert "exp/v0: 1 cell, light" in versions.druse("rm", "exp/v0", "--dry-run").out
    asked = Project(versions.root).druse("rm", "exp/v0")  # in a process with no input
    assert asked.status == 2, asked
    assert "nobody answers, so nothing was removed: say --yes" in asked.err
    assert asked.out == "exp/v0: 1 cell, light\n"
    assert len(levels(versions)) == 2
    removed = versions.druse("rm", "exp/v0", "exp/v0", "--yes")  # once is enough
    assert removed.status == 0, removed
    assert removed.out.count("exp/v0") == 1
    assert len(levels(versions)) == 1
    assert "exp/v0 is back" in versions.druse("rm", "exp/v0", "--undo").out
    assert len(levels(versions)) == 2
    versions.druse("pin", "paper", "exp/v0")
    refused = versions.druse("rm", "exp", "--yes")
    assert refused.status == 2
    assert "druse unpin paper" in refused.err
    missing = versions.druse("rm", "exp/v7", "--yes")
    assert missing.status == 2
    assert "has no run v7" in missing.err


def test_pins_are_listed_keep_and_are_taken_away(versions: Project) -> None:
    run_versions(versions, 2)
    assert versions.druse("pin", "paper", "exp/v0").out == "paper: exp/v0\n"
    assert versions.druse("pin", "paper", "exp/v1").out == "paper: exp/v1 (before: exp/v0)\n"
    versions.druse("pin", "paper", "exp/v0")
    assert json.loads(versions.druse("pins", "--json").out) == {"paper": "exp/v0"}
    versions.druse("gc", "--now", "--keep-last", "1")
    assert levels(versions) == ["light", "full"]  # as at the end of its run, not less
    assert versions.druse("unpin", "paper").status == 0
    versions.druse("gc", "--now", "--keep-last", "1")
    assert levels(versions) == ["metrics", "full"]
    nothing = versions.druse("unpin", "paper")
    assert nothing.status == 3
    assert "there is no pin 'paper'" in nothing.err
    assert versions.druse("pin", "x", "nonsense").status == 2


def test_show_tells_what_was_dropped_apart_from_what_is_there(versions: Project) -> None:
    run_versions(versions, 3)
    assert "dropped" not in versions.druse("show", "exp").out
    rules = ("--artifact-retention", "2", "--big-file-threshold", "50kB")
    versions.druse("gc", "--now", "--keep-last", "1", *rules)
    shown = [versions.druse("show", f"exp/v{version}").out for version in range(3)]
    assert ["dropped" in text for text in shown] == [True, True, False]
    light = [line.split() for line in shown[1].splitlines() if ".bin" in line or ".txt" in line]
    assert light == [["large.bin", "1", "0", "B", "1"], ["small.txt", "1", "2.0", "KiB", "0"]]
    gone = [json.loads(versions.druse("show", f"exp/v{v}", "--json").out)["gone"] for v in range(3)]
    assert [len(each) for each in gone] == [2, 1, 0]


def test_a_limit_that_cannot_be_kept_is_said(versions: Project) -> None:
    run_versions(versions, 1)
    done = versions.druse("gc", "--now", "--max-size", "1kB")
    assert done.status == 1
    assert "MiB over its limit of 1000 B" in done.err
    assert "4.0 MiB are set aside" in done.err


def test_the_large_view_is_left_alone_where_nothing_was_exported(
    versions: Project, tmp_path: Path
) -> None:
    run_versions(versions, 2)
    (versions.root / "data").rename(tmp_path / "elsewhere")
    versions.druse("gc", "--now", "--keep-last", "1", "--views", str(tmp_path / "elsewhere"))
    assert (tmp_path / "elsewhere/exp/v0/replicate_0/baseline/MeasureStep/large.bin").exists()


def test_a_plan_names_the_producers_whose_dropped_bytes_are_needed_and_a_run_executes_just_these(
    tmp_path: Path, server: Server
) -> None:
    project = Forked(tmp_path, server)
    project["pyproject.toml"] = ""
    numbers(project)
    project.run("total")
    assert project.druse("gc", "--now", "--max-size", "1", "--json").status == 1  # all may go
    project.replace("total/steps.py", "* 2}", "* 3}")
    project.replace("total/config.yaml", "replicates: 5", "replicates: 2")
    planned = json.loads(project.druse("plan", "total", "--json").out)["experiments"]
    draw, total = ({each["name"]: each for each in planned}[name] for name in ("draw", "total"))
    assert (total["run"], draw["run"], draw["hit"]) == (6, 6, 3)
    reasons = {group["reason"] for group in draw["groups"] if group["state"] == "run"}
    assert reasons == {"an artifact of it is needed, and its bytes are gone"}
    cells = {tuple(c) for g in draw["groups"] if g["state"] == "run" for c in g["cells"]}
    executed = project.executed("total")
    assert set(executed["draw"]) == set(executed["total"]) <= cells  # equal ones run once
    assert {condition for condition, _ in executed["draw"]} >= {"baseline", "shifted"}
