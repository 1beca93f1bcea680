from __future__ import annotations

from pathlib import Path

import pytest

from support.forked import Forked, Server
from support.oneexp import Exp
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
def forked(tmp_path: Path, server: Server) -> Forked:
    """An empty project folder, whose commands cost little."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text("")
    return Forked(folder, server)


@pytest.fixture
def exp(forked: Forked) -> Exp:
    """A project with one experiment, `exp`."""
    return Exp(forked)
