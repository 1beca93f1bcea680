from __future__ import annotations

from pathlib import Path

import pytest

from support.forked import Forked, Server
from support.project import Project, numbers


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project folder."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "pyproject.toml").write_text("")
    return Project(tmp_path / "project")


@pytest.fixture
def chained(project: Project) -> Project:
    """A project with two chained experiments."""
    numbers(project)
    return project


@pytest.fixture
def quick(tmp_path: Path, server: Server) -> Forked:
    """As `chained`, with commands that cost little: forked from a process that has druse loaded."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text("")
    made = Forked(folder, server)
    numbers(made)
    return made
