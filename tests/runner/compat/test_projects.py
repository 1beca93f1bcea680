"""The four documented kinds of experiments give the same on druse, with only the import changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.peer import run_druse, run_peer, with_import_changed

PROJECTS = Path(__file__).parent / "projects"


@pytest.mark.needs("crystallize")
@pytest.mark.parametrize("kind", ["minimal", "csv_pipeline", "dag", "folder"])
def test_a_project_gives_the_same_metrics_once_its_import_is_changed(
    kind: str, tmp_path: Path
) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    shutil.copytree(PROJECTS / kind, theirs)
    with_import_changed(PROJECTS / kind, ours)
    expected = run_peer(theirs / "main.py", cwd=theirs)
    assert run_druse(ours / "main.py", cwd=ours) == expected
