"""`druse export`: where it writes to, parts, JSON, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from support.forked import Forked
from support.project import Done


def refused(done: Done, *words: str) -> None:
    assert done.status == 2, done
    assert "Traceback" not in done.err
    for word in words:
        assert word in done.err, done.err


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_run_is_exported_as_it_was_when_it_ran(quick: Forked) -> None:
    quick.run("draw")
    quick.replace("draw/config.yaml", "shift: 5", "shift: 6")
    quick.run("draw")
    before = files(quick.root / "data/draw/v0")
    (quick.root / "data/draw/v0/baseline/results.json").write_text("edited")
    done = quick.druse("export", "draw/v0")
    assert (done.status, done.out) == (0, "data/draw/v0\n")
    assert files(quick.root / "data/draw/v0") == before
    quick.druse("export", "draw", "--to", "elsewhere")
    assert files(quick.root / "elsewhere/draw/v1") == files(quick.root / "data/draw/v1")
    assert not (quick.root / "elsewhere/.views").exists()
    assert quick.executed("draw") == {"draw": []}


def test_what_somebody_added_to_a_folder_is_there_after_another_export(quick: Forked) -> None:
    quick.run("draw")
    folder = quick.root / "data/draw/v0"
    before = files(folder)
    (folder / "plots").mkdir()
    (folder / "plots/a.txt").write_text("mine")
    (folder / "notes.txt").write_text("mine, too")
    (folder / "linked").symlink_to("plots")
    (folder / "baseline/results.json").write_text("edited")
    for _ in range(2):
        assert quick.druse("export", "draw/v0").status == 0
        added = {"notes.txt": b"mine, too", "plots/a.txt": b"mine"}
        assert files(folder) == {**before, **added}
        assert (folder / "linked").is_symlink()


def test_what_stands_in_the_way_of_an_export_is_said_and_nothing_is_lost(quick: Forked) -> None:
    quick.run("draw")
    folder = quick.root / "data/draw/v0"
    shutil.rmtree(folder / "baseline")
    (folder / "baseline").write_text("mine")
    refused(quick.druse("export", "draw/v0"), "v0/baseline is in the way")
    assert (folder / "baseline").read_text() == "mine"


def test_parts_go_to_a_folder_of_their_own(quick: Forked) -> None:
    quick.run("draw")
    whole = files(quick.root / "data/draw/v0")
    done = quick.druse("export", "draw", "--only", "metrics", "--to", "m", "--json")
    assert json.loads(done.out) == {"run": "draw/v0", "view": "m/draw/v0", "missing": []}
    assert not [name for name in files(quick.root / "m/draw/v0") if "replicate_" in name]
    arguments = ("--condition", "large", "--condition", "shifted", "--replicate", "2")
    quick.druse("export", "draw/v0", *arguments, "--to", "part")
    part = files(quick.root / "part/draw/v0")
    assert {name for name in part if name.startswith("replicate_")} == {
        "replicate_2/large/KeepStep/kept.json",
        "replicate_2/shifted/KeepStep/kept.json",
    }
    assert ".crystallize_complete" not in part
    assert (
        part["replicate_2/large/KeepStep/kept.json"]
        == (whole["replicate_2/large/KeepStep/kept.json"])
    )
    quick.druse("export", "draw/v0", "--only", "artifacts", "--to", "art")
    assert "baseline/results.json" not in files(quick.root / "art/draw/v0")
    assert files(quick.root / "data/draw/v0") == whole


def test_what_cannot_be_exported_is_refused(quick: Forked) -> None:
    quick.run("draw")
    refused(quick.druse("export", "draw", "--only", "metrics"), "needs --to DIR")
    refused(quick.druse("export", "draw", "--condition", "large"), "needs --to DIR")
    refused(
        quick.druse("export", "draw", "--condition", "larg", "--to", "x"),
        "no condition 'larg'",
        "baseline, large, shifted",
    )
    refused(quick.druse("export", "draw", "--replicate", "3", "--to", "x"), "no replicate 3")
    refused(quick.druse("export", "drew"), "did you mean 'draw'?")
    refused(quick.druse("export", "draw/v3"), "it has: v0")
    refused(quick.druse("export", "draw", "--only", "both", "--to", "x"), "'both'")
    (quick.root / "file").write_text("no folder")
    refused(quick.druse("export", "draw", "--to", "file"), "could not be written")


def test_nothing_executes_because_of_an_export(quick: Forked) -> None:
    quick.run("total")
    quick.druse("export", "draw/v0")
    quick.druse("export", "total/v0", "--to", "other")
    assert quick.executed("total") == {"draw": [], "total": []}
