from __future__ import annotations

from pathlib import Path

import pytest

from support.forked import Forked, Server
from support.oneexp import Exp


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
