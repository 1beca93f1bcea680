"""What deleted markers ask for: a run, of what they stood for, once; and what asks for nothing."""

from __future__ import annotations

import json
import shutil
import types
from pathlib import Path
from typing import Any

import pytest

from druse import Experiment, Pipeline, Treatment, data_source, pipeline_step
from druse.context import FrozenContext
from druse.plugins import ArtifactPlugin, LoggingPlugin
from druse_store import Store

executed: list[str] = []
interrupts_at: list[str] = []


@data_source
def number(ctx: FrozenContext) -> int:
    return 1


@pipeline_step()
def note(data: int, ctx: FrozenContext, fail: bool = False) -> int:
    cell = f"{ctx['condition']}/{ctx['replicate']}"
    if cell in interrupts_at:
        interrupts_at.remove(cell)
        raise KeyboardInterrupt
    executed.append(cell)
    if fail:
        raise ValueError("not this one")
    ctx.artifacts.add("a.txt", b"a")
    return data


ALL = ["baseline/0", "baseline/1", "t/0", "t/1"]


class Place:
    """An experiment that is resumed in one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.fails = False

    def resume(self, *, replicates: int = 2, **how: Any) -> list[str]:
        """The cells that were executed."""
        executed.clear()
        treatments = [Treatment("t", {"fail": self.fails} if self.fails else {})]
        plugins = [ArtifactPlugin("data", versioned=True), LoggingPlugin(log_level="ERROR")]
        experiment = Experiment(
            number(), Pipeline([note()]), plugins, name="exp", treatments=treatments
        )
        experiment.run(**{"strategy": "resume", "replicates": replicates} | how)
        return sorted(executed)

    def view(self, version: int) -> Path:
        return self.root / "data/exp" / f"v{version}"

    def versions(self) -> list[int]:
        with Store.open(self.root / ".druse") as store:
            return [run.version for run in store.runs("exp")]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("DRUSE_STORE", raising=False)
    made = Place(tmp_path / "here")
    assert made.resume() == ALL
    assert made.resume() == []
    return made


# --- what asks -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [".crystallize_complete", "metadata.json"])
def test_a_deleted_root_marker_asks_for_all_of_the_experiment_once(place: Place, name: str) -> None:
    (place.view(0) / name).unlink()
    assert place.resume() == ALL
    assert place.versions() == [0, 1]
    assert place.resume() == []
    assert (place.view(1) / name).exists()


def test_a_deleted_folder_asks_for_all_of_the_experiment_once(place: Place) -> None:
    shutil.rmtree(place.root / "data/exp")
    assert place.resume() == ALL
    assert place.resume() == []
    shutil.rmtree(place.view(1))
    assert place.resume() == ALL
    assert place.resume() == []


@pytest.mark.parametrize("condition", ["baseline", "t"])
def test_a_conditions_deleted_marker_asks_for_that_condition(place: Place, condition: str) -> None:
    (place.view(0) / condition / ".crystallize_complete").unlink()
    assert place.resume() == [f"{condition}/0", f"{condition}/1"]
    assert place.resume() == []


def test_a_deleted_condition_asks_for_that_condition(place: Place) -> None:
    shutil.rmtree(place.view(0) / "t")
    assert place.resume() == ["t/0", "t/1"]


def test_more_replicates_and_a_deleted_marker_ask_for_both(place: Place) -> None:
    (place.view(0) / "t/.crystallize_complete").unlink()
    assert place.resume(replicates=3) == ["baseline/2", "t/0", "t/1", "t/2"]


# --- once, whatever happens ------------------------------------------------------------------


def test_a_run_that_is_interrupted_has_answered_for_what_it_computed(place: Place) -> None:
    (place.view(0) / ".crystallize_complete").unlink()
    interrupts_at.append("baseline/1")
    with pytest.raises(KeyboardInterrupt):
        place.resume()
    assert sorted(executed) == ["baseline/0", "t/0"]
    assert place.resume() == ["baseline/1", "t/1"]
    assert place.resume() == []


def test_without_views_what_was_asked_for_is_answered_all_the_same(place: Place) -> None:
    shutil.rmtree(place.root / "data/exp")
    (place.root / "data").chmod(0o755)
    from druse import api
    from druse.session import Wanted

    def resume() -> list[str]:
        executed.clear()
        plugins = [ArtifactPlugin("data", versioned=True), LoggingPlugin(log_level="ERROR")]
        experiment = Experiment(number(), Pipeline([note()]), plugins, name="exp")
        wanted = Wanted(experiment, [Treatment("t", {})], 2)
        api.run([wanted], strategy="resume", views="none")
        return sorted(executed)

    assert resume() == ALL
    assert resume() == []
    assert place.resume() == []


def test_a_plan_does_not_use_up_what_was_asked_for(place: Place) -> None:
    from druse.control import Control
    from druse.plan import Options
    from druse.session import Session, Wanted

    (place.view(0) / ".crystallize_complete").unlink()
    plugins = [ArtifactPlugin("data", versioned=True), LoggingPlugin(log_level="ERROR")]
    experiment = Experiment(number(), Pipeline([note()]), plugins, name="exp")
    before = (place.root / "data/.views/exp.json").read_text()
    with Store.open(place.root / ".druse") as store:
        wanted = [Wanted(experiment, [Treatment("t", {})], 2)]
        session = Session(store, wanted, Options("resume", Control()))
        decisions = session.decide_all().decisions.values()
        assert {decision.reason for decision in decisions} == {
            "its exported folder, or a marker in it, was deleted"
        }
    assert (place.root / "data/.views/exp.json").read_text() == before
    assert place.resume() == ALL


# --- what asks for nothing -------------------------------------------------------------------


def test_an_older_folder_may_be_deleted(place: Place) -> None:
    assert place.resume(strategy="rerun") == ALL
    shutil.rmtree(place.view(0))
    assert place.resume() == []


def test_files_in_the_folder_may_be_deleted_and_edited(place: Place) -> None:
    shutil.rmtree(place.view(0) / "replicate_0")
    (place.view(0) / "baseline/results.json").write_text("{}")
    assert place.resume() == []


def test_the_whole_root_may_be_deleted_and_is_written_again(place: Place) -> None:
    shutil.rmtree(place.root / "data")
    assert place.resume() == []
    assert (place.view(0) / ".crystallize_complete").exists()
    assert place.versions() == [0]


def test_the_ledger_may_be_deleted(place: Place) -> None:
    shutil.rmtree(place.root / "data/.views")
    (place.view(0) / ".crystallize_complete").unlink()
    assert place.resume() == []


def test_a_fresh_checkout_with_the_same_store_runs_nothing(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRUSE_STORE", str(place.root / ".druse"))
    (tmp_path / "checkout").mkdir()
    monkeypatch.chdir(tmp_path / "checkout")
    assert place.resume() == []
    assert Path("data/exp/v0/.crystallize_complete").exists()


def test_a_copied_root_is_another_place(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRUSE_STORE", str(place.root / ".druse"))
    (tmp_path / "copy").mkdir()
    shutil.copytree(place.root / "data", tmp_path / "copy/data")
    (tmp_path / "copy/data/exp/v0/.crystallize_complete").unlink()
    monkeypatch.chdir(tmp_path / "copy")
    assert place.resume() == []


def test_a_link_to_the_root_is_the_same_place(place: Place, tmp_path: Path) -> None:
    (place.root / "data").rename(tmp_path / "elsewhere")
    (place.root / "data").symlink_to(tmp_path / "elsewhere")
    (place.view(0) / ".crystallize_complete").unlink()
    assert place.resume() == []  # the note is of the place that it was exported to
    assert place.resume(strategy="rerun") == ALL
    (place.view(1) / ".crystallize_complete").unlink()
    assert place.resume() == ALL


def test_another_machine_has_not_exported_here(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place.view(0) / ".crystallize_complete").unlink()
    another = types.SimpleNamespace(gethostname=lambda: "another-machine")
    monkeypatch.setattr("druse.ledger.socket", another)
    assert place.resume() == []


def test_a_restored_store_without_its_views_runs_nothing(place: Place, tmp_path: Path) -> None:
    shutil.copytree(place.root / ".druse", tmp_path / "backup")
    shutil.rmtree(place.root / ".druse")
    shutil.rmtree(place.root / "data")
    shutil.copytree(tmp_path / "backup", place.root / ".druse")
    assert place.resume() == []


def test_another_store_has_not_exported_here(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRUSE_STORE", str(tmp_path / "other"))
    assert place.resume() == ALL
    monkeypatch.setenv("DRUSE_STORE", str(place.root / ".druse"))
    (place.view(0) / ".crystallize_complete").unlink()
    assert place.resume() == []


def test_a_latest_run_that_was_not_exported_here_asks_for_nothing(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRUSE_STORE", str(place.root / ".druse"))
    (tmp_path / "checkout").mkdir()
    with monkeypatch.context() as elsewhere:
        elsewhere.chdir(tmp_path / "checkout")
        assert place.resume(strategy="rerun") == ALL
    (place.view(0) / ".crystallize_complete").unlink()
    assert place.resume() == []


def test_an_unfinished_run_does_not_hide_the_folder_of_the_one_before(place: Place) -> None:
    with Store.open(place.root / ".druse") as store:
        store.begin_run("exp", {"conditions": ["baseline", "t"]})
    shutil.rmtree(place.root / "data/exp")
    assert place.resume() == ALL


def test_an_export_that_never_completed_asks_for_nothing(place: Place) -> None:
    place.fails = True
    assert place.resume(strategy="rerun") == ALL
    view = place.view(1)
    assert not (view / ".crystallize_complete").exists()
    assert not (view / "t/.crystallize_complete").exists()
    place.fails = False
    assert place.resume() == []
    place.fails = True
    assert place.resume() == ["t/0", "t/1"]


def test_of_an_incomplete_folder_the_markers_that_it_has_count(place: Place) -> None:
    place.fails = True
    place.resume(strategy="rerun")
    (place.view(1) / "baseline/.crystallize_complete").unlink()
    assert place.resume() == ALL
    assert place.resume() == ["t/0", "t/1"]


def test_rerun_does_not_ask_the_ledger(place: Place) -> None:
    (place.root / "data/.views/exp.json").write_text("[")
    assert place.resume(strategy="rerun") == ALL
    assert json.loads((place.root / "data/.views/exp.json").read_text())["run"] == 1
