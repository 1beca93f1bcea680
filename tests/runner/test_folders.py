"""Reading folders in Crystallize's format: whole ones, pruned ones, strange ones, hostile ones."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from druse import folders
from druse.folders import FolderUnreadable


class Made:
    """A version's folder that a test writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)

    def results(self, condition: str, metrics: Any, *, marked: bool = True) -> Made:
        folder = self.path / condition
        folder.mkdir(exist_ok=True)
        (folder / "results.json").write_text(json.dumps({"metrics": metrics}))
        if marked:
            (folder / ".crystallize_complete").touch()
        return self

    def metadata(self, **values: Any) -> Made:
        (self.path / "metadata.json").write_text(json.dumps(values))
        return self

    def artifact(self, place: str, data: bytes = b"x") -> Made:
        path = self.path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return self

    def read(self) -> folders.Folder:
        return folders.read("exp", 0, self.path)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path / "data" / "exp" / "v0")


def test_each_replicate_gets_its_values_and_files(made: Made) -> None:
    made.metadata(replicates=2, id="abc", name="exp")
    made.results("high", {"acc": [3, 4]}).results("baseline", {"acc": [1, 2], "loss": [9, 8, 7, 6]})
    made.artifact("replicate_1/high/FitStep/model.bin", b"123").artifact(
        "replicate_0/baseline/EvalStep/a.txt"
    )
    found = made.read()
    assert found.conditions == ["baseline", "high"]
    assert found.metrics == {
        ("baseline", 0): {"acc": [1], "loss": [9, 8]},
        ("baseline", 1): {"acc": [2], "loss": [7, 6]},
        ("high", 0): {"acc": [3]},
        ("high", 1): {"acc": [4]},
    }
    assert found.steps == ["EvalStep", "FitStep"]
    assert [(f.step, f.name, f.size) for f in found.files[("high", 1)]] == [
        ("FitStep", "model.bin", 3)
    ]
    assert (found.identity, found.is_complete, found.problems) == ("abc", True, [])


def test_a_missing_replicate_is_null_and_no_cell(made: Made) -> None:
    made.metadata(replicates=3, id="x").results("baseline", {"acc": [1, None, 3]})
    assert made.read().metrics == {("baseline", 0): {"acc": [1]}, ("baseline", 2): {"acc": [3]}}


def test_cells_without_metrics_are_cells(made: Made) -> None:
    made.metadata(replicates=2, id="x").results("baseline", {})
    assert made.read().cells == [("baseline", 0), ("baseline", 1)]


def test_values_that_cannot_be_told_apart_are_kept_together_and_said_so(made: Made) -> None:
    made.metadata(replicates=3, id="x").results("baseline", {"acc": [1, 2], "ok": [1, 2, 3]})
    found = made.read()
    assert found.metrics[("baseline", 0)] == {"acc": [1, 2], "ok": [1]}
    assert found.metrics[("baseline", 2)] == {"ok": [3]}
    assert "acc has 2 values for 3 replicates" in found.problems[0]


def test_a_pruned_folder_has_its_replicates_counted_by_what_is_left(made: Made) -> None:
    made.results("baseline", {"acc": [1, 2, 3], "loss": [1] * 6}, marked=False)
    found = made.read()
    assert found.replicates == 3
    assert found.metrics[("baseline", 2)] == {"acc": [3], "loss": [1, 1]}
    assert "no metadata say how many replicates there were: 3" in found.problems[0]
    assert found.is_complete


def test_a_condition_without_its_marker_makes_the_run_incomplete(made: Made) -> None:
    made.metadata(replicates=1, id="x").results("baseline", {}).results("t", {}, marked=False)
    assert not made.read().is_complete


def test_versions_are_found_from_the_root_an_experiment_or_one_of_them(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("b/v0", "b/v10", "b/v2", "a/v1", "a/notes", ".views/v0", "c/vx"):
        Made(data / name).results("baseline", {})
    found = [(experiment, version) for experiment, version, _ in folders.find(data)]
    assert found == [("a", 1), ("b", 0), ("b", 2), ("b", 10)]
    assert [v for _, v, _ in folders.find(data / "b")] == [0, 2, 10]
    assert folders.find(data / "b" / "v2") == [("b", 2, data / "b/v2")]
    with pytest.raises(FolderUnreadable, match="holds no runs"):
        folders.find(data / "c")
    with pytest.raises(FolderUnreadable, match="is no folder"):
        folders.find(data / "nothing")


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("metadata.json", "{", "no valid JSON"),
        ("metadata.json", "[]", "no mapping"),
        ("metadata.json", "[" * 100_000, "no valid JSON"),
        ("baseline/results.json", "{}", "no metrics"),
        ("baseline/results.json", '{"metrics": []}', "no metrics"),
        ("baseline/results.json", "\xff", "no valid JSON"),
    ],
)
def test_files_that_are_not_what_they_should_be_are_said(
    made: Made, file: str, text: str, words: str
) -> None:
    made.metadata(replicates=1).results("baseline", {})
    (made.path / file).write_bytes(text.encode("latin-1"))
    with pytest.raises(FolderUnreadable, match=words) as caught:
        made.read()
    assert file in str(caught.value)


def test_metrics_that_no_record_can_hold_are_left_out(made: Made) -> None:
    made.metadata(replicates=1).results("baseline", {"big": [10**40], "odd": 3, "fine": [1.5]})
    found = made.read()
    assert found.metrics == {("baseline", 0): {"fine": [1.5]}}
    assert ["big" in found.problems[0], "odd" in found.problems[1]] == [True, True]


@pytest.mark.parametrize("replicates", [0, -1, 10**9, "3", None, 2.0, True])
def test_a_count_of_replicates_that_cannot_be_is_not_believed(made: Made, replicates: Any) -> None:
    made.metadata(replicates=replicates).results("baseline", {"acc": [1, 2]})
    assert made.read().replicates == 2


def test_links_and_strange_names_are_left_out(made: Made, tmp_path: Path) -> None:
    made.metadata(replicates=1).results("baseline", {"acc": [1]})
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "results.json").write_text('{"metrics": {"stolen": [1]}}')
    (made.path / "linked").symlink_to(secret)
    made.artifact("replicate_0/baseline/Step/real.txt")
    place = made.path / "replicate_0/baseline"
    (place / "Step/link.txt").symlink_to(secret / "results.json")
    (place / "LinkedStep").symlink_to(secret)
    os.mkfifo(place / "Step/pipe")
    made.artifact("replicate_0/replicate_1/Step/x.txt")
    made.artifact("replicate_0/baseline/Step/" + "n" * 230)
    (made.path / "results").mkdir()
    (made.path / "results/results.json").symlink_to(secret / "results.json")
    found = made.read()
    assert found.conditions == ["baseline"]
    assert [f.name for f in found.files[("baseline", 0)]] == ["real.txt"]
    assert len(found.problems) == 6


@given(st.lists(st.integers(), max_size=40), st.integers(1, 12))
def test_what_was_split_is_the_same_put_together(values: list[int], replicates: int) -> None:
    groups = folders.split(values, replicates)
    if groups is None:
        assert not values or len(values) % replicates
    else:
        assert len(groups) == replicates
        assert [value for group in groups for value in group] == values
        assert len({len(group) for group in groups}) == 1
