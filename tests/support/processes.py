"""Another Python process, with this checkout's packages."""

import os
import subprocess
import sys
from pathlib import Path

import druse_store


def run_python(program: str, *arguments: str, path: Path | None = None) -> str:
    store = Path(druse_store.__file__).parents[1]
    entries = [str(path)] * (path is not None) + [str(store)]
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entries)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
