from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.edited import Project, Server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def project(tmp_path: Path, server: Server) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text("")
    return Project(folder, server)
