from __future__ import annotations

from pathlib import Path

import pytest

from support.forked import Forked, Server
from support.project import numbers


@pytest.fixture
def quick(tmp_path: Path, server: Server) -> Forked:
    """As `chained`, with commands that cost little: forked from a process that has druse loaded."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text("")
    made = Forked(folder, server)
    numbers(made)
    return made
