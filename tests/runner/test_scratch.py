"""Folders of processes: removed with their process, or once it is dead."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from druse.scratch import Scratch
from support.project import SOURCES

HOLDER = """
from druse.scratch import Scratch
mine = Scratch()
(mine.path / "file").write_text("x")
print(mine.path, flush=True)
input()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def holder(temporary: Path) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": SOURCES, "TMPDIR": str(temporary)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_what_a_killed_process_left_is_removed_by_the_next_and_what_lives_is_not(
    holder: subprocess.Popen[str], temporary: Path
) -> None:
    assert holder.stdout is not None
    theirs = Path(holder.stdout.readline().strip())
    assert theirs.parent == temporary
    Scratch().remove()
    assert (theirs / "file").exists()
    holder.kill()
    holder.wait()
    mine = Scratch()
    assert list(temporary.iterdir()) == [mine.path]
    mine.remove()
    assert not list(temporary.iterdir())


def test_folders_that_are_not_of_this_kind_are_left_alone(temporary: Path) -> None:
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "held").write_text("")
    (temporary / "druse-link").symlink_to(elsewhere)
    (temporary / "druse-mine" / "steps").mkdir(parents=True)
    (temporary / "druse-odd").mkdir()
    (temporary / "druse-odd" / "held").symlink_to(elsewhere / "held")
    (temporary / "druse-file").write_text("")
    before = set(temporary.rglob("*"))
    Scratch().remove()
    assert set(temporary.rglob("*")) == before
