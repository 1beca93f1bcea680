"""Folders that Crystallize wrote become runs: shown, exported as they were, read, taken over."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from support.forked import Forked, Server
from support.peer import run_peer, with_import_changed

PROJECT = Path(__file__).parent / "projects" / "folder"


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with what Crystallize left when it ran there."""
    folder = tmp_path_factory.mktemp("theirs") / "project"
    shutil.copytree(PROJECT, folder)
    run_peer(folder / "main.py", cwd=folder)
    return folder


@pytest.fixture
def moved(theirs: Path, tmp_path: Path, server: Server) -> Forked:
    """The same project with its import changed, and their folders."""
    folder = with_import_changed(theirs, tmp_path / "moved")
    (folder / "pyproject.toml").write_text("")
    return Forked(folder, server)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def metrics(project: Forked, run: str) -> Any:
    return json.loads(project.druse("show", run, "--json").out)["metrics"]


@pytest.mark.needs("crystallize")
def test_folders_of_crystallize_become_runs(moved: Forked) -> None:
    done = moved.druse("import", "data")
    assert done.status == 0, done
    assert "harvest/v0: 6 cells, 3 conditions, 6 artifacts" in done.out
    assert "market/v0: 12 cells, 4 conditions, 0 artifacts" in done.out
    for name in ("harvest", "market"):
        found = metrics(moved, name)
        for condition, values in found.items():
            results = json.loads(moved[f"data/{name}/v0/{condition}/results.json"])
            assert values == results["metrics"]
    assert "6 imported" in moved.druse("show", "harvest").out
    again = moved.druse("import", "data")
    assert again.status == 0
    assert again.out.count("it is in the store already, as") == 2
    assert "import" not in moved.druse("verify").out


@pytest.mark.needs("crystallize")
def test_an_imported_run_is_exported_as_it_was(moved: Forked) -> None:
    before = contents(moved.root / "data/harvest/v0")
    moved.druse("import", "data")
    done = moved.druse("export", "harvest/v0", "--to", "elsewhere")
    assert done.status == 0, done
    after = contents(moved.root / "elsewhere/harvest/v0")
    assert set(after) - set(before) == {".crystallize_complete"}
    for name, data in before.items():
        if name.endswith(".json") and "replicate_" not in name:
            assert json.loads(after[name]) == json.loads(data)
        else:
            assert after[name] == data


@pytest.mark.needs("crystallize")
def test_no_cell_hits_an_imported_result_unless_it_is_accepted(moved: Forked) -> None:
    moved.druse("import", "data")
    config = "experiments/market"
    plan = json.loads(moved.druse("plan", config, "--json").out)
    assert all(each["hit"] == 0 for each in plan["experiments"]), plan
    for name in ("harvest", "market"):
        done = moved.druse("accept", name, "--config", config)
        assert done.status == 0, done
        assert "results were taken over" in done.out
        assert f"it was imported from {moved.root / 'data' / name / 'v0'}: nothing says" in done.out
        assert "algorithm" not in done.out
    found = moved.run(config)
    assert [(n, each["hit"], each["run"]) for n, each in found.items()] == [
        ("harvest", 6, 0),
        ("market", 12, 0),
    ]
    # v1 has what was accepted; folders do not say in which order the conditions were defined.
    assert found["market"]["run_name"] == "market/v2"
    moved.replace("experiments/market/config.yaml", "factor: 2", "factor: 3")
    assert moved.executed(config)["market"] == [("dear", 0), ("dear", 1), ("dear", 2)]


@pytest.mark.needs("crystallize")
def test_new_runs_leave_their_folders_alone(moved: Forked) -> None:
    before = contents(moved.root / "data")
    found = moved.run("experiments/market")
    assert found["harvest"]["run_name"] == "harvest/v1"
    after = contents(moved.root / "data")
    assert {n: d for n, d in after.items() if n in before} == before
    assert "harvest/v1/.crystallize_complete" in after
    done = moved.druse("import", "data")
    assert "harvest/v1: left out: it is the exported folder of harvest/v1" in done.out
    assert "harvest/v0: 6 cells" in done.out
    runs = json.loads(moved.druse("ls", "harvest", "--json").out)
    assert [each["version"] for each in runs] == [0, 1]
    assert moved.executed("experiments/market") == {"harvest": [], "market": []}
