"""druse.yaml: found upward, read strictly, with an error that names the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from druse import project
from druse.errors import ConfigError
from support.project import Project


def test_without_a_file_everything_is_as_usual(tmp_path: Path) -> None:
    found = project.load(tmp_path)
    assert (found.file, found.views, found.packages, found.remote) == (None, "full", "used", None)
    assert list(found.retention) == []


def test_the_nearest_file_upward_is_the_one(tmp_path: Path) -> None:
    (tmp_path / "druse.yaml").write_text("views: none\n")
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert project.load(inner).views == "none"
    (tmp_path / "a" / "druse.yaml").write_text("remote: team\nretention: {keep_last: 3}\n")
    found = project.load(inner)
    assert found.file == tmp_path / "a" / "druse.yaml"
    assert (found.views, found.remote) == ("full", "team")
    assert found.retention.whole("keep_last") == 3


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "druse.yaml").write_text("# nothing yet\n")
    assert project.load(tmp_path).views == "full"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("view: full", "view is not a setting (did you mean 'views'?)"),
        (
            "colour: red",
            "colour is not a setting (known: packages, remote, remote_timeouts, retention, views)",
        ),
        ("views: some", "views has to be one of full, metrics, none, and not 'some'"),
        ("packages: all", "packages has to be one of used, ignore"),
        ("remote: 3", "remote has to be text, and not 3"),
        ("remote_timeouts: {request: 0}", "remote_timeouts.request has to be a number of seconds"),
        ("remote_timeouts: {total: .inf}", "remote_timeouts.total has to be a number of seconds"),
        ("remote_timeouts: {reqest: 3}", "did you mean 'request'?"),
        ("retention: 5", "retention has to be a mapping of settings, and not 5"),
        ("views: [", "is no valid YAML"),
        ("- views", "has to be a mapping with the settings"),
        ("views: \xff", "cannot be read"),
    ],
)
def test_what_is_not_understood_is_an_error(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "druse.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        project.load(tmp_path)
    assert words in str(caught.value)
    assert str(tmp_path / "druse.yaml") in str(caught.value)


def test_settings_of_a_section_are_asked_for_by_kind(tmp_path: Path) -> None:
    (tmp_path / "druse.yaml").write_text("retention: {keep_last: 0, deep: {keep_las: 1}}\n")
    retention = project.load(tmp_path).retention
    with pytest.raises(ConfigError, match=r"retention\.keep_last has to be a whole number from 1"):
        retention.whole("keep_last", least=1)
    with pytest.raises(ConfigError, match=r"retention\.deep\.keep_las is not a setting"):
        retention.section("deep").allow("keep_last")
    assert retention.whole("other") is None
    assert "deep" in retention


def test_views_are_exported_as_the_project_says(chained: Project) -> None:
    chained["druse.yaml"] = "views: none\n"
    chained.run("draw")
    assert not (chained.root / "data").exists()
    chained["druse.yaml"] = "views: metrics\n"
    assert chained.run("draw")["draw"]["hit"] == 9
    view = chained.root / "data/draw/v0"
    assert (view / "baseline/results.json").exists()
    assert not list(view.glob("replicate_*"))
    chained["druse.yaml"] = "views: sme\n"
    done = chained.druse("run", "draw")
    assert done.status == 2
    assert "views has to be one of" in done.err
