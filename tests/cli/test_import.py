"""`druse import`: what it takes in, what it leaves out, and that it can be done again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.forked import Forked


def crystallized(root: Path, name: str, scale: int = 1) -> None:
    """A folder as Crystallize writes it: two conditions, three replicates, an artifact in each."""
    folder = root / name
    for condition, factor in (("baseline", 1), ("high", 2)):
        values = {"acc": [scale * factor * n for n in (1, 2, 3)]}
        (folder / condition).mkdir(parents=True)
        (folder / condition / "results.json").write_text(json.dumps({"metrics": values}))
        (folder / condition / ".crystallize_complete").touch()
        for replicate in range(3):
            step = folder / f"replicate_{replicate}" / condition / "FitStep"
            step.mkdir(parents=True)
            (step / "model.bin").write_bytes(b"m" * 1000 + bytes([replicate]))
    metadata = {"replicates": 3, "id": "0123abc", "name": folder.parent.name}
    (folder / "metadata.json").write_text(json.dumps(metadata))
    (folder / "_manifest.json").write_text(json.dumps({"model.bin": "FitStep"}))


@pytest.fixture
def old(quick: Forked) -> Forked:
    for version in range(3):
        crystallized(quick.root / "data", f"fit/v{version}", scale=version + 1)
    crystallized(quick.root / "data", "eval/v4")
    return quick


def told(project: Forked, *arguments: str) -> list[dict[str, Any]]:
    done = project.druse("import", *arguments, "--json")
    assert done.status == 0, done
    found: list[dict[str, Any]] = json.loads(done.out)
    return found


def test_every_version_becomes_a_run_of_its_number(old: Forked) -> None:
    found = told(old)
    assert [(each["run"], each["cells"], each["artifacts"]) for each in found] == [
        ("eval/v4", 6, 6),
        ("fit/v0", 6, 6),
        ("fit/v1", 6, 6),
        ("fit/v2", 6, 6),
    ]
    shown = json.loads(old.druse("show", "fit/v1", "--json").out)
    assert shown["metrics"]["high"] == {"acc": [4, 8, 12]}
    assert {each["how"] for each in shown["cells"]} == {"imported"}
    stats = json.loads(old.druse("stats", "--json").out)
    assert stats["chunks"] == 3, "the same bytes are stored once"
    assert all(each["skipped"] for each in told(old))
    assert old.druse("verify").status == 0


def test_a_dry_run_changes_nothing_and_makes_no_store(old: Forked) -> None:
    found = told(old, "--dry-run", "--experiment", "fit")
    assert [each["cells"] for each in found] == [6, 6, 6]
    assert [each["run"] for each in found] == [None, None, None]
    assert not (old.root / ".druse").exists()


def test_one_experiment_can_be_named_and_renamed(old: Forked) -> None:
    done = old.druse("import", "data", "--as", "other")
    assert done.status == 2
    assert "several experiments (eval, fit)" in done.err
    assert [each["run"] for each in told(old, "data/eval", "--as", "other")] == ["other/v4"]
    done = old.druse("import", "data", "--experiment", "nothing")
    assert done.status == 2
    assert "holds no runs of nothing" in done.err


def test_a_number_that_another_run_has_is_left_out(old: Forked) -> None:
    old.run("draw")
    crystallized(old.root / "elsewhere", "draw/v0")
    done = old.druse("import", "elsewhere")
    assert done.status == 0
    assert "draw/v0: left out: another run is draw/v0 in this store" in done.out
    assert "--as EXPERIMENT" in done.out
    assert [each["run"] for each in told(old, "elsewhere", "--as", "drawn")] == ["drawn/v0"]


def test_what_cannot_be_read_is_said_and_the_rest_is_taken(old: Forked) -> None:
    (old.root / "data/fit/v1/metadata.json").write_text("{")
    (old.root / "data/fit/v2/link").symlink_to("/etc")
    done = old.druse("import")
    assert done.status == 1
    assert "fit/v1: left out:" in done.out
    assert "no valid JSON" in done.out
    assert "fit/v2: 6 cells" in done.out
    assert "link is a link, and is left out" in done.err
    done = old.druse("import", "nowhere")
    assert done.status == 2
    assert "nowhere is no folder" in done.err


def test_exported_folders_of_this_store_are_known(old: Forked) -> None:
    old.run("total")
    done = old.druse("import", "data")
    assert "draw/v0: left out: it is the exported folder of draw/v0" in done.out
    assert "total/v0: left out: it is the exported folder of total/v0" in done.out


def test_other_experiments_read_imported_artifacts(old: Forked) -> None:
    told(old)
    old["reads/config.yaml"] = "{name: reads, datasource: {model: model}, steps: [size]}"
    old["reads/datasources.py"] = """
        from druse import data_source
        from druse.stored import StoredArtifact

        def model():
            return StoredArtifact("fit", "FitStep", "model.bin", "high", 3)
    """
    old["reads/steps.py"] = """
        from druse import pipeline_step

        @pipeline_step()
        def size(data, ctx):
            return data, {"size": data.stat().st_size}
    """
    assert old.run("reads")["reads"]["metrics"]["baseline"] == {"size": [1001]}
