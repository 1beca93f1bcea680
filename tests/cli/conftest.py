from __future__ import annotations

from pathlib import Path

import pytest

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
