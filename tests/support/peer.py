"""Crystallize 0.27.0, in an environment of its own: the same text is run on it and on druse."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.project import SOURCES

VARIABLE = "DRUSE_TEST_CRYSTALLIZE"
_IMPORT = re.compile(r"^(\s*)(from|import) crystallize\b", re.MULTILINE)


def find_peer() -> None:
    """Names the peer's Python where tools/test has installed it, for whoever calls pytest alone."""
    python = Path(__file__).parents[2] / ".venv-crystallize" / "bin" / "python"
    if python.exists():
        os.environ.setdefault(VARIABLE, str(python))


def with_import_changed(folder: Path, copy: Path) -> Path:
    """A copy of programs in which `crystallize` is imported as `druse`: nothing else changes."""
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for path in copy.rglob("*.py"):
        text = path.read_text("utf-8")
        path.write_text(_IMPORT.sub(r"\1\2 druse", text), "utf-8")
    return copy


def run_peer(script: Path, *arguments: str, cwd: Path) -> Any:
    """What a program prints last, as JSON, when the peer's Python runs it."""
    return _run(os.environ[VARIABLE], script, arguments, cwd, {})


def run_druse(script: Path, *arguments: str, cwd: Path) -> Any:
    """The same, with druse."""
    return _run(sys.executable, script, arguments, cwd, {"PYTHONPATH": SOURCES})


def _run(
    python: str, script: Path, arguments: tuple[str, ...], cwd: Path, more: dict[str, str]
) -> Any:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("DRUSE_", "PYTHON"))}
    done = subprocess.run(
        [python, str(script), *arguments],
        cwd=cwd,
        env={**inherited, **more},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{script}: {done.stderr[-4000:]}"
    return json.loads(done.stdout.splitlines()[-1])
