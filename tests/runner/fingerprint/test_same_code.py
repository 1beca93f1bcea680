"""The same code has the same key: under other names, in other places, in any process."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from support.edited import Project, environment

STEP = """
import numpy as np
from dataclasses import dataclass

@dataclass
class Config:
    lr: float = 0.1

class Model:
    def __init__(self, config): self.config = config
    def fit(self, x): return scale(x) * self.config.lr

def scale(x): return x / np.linalg.norm(x) * FACTOR

FACTOR = 3
NAMES = {"a", "b", "c", 1, None}
TABLE = {"scale": scale, "model": Model}

def step(x, k=2):
    from math import sqrt
    return Model(Config()).fit(x) + sqrt(k) + len(NAMES) + len(TABLE)
"""


def test_a_function_that_is_moved_hits(project: Project) -> None:
    project.write(
        steps="from old import helper\ndef step(x): return helper(x)\n",
        old="K = 1\ndef helper(x): return inner(x) + K\ndef inner(x): return x\n",
    )
    before = project.key()
    project.write(
        steps="import pkg.new\ndef step(x): return pkg.new.helper(x)\n",
        pkg__new="from pkg.deep.other import inner\nK = 1\ndef helper(x): return inner(x) + K\n",
        pkg__deep__other="def inner(x): return x\n",
    )
    (project.folder / "old.py").unlink()
    assert project.key().digest == before.digest


def test_a_function_that_is_renamed_hits(project: Project) -> None:
    text = "C = 1\ndef helper(x): return C if x else helper(x - 1)\ndef step(x): return helper(x)\n"
    project.write(steps=text)
    before = project.key()
    project.write(steps=text.replace("helper", "assistant").replace("C", "LIMIT"))
    after = project.key()
    assert after.digest == before.digest
    assert after.names("function") == {"assistant", "step"}
    project.write(steps=text.replace("step", "process"))
    assert project.key("steps.process").digest == before.digest


def test_a_renamed_class_hits_only_where_it_is_a_step(project: Project) -> None:
    """`except`, `isinstance` and pickles tell classes apart that have the same body."""
    text = "class A:\n    def m(self): return 1\ndef step(x): return A().m()\n"
    project.write(steps=text)
    before = project.key()
    project.write(steps=text.replace("A", "B"))
    assert project.key().digest != before.digest
    text = "import druse\nclass A(druse.PipelineStep):\n    def __call__(self, d, ctx): return 1\n"
    project.write(steps=text)
    before = project.key("steps.A")
    project.write(steps=text.replace("A(", "B("))
    assert project.key("steps.B").digest == before.digest


def test_mutually_recursive_functions_that_are_renamed_and_moved_hit(project: Project) -> None:
    project.write(
        steps="def even(n): return n == 0 or odd(n - 1)\n"
        "def odd(n): return n != 0 and even(n - 1)\ndef step(n): return even(n)\n"
    )
    before = project.key()
    project.write(
        a="import b\ndef g(n): return n == 0 or b.u(n - 1)\n",
        b="import a\ndef u(n): return n != 0 and a.g(n - 1)\n",
        steps="import b, a\ndef step(n): return a.g(n)\n",
    )
    assert project.key().digest == before.digest


def fresh(project: Project, seed: int, *program: str) -> dict:
    """Runs a program that prints a key as JSON, in a new interpreter."""
    done = subprocess.run(
        [sys.executable, *program],
        env={**environment(), "PYTHONHASHSEED": str(seed)},
        cwd=project.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


PRINT = """
import json, sys
from druse.fingerprint import closure
found = closure({})
print(json.dumps([found.digest.hex(), found.uncacheable, sorted(c.name for c in found.components)]))
"""


def test_any_hash_seed_imported_or_main_gives_the_same_key(project: Project) -> None:
    project.write(steps=STEP, run=STEP + PRINT.format("step"))
    expected = project.key()
    assert expected.uncacheable is None
    imported = "import steps\n" + PRINT.format("steps.step")
    project.write(imported=imported)
    for seed, program in ((1, ("imported.py",)), (2, ("run.py",)), (3, ("-m", "run"))):
        digest, uncacheable, names = fresh(project, seed, *program)
        assert (digest, uncacheable) == (expected.digest, None), program
        assert "FACTOR" in str(names)


def test_a_notebook_cell_gives_the_same_key_whatever_its_number(project: Project) -> None:
    """Runs a real notebook in a real kernel."""
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    project.write(steps=STEP)
    head, cls, rest = STEP.partition("class Model")
    v4 = nbformat.v4
    cells = [head, "1 + 1", cls + rest, "%time x = 1\n" + PRINT.format("step"), cls + rest]
    cells += [PRINT.format("step"), "f = lambda x: x + 1; g = lambda x: x + 2", PRINT.format("g")]
    notebook = v4.new_notebook(cells=[v4.new_code_cell(text) for text in cells])
    saved = dict(os.environ)
    os.environ.update(environment())
    try:
        nbclient.NotebookClient(
            notebook, timeout=60, resources={"metadata": {"path": str(project.folder)}}
        ).execute()
    finally:
        os.environ.clear()
        os.environ.update(saved)
    printed = [
        json.loads(line)
        for cell in notebook.cells
        for output in cell.outputs
        for line in output.get("text", "").splitlines()
        if line.startswith("[")
    ]
    expected = project.key()
    assert [found[:2] for found in printed[:2]] == [[expected.digest, None]] * 2
    project.write(steps="step = lambda x: x + 2\n")
    assert printed[2][:2] == [project.key().digest, None]


def test_a_doctest_or_interactive_cell_with_its_source_at_hand_is_like_a_file(
    project: Project,
) -> None:
    project.write(steps="def step(x): return x\n")
    text = "def step(x): return x\n"
    first = (
        "import linecache, types\n"
        f"linecache.cache['<cell 7>'] = (1, None, [{text!r}], '<cell 7>')\n"
        f"steps = types.SimpleNamespace()\nexec(compile({text!r}, '<cell 7>', 'exec'), vars(steps))"
    )
    key = project.key(first=first)
    assert (key.digest, key.uncacheable) == (project.key().digest, None)


def test_the_order_of_definitions_and_of_class_members_does_not_count(project: Project) -> None:
    a, b = "    def a(self): return 1\n", "    def b(self): return 2\n"
    project.write(steps=f"class C:\n{a}{b}def step(x): return C()\n")
    before = project.key()
    project.write(steps=f"def step(x): return C()\nclass C:\n{b}{a}")
    assert project.key().digest == before.digest


def test_how_the_standard_library_is_imported_does_not_count(project: Project) -> None:
    ways = (
        "import math\ndef step(x): return math.sqrt(x)\n",
        "import math as m\ndef step(x): return m.sqrt(x)\n",
        "from math import sqrt\ndef step(x): return sqrt(x)\n",
        "def step(x):\n    import math\n    return math.sqrt(x)\n",
        "def step(x):\n    from math import sqrt as root\n    return root(x)\n",
    )
    keys = set()
    for way in ways:
        project.write(steps=way)
        keys.add(project.key().digest)
    assert len(keys) == 1


def test_a_local_annotation_does_not_count(project: Project) -> None:
    project.write(steps="def step(x):\n    y = 1\n    return y\n")
    before = project.key()
    project.write(steps="def step(x):\n    y: int = 1\n    z: str\n    return y\n")
    assert project.key().digest == before.digest


def test_which_package_is_loaded_meanwhile_does_not_count(project: Project) -> None:
    project.write(steps="import scipy\ndef step(x): return scipy.stats.norm.pdf(x)\n")
    before = project.key()
    assert project.key(first="import steps, scipy.stats, sklearn").digest == before.digest


def test_a_thing_of_the_standard_library_has_its_public_name(project: Project) -> None:
    """Where it is defined differs between versions of Python, and between systems."""
    text = "from pathlib import Path\nfrom os.path import join\nfrom io import StringIO\n"
    project.write(steps=text + "def step(x): return Path(x), join(x), StringIO(x)\n")
    before = project.key()
    project.write(
        steps="import pathlib, os, io\n"
        "def step(x): return pathlib.Path(x), os.path.join(x), io.StringIO(x)\n"
    )
    assert project.key().digest == before.digest
