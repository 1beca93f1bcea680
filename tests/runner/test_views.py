"""Exported folders: what is in them, that they repeat, and what cannot happen to them."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from druse import Experiment, Pipeline, Treatment, data_source, pipeline_step, viewfiles, views
from druse.context import FrozenContext
from druse.errors import InvalidName
from druse.layout import METRICS, Selection, cells_of
from druse.ledger import Ledger
from druse.plugins import ArtifactPlugin, LoggingPlugin
from druse.views import ViewFailed
from druse_store import ArtifactRef, Digest, Record, Run, Store
from support.mounts import tmpfs, xfs
from support.project import SOURCES


@data_source
def number(ctx: FrozenContext) -> int:
    return ctx["replicate"]  # type: ignore[no-any-return]


@pipeline_step()
def write(data: int, ctx: FrozenContext, size: int = 10, fail: bool = False) -> int:
    if fail and data == 1:
        raise ValueError("not this one")
    ctx.artifacts.add("same.bin", b"s" * size)
    ctx.artifacts.add("own.txt", f"{ctx['condition']}/{data}".encode() * size)
    ctx.metrics.add("value", data)
    return data


@pipeline_step()
def note(data: int, ctx: FrozenContext) -> int:
    ctx.artifacts.add("ümläut \n.txt", b"")
    ctx.metrics.add("text", "ü")
    return data


def make(*, size: int = 10, versioned: bool = True, **more: Any) -> Experiment:
    plugins = [ArtifactPlugin("data", versioned=versioned), LoggingPlugin(log_level="ERROR")]
    treatments = [Treatment("t", {"other": 1})]
    values = {"name": "exp", "treatments": treatments, "replicates": 2, "plugins": plugins} | more
    values["initial_ctx"] = {"size": size, **values.get("initial_ctx", {})}
    return Experiment(number(), Pipeline([write(), note()]), **values)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DRUSE_STORE", raising=False)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def export(root: Path, version: int | None = None, **how: Any) -> views.View:
    with Store.open(Path(".druse"), create=False) as store:
        run = store.run("exp", version)
        assert run is not None
        return views.export(store, run, root, versioned=True, **how)


# --- what is in them -------------------------------------------------------------------------


def test_a_view_has_the_files_of_crystallizes_format() -> None:
    make().run()
    found = contents(Path("data/exp/v0"))
    markers = {".crystallize_complete", "baseline/.crystallize_complete", "t/.crystallize_complete"}
    texts = {"baseline/results.json", "t/results.json", "metadata.json", "_manifest.json"}
    artifacts = {
        f"replicate_{replicate}/{condition}/{name}"
        for replicate in range(2)
        for condition in ("baseline", "t")
        for name in ("WriteStep/same.bin", "WriteStep/own.txt", "NoteStep/ümläut \n.txt")
    }
    assert set(found) == markers | texts | artifacts
    assert all(found[name] == b"" for name in markers)
    assert json.loads(found["t/results.json"]) == {"metrics": {"text": ["ü"] * 2, "value": [0, 1]}}
    assert json.loads(found["metadata.json"]).items() >= {"replicates": 2, "name": "exp"}.items()
    assert json.loads(found["_manifest.json"]) == {
        "same.bin": "WriteStep",
        "own.txt": "WriteStep",
        "ümläut \n.txt": "NoteStep",
    }
    assert found["replicate_1/t/WriteStep/own.txt"] == b"t/1" * 10


def test_the_same_run_gives_the_same_bytes_each_time(here: Path) -> None:
    make().run()
    first = contents(Path("data/exp/v0"))
    export(here / "again")
    assert contents(here / "again/exp/v0") == first
    make().run(strategy="resume")
    export(here / "data", 0)
    assert contents(Path("data/exp/v0")) == first
    make(initial_ctx={"another": 1}).run()
    export(here / "later", 0)
    assert contents(here / "later/exp/v0") == first


def test_several_threads_write_the_same_view(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(replicates=30).run()
    before = contents(here / "data/exp/v0")
    monkeypatch.setattr(viewfiles, "_SLOW", -1.0)
    monkeypatch.setattr(viewfiles, "_MANY", 7)
    monkeypatch.setattr(viewfiles, "processors", lambda: 4)
    shutil.rmtree(here / "data/exp/v0")
    assert export(here / "data", 0).missing == []
    assert contents(here / "data/exp/v0") == before


def test_a_missing_replicate_is_null_and_its_condition_has_no_marker() -> None:
    make(treatments=[Treatment("t", {"fail": True}), Treatment("u", {})]).run()
    view = Path("data/exp/v0")
    assert json.loads((view / "t/results.json").read_text())["metrics"]["value"] == [0, None]
    assert not (view / "t/.crystallize_complete").exists()
    assert (view / "u/.crystallize_complete").exists()
    assert not (view / ".crystallize_complete").exists()
    assert not (view / "replicate_1/t").exists()


def test_v0_is_replaced_where_runs_have_no_folders_of_their_own() -> None:
    make(versioned=False).run()
    Path("data/exp/v0/mine.txt").write_text("not kept")
    make(versioned=False, replicates=1).run()
    assert sorted(p.name for p in Path("data/exp").iterdir()) == ["v0"]
    found = contents(Path("data/exp/v0"))
    assert not [name for name in found if name.startswith(("replicate_1", "mine"))]
    with Store.open(Path(".druse")) as store:
        assert [run.version for run in store.runs("exp")] == [0, 1]


def test_links_that_lie_in_the_old_folder_lead_nowhere(here: Path) -> None:
    make(versioned=False).run()
    outside = here / "outside"
    outside.mkdir()
    (outside / "results.json").write_text("mine")
    place = Path("data/exp/v0/baseline")
    for file in place.iterdir():
        file.unlink()
    place.rmdir()
    place.symlink_to(outside)
    make(versioned=False).run()
    assert contents(outside) == {"results.json": b"mine"}
    assert not place.is_symlink()


def test_files_get_the_modes_that_the_umask_leaves() -> None:
    before = os.umask(0o027)
    try:
        make().run()
    finally:
        os.umask(before)
    path = Path("data/exp/v0/replicate_0/t/WriteStep/own.txt")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750


# --- parts -----------------------------------------------------------------------------------


def test_parts_of_a_run_can_be_exported(here: Path) -> None:
    make().run()
    whole = contents(Path("data/exp/v0"))

    def part(name: str, **what: Any) -> set[str]:
        export(here / name, selection=Selection(**what), remember=False)
        found = contents(here / name / "exp/v0")
        for file, data in found.items():
            if file not in ("_manifest.json", "baseline/results.json", "t/results.json"):
                assert whole[file] == data
        return set(found)

    assert part("m", artifacts=False) == {n for n in whole if not n.startswith("replicate_")}
    assert part("a", metrics=False) == {
        n for n in whole if n.startswith(("replicate_", "_m", "meta"))
    }
    of_t = {n for n in whole if "/t/" in n or n.startswith(("t/", "_m", "meta"))}
    assert part("c", conditions=frozenset({"t"})) == of_t
    found = part("r", conditions=frozenset({"t"}), replicates=frozenset({1}))
    assert found == {n for n in of_t if not n.startswith("replicate_0")} - {
        "t/.crystallize_complete"
    }
    results = json.loads((here / "r/exp/v0/t/results.json").read_text())
    assert results["metrics"]["value"] == [1]


def test_progress_counts_the_bytes_of_artifacts(here: Path) -> None:
    make(size=20_000).run()
    seen: list[tuple[int, int]] = []
    export(here / "other", progress=lambda done, total: seen.append((done, total)))
    total = sum(
        len(data) for name, data in contents(here / "other").items() if "replicate_" in name
    )
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len(seen) == 9, "eight large ones, and the small ones together"


# --- failures --------------------------------------------------------------------------------


def test_a_blob_that_is_gone_is_missing_from_the_view_and_said_so(here: Path) -> None:
    make().run()
    with Store.open(Path(".druse")) as store:
        run = store.run("exp")
        assert run is not None
        gone = _record(store, run, "t", 1).artifacts[1].ref.root.digest

        class Lacking:
            def __getattr__(self, name: str) -> Any:
                return getattr(store, name)

            def get(self, digest: Digest) -> bytes:
                if digest == gone:
                    return store.get(Digest.of(b"never stored"))
                return store.get(digest)

        view = views.View(Lacking(), run, here / "out/v0")  # type: ignore[arg-type]
        view.write()
    assert view.missing == ["replicate_1/t/WriteStep/own.txt"]
    assert set(contents(here / "data/exp/v0")) - set(contents(here / "out/v0")) == set(view.missing)


def _record(store: Store, run: Run, condition: str, replicate: int) -> Record:
    return cells_of(store, run)[(condition, replicate)]


HOSTILE = ["../up", "/etc/x", "..", "a/b", "nul\0", "x" * 300, ""]


@pytest.mark.parametrize("where", ["artifact", "step", "condition", "experiment"])
def test_hostile_names_never_leave_the_folder(here: Path, where: str) -> None:
    make().run()
    before = contents(here)
    with Store.open(Path(".druse")) as store:
        run = store.run("exp")
        assert run is not None
        records = {record.digest: record for record in cells_of(store, run).values()}
        for name in HOSTILE:
            changed, named = run, records
            if where == "artifact":
                named = {d: _with_artifact(r, name) for d, r in records.items()}
            elif where == "step":
                changed = _with_info(run, steps=["WriteStep", name])
            elif where == "condition":
                changed = _with_info(run, conditions=["baseline", name])
            if where == "experiment":
                with pytest.raises(InvalidName):
                    views.export(store, _renamed(run, name), here / "out", versioned=True)
            else:
                with pytest.raises(ViewFailed, match="could not be written"):
                    views.View(store, changed, here / "out/v0", records=named).write()
    after = contents(here)
    assert {n for n in after if not n.startswith(".druse")} == {
        n for n in before if not n.startswith(".druse")
    }


def _with_artifact(record: Record, name: str) -> Record:
    import dataclasses

    fields = {
        field.name: getattr(record, field.name)
        for field in dataclasses.fields(record)
        if field.init
    }
    ref = record.artifacts[0].ref
    return Record(**{**fields, "artifacts": (ArtifactRef(name, 0, ref),)})


def _with_info(run: Run, **info: Any) -> Run:
    import dataclasses

    return dataclasses.replace(run, info={**run.info, **info})


def _renamed(run: Run, name: str) -> Run:
    import dataclasses

    return dataclasses.replace(run, experiment=name)


def test_a_condition_cannot_take_the_place_of_what_lies_beside_it(here: Path) -> None:
    make().run()
    with Store.open(Path(".druse")) as store:
        run = store.run("exp")
        assert run is not None
        for name in ("replicate_3", "metadata.json", "index.html", "REPLICATE_0"):
            with pytest.raises(ViewFailed):
                views.View(store, _with_info(run, conditions=[name]), here / "out/v0").write()


def test_a_folder_that_cannot_be_written_is_said_and_costs_no_result(
    here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (here / "data").write_text("a file")
    result = make().run()
    assert result.metrics.baseline.metrics["value"] == [0, 1]
    (here / "data").unlink()
    again = make().run(strategy="resume")
    assert {cell.how for cell in again.cells} == {"hit"}
    assert Path("data/exp/v0/.crystallize_complete").exists()


def test_a_full_disk_leaves_the_old_folder_as_it_was(here: Path) -> None:
    make(size=1 << 20, versioned=False, replicates=1).run()
    with tmpfs(here / "small", 3 << 20) as small, Store.open(Path(".druse")) as store:
        run = store.run("exp")
        assert run is not None
        (small / "exp/v0").mkdir(parents=True)
        (small / "exp/v0/old.txt").write_text("old")
        with pytest.raises(ViewFailed, match="No space left"):
            views.export(store, run, small, versioned=False)
        assert [n for n in contents(small) if not n.startswith(".views")] == ["exp/v0/old.txt"]


def test_what_a_killed_export_left_is_swept_by_the_next(here: Path) -> None:
    make().run()
    left = Path(f"data/exp/.v7.{views._host()}.{_dead_pid()}.partial")
    elsewhere = Path("data/exp/.v7.another-machine.1.partial")
    for folder in (left, elsewhere):
        folder.mkdir()
        (folder / "half").touch()
    make().run()
    assert not left.exists()
    assert elsewhere.exists()  # nobody here knows whether that one still lives


def _dead_pid() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_readers_never_find_half_a_folder_nor_none(here: Path) -> None:
    folder, aside = here / "v0", here / "aside"
    folder.mkdir()
    (folder / "metadata.json").touch()
    program = "import os, sys\nwhile os.path.exists('v0/metadata.json'): pass\n"
    reader = subprocess.Popen([sys.executable, "-c", program])
    try:
        for _ in range(500):
            aside.mkdir()
            (aside / "metadata.json").touch()
            views._replace(aside, folder)
            assert reader.poll() is None, "there was a moment without the folder"
    finally:
        reader.kill()
        reader.wait()


def test_processes_that_export_at_once_leave_a_whole_folder(here: Path) -> None:
    make().run()
    program = (
        "from pathlib import Path; from druse import views; from druse_store import Store\n"
        "with Store.open(Path('.druse'), create=False) as store:\n"
        "    for _ in range(5):\n"
        "        views.export(store, store.run('exp'), Path('out'), versioned=True)\n"
    )
    env = {**os.environ, "PYTHONPATH": SOURCES}
    several = [subprocess.Popen([sys.executable, "-c", program], env=env) for _ in range(3)]
    assert [each.wait(60) for each in several] == [0, 0, 0]
    assert contents(here / "out/exp/v0") == contents(here / "data/exp/v0")
    assert sorted(p.name for p in (here / "out/exp").iterdir()) == ["v0"]


# --- clones ----------------------------------------------------------------------------------


@pytest.mark.needs("mkfs.xfs")
def test_files_are_cloned_where_the_filesystem_can(here: Path) -> None:
    with xfs(here / "image", here / "xfs") as mounted:
        os.chdir(mounted)
        make(size=100_000).run()
        first = export(mounted / "data", 0)
        assert first.cloned == 8, "every file of 100 kB lies in the old folder"
        edited = mounted / "data/exp/v0/replicate_0/t/WriteStep/own.txt"
        edited.write_bytes(b"x" * edited.stat().st_size)
        second = export(mounted / "data", 0)
        assert second.cloned == 7, "one was edited, so it comes from the store"
        assert edited.read_bytes() == b"t/0" * 100_000
        other = contents(Path("data/exp/v0"))["replicate_1/t/WriteStep/same.bin"]
        (mounted / "data/exp/v0/replicate_0/t/WriteStep/same.bin").write_bytes(b"mine")
        assert contents(Path("data/exp/v0"))["replicate_1/t/WriteStep/same.bin"] == other
        make(size=100_000, replicates=3).run(strategy="resume")
        assert (mounted / "data/exp/v1/replicate_2/t/WriteStep/own.txt").stat().st_size == 300_000
        os.chdir(here)


def test_without_clones_the_files_are_the_same(here: Path) -> None:
    make(size=100_000).run()
    before = contents(here / "data/exp/v0")
    assert export(here / "data", 0).cloned in (0, 8)
    assert contents(here / "data/exp/v0") == before


# --- the ledger ------------------------------------------------------------------------------


def test_a_view_of_metrics_becomes_a_whole_one_when_that_is_asked_for(here: Path) -> None:
    make().run()
    with Store.open(Path(".druse")) as store:
        run = store.run("exp")
        assert run is not None
        root = here / "data"
        assert views.is_current(root, run, store.id, versioned=True)
        views.export(store, run, root, versioned=True, selection=METRICS)
        assert not views.is_current(root, run, store.id, versioned=True)
        assert views.is_current(root, run, store.id, versioned=True, artifacts=False)
        assert Ledger(root, "exp", "another store").read() is None


def test_a_note_that_cannot_be_read_is_none(here: Path) -> None:
    make().run()
    note = here / "data/.views/exp.json"
    said = json.loads(note.read_text())
    with Store.open(Path(".druse")) as store:
        ledger = Ledger(here / "data", "exp", store.id)
        assert ledger.read() is not None
        for broken in ("", "[]", "{", json.dumps(said | {"folder": "../.."}), json.dumps({})):
            note.write_text(broken)
            assert ledger.read() is None
            assert ledger.asked(0, 1.0) is None
