"""numpy's generator, which is set when numpy is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.project import Project

PROGRAM = """
import sys
from importlib.machinery import PathFinder

class HereOnly:
    def find_spec(self, name, path=None, target=None):
        return PathFinder.find_spec(name, ["."]) if name == "numpy" else None

sys.meta_path.insert(0, HereOnly())
from druse import numpys
numpys.seed(1)
import numpy
numpys.seed(2)
print(list(numpy.__path__))
"""


def test_a_folder_of_data_named_numpy_can_be_imported_where_there_is_no_numpy(
    tmp_path: Path,
) -> None:
    (tmp_path / "numpy").mkdir()
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, **Project(tmp_path).how(None)
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "numpy") in done.stdout or "./numpy" in done.stdout
