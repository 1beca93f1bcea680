"""The demo: the main job, right through, on real data."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.project import SOURCES

DEMO = Path(__file__).parents[1] / "tools" / "demo"


def test_the_demo_runs_resumes_and_executes_only_what_changed(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, str(DEMO), "--here", "--keep", str(folder)],
        env={**os.environ, "PYTHONPATH": SOURCES},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "0 cells were executed." in done.stdout
    assert "Only soft_margin, and what depends on it, was executed." in done.stdout
    assert (folder / "data/report/v1/.crystallize_complete").exists()
