"""How the command line is started, and what it costs to start it."""

from __future__ import annotations

import subprocess
import sys

from support.project import Project


def test_python_m_druse_is_druse(project: Project) -> None:
    command = [sys.executable, "-m", "druse", "run", "missing.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **project.how())
    assert done.returncode == 2
    assert done.stderr.startswith("Error: missing.yaml does not exist")


def test_help_imports_nothing_heavier_than_click(project: Project) -> None:
    program = """
        import sys
        from druse.cli import run_command
        run_command(["--help"])
        heavy = {"lmdb", "numpy", "rich", "yaml", "cloudpickle", "zstandard", "cryptography"}
        print(sorted(heavy & set(sys.modules)), "click" in sys.modules)
    """
    program = "\n".join(line.strip() for line in program.splitlines())
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, **project.how())
    assert done.stdout.splitlines()[-1] == "[] True"
