"""What the guide in the README shows works as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from support.forked import Forked, Server
from support.peer import run_druse

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
GUIDE = README[README.index("## Guide") :]
FILE = re.compile(r"```(?:yaml|python)\n# (\S+\.(?:yaml|py))\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"^\$ (druse [^#\n]*)", re.MULTILINE)


def section(title: str) -> str:
    return GUIDE.split(f"### {title}\n")[1].split("\n### ")[0]


def commands(title: str) -> list[list[str]]:
    """Those of a section that need no server: their arguments."""
    found = [shlex.split(line)[1:] for line in COMMAND.findall(section(title))]
    assert found
    return [each for each in found if "tcp://" not in str(each)]


@pytest.fixture
def project(tmp_path: Path, server: Server) -> Forked:
    for name, text in FILE.findall(GUIDE):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "pyproject.toml").write_text("")
    return Forked(tmp_path, server)


def test_the_experiments_run_and_are_chained(project: Forked) -> None:
    found = project.run("experiments/fit")["fit"]
    assert (found["hit"], found["run"]) == (0, 20)
    found = project.run("experiments/summary")
    assert found["fit"]["hit"] == 20
    assert (found["summary"]["run"], found["summary"]["failed"]) == (20, 0)


def test_the_commands_about_resuming_and_running_side_by_side_work(project: Forked) -> None:
    assert project.druse("run", "experiments/summary").status == 0
    for title in ("Resume, and know why", "Parallel, and on a cluster"):
        for arguments in commands(title):
            done = project.druse(*arguments)
            assert done.status == 0, done


def test_the_program_in_python_runs(project: Forked) -> None:
    assert len(run_druse(project.root / "fit.py", cwd=project.root)) == 10
