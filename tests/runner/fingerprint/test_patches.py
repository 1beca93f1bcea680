"""What user code puts into packages counts for all code: nothing says who meets it there."""

from __future__ import annotations

import textwrap

import pytest

from support.edited import Project

STEP = """
    from fractions import Fraction
    import patching

    def step(x):
        return Fraction(x).double()
"""
MINE = """
    def mine(self, *more):
        return helper(self)

    def helper(x):
        return 2 * x
"""
WAYS = {
    "set on a class": "from fractions import Fraction\nFraction.double = mine",
    "set by name": "import fractions\nsetattr(fractions.Fraction, 'double', mine)",
    "set in a function": (
        "from fractions import Fraction\ndef install():\n    Fraction.double = mine\ninstall()"
    ),
    "a property": "from fractions import Fraction\nFraction.double = property(mine)",
    "a class method": "from fractions import Fraction\nFraction.double = classmethod(mine)",
    "a partial method": (
        "import functools\nfrom fractions import Fraction\n"
        "Fraction.double = functools.partialmethod(mine, 1)"
    ),
    "a wrapper by a package": (
        "import functools\nfrom fractions import Fraction\n"
        "Fraction.double = functools.lru_cache(mine)"
    ),
    "a decorator's closure": (
        "import contextlib\nfrom fractions import Fraction\n"
        "Fraction.double = contextlib.contextmanager(mine)"
    ),
    "a function of a module": "import json\njson.dumps = mine",
    "a constructor": "from decimal import Decimal\nimport collections\ncollections.deque = mine",
    "an instance of a class of one's own": (
        "from fractions import Fraction\n"
        "class Called:\n    def __call__(self, x):\n        return mine(x)\n"
        "Fraction.double = Called()"
    ),
    "a class": (
        "import fractions\n"
        "class Other(fractions.Fraction):\n    def double(self):\n        return mine(self)\n"
        "fractions.Fraction = Other"
    ),
    "a single dispatch of a package": (
        "import pprint, functools, importlib.resources\n"
        "importlib.resources.files = functools.singledispatch(lambda x: x)\n"
        "importlib.resources.files.register(int)(mine)"
    ),
    "how a class is pickled": "import copyreg\nfrom fractions import Fraction\n"
    "copyreg.pickle(Fraction, mine)",
    "an accessor of pandas": (
        "import pandas\n"
        "@pandas.api.extensions.register_dataframe_accessor('own')\n"
        "class Own:\n    def __init__(self, frame):\n        mine(frame)\n"
    ),
    "a constructor of yaml": (
        "import yaml\nyaml.SafeLoader.add_constructor('!mine', lambda *a: mine(a))"
    ),
    "an adapter of a database": (
        "import sqlite3\nclass Own: pass\nsqlite3.register_adapter(Own, mine)"
    ),
    "a reduction in a dictionary of a class": (
        "from multiprocessing.reduction import ForkingPickler\n"
        "class Own: pass\nForkingPickler.register(Own, mine)"
    ),
    "a list of a module": "import bdb\nbdb.hooks = []\nbdb.hooks.append(mine)",
    "a virtual subclass": (
        "import numbers\n"
        "@numbers.Real.register\n"
        "class Own:\n    def __float__(self):\n        return mine(1)\n"
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_put_into_packages_counts(project: Project, way: str) -> None:
    project.write(steps=STEP, patching=MINE)
    without = project.key()
    source = textwrap.dedent(MINE) + "\n" + WAYS[way] + "\n"
    project.write(patching=source)
    before = project.key()
    assert before.digest != without.digest
    assert before.uncacheable is None
    assert project.key().digest == before.digest
    project.write(patching="# a comment\n" + source)
    assert project.key().digest == before.digest
    project.write(patching=source.replace("2 * x", "3 * x"))
    after = project.key()
    assert after.digest != before.digest
    assert "helper" in {name.rpartition(".")[2] for name in after.names("function")}


def test_where_it_is_put_counts(project: Project) -> None:
    project.write(steps=STEP)
    put = "from fractions import Fraction\nfrom decimal import Decimal\n{}.double = lambda x: x\n"
    project.write(patching=put.format("Fraction"))
    before = project.key()
    assert "fractions.Fraction.double" in before.names("patch")
    project.write(patching=put.format("Fraction").replace(".double", ".half"))
    assert project.key().digest != before.digest


@pytest.mark.parametrize(
    "put",
    [
        "import sys\nclass Tee:\n    def __init__(self):\n        self.file = open(__file__)\n"
        "    def write(self, text): pass\n    def flush(self): pass\nsys.stdout = Tee()",
        "import sys\nclass Own(Exception): pass\nsys.last_value = Own()",
        "import builtins\nbuiltins._ = lambda x: x",
        "import gc\ngc.callbacks.append(lambda phase, info: None)",
        "import json\nclass Own: pass\njson.last = Own()",
    ],
)
def test_what_reports_or_is_no_code_is_no_patch(project: Project, put: str) -> None:
    project.write(steps="def step(x): return x", patching="")
    before = project.key(first="import steps, patching")
    project.write(patching=put)
    after = project.key(first="import steps, patching")
    assert (after.digest, after.uncacheable) == (before.digest, None)


def test_what_packages_put_into_each_other_is_no_patch(project: Project) -> None:
    project.write(steps="def step(x): return x")
    before = project.key()
    loaded = "import numpy, pandas, sklearn.svm, joblib, hypothesis, attrs, pydantic"
    assert project.key(first=f"{loaded}\nimport steps").digest == before.digest


def test_what_cannot_be_hashed_makes_code_uncacheable_and_says_where_it_is(
    project: Project,
) -> None:
    project.write(
        steps=STEP,
        patching="""
            from fractions import Fraction

            class Held:
                def __init__(self):
                    self.numbers = (n for n in (1, 2))
                def __call__(self, x):
                    return x

            Fraction.double = Held()
        """,
    )
    assert "fractions.Fraction.double.numbers was set to generator" in project.key().uncacheable


LATER = {
    "a dispatch of a package": (
        "import importlib.resources\nimportlib.resources.as_file.register(complex)(mine)"
    ),
    "an attribute of a wrapper of a package": (
        "import held_by_package\nheld_by_package.call.inner = mine"
    ),
    "an attribute of an object of a package": (
        "import held_by_package\nheld_by_package.plain.inner = mine"
    ),
}


@pytest.mark.parametrize("way", LATER)
def test_what_is_put_into_what_was_looked_through_counts(project: Project, way: str) -> None:
    project.write(steps="def step(x): return x", patching=MINE)
    project.write_file(
        "site-packages/held_by_package.py",
        """
        class Call:
            inner = None
            def __call__(self, x):
                return self.inner(x)
        call = Call()
        class Plain:
            inner = None
        plain = Plain()
        """,
    )
    project.write_file("site-packages/held-1.dist-info/RECORD", "held_by_package.py,,\n")
    looked = (
        f"import sys; sys.path.append({str(project.folder / 'site-packages')!r})\n"
        "import steps, importlib.resources, held_by_package\n"
        "Fingerprinter().closure(steps.step)\n"
        "import patching"
    )
    without = project.key(first=looked)
    source = textwrap.dedent(MINE) + "\n" + LATER[way] + "\n"
    project.write(patching=source)
    before = project.key(first=looked)
    assert before.digest != without.digest
    project.write(patching=source.replace("2 * x", "3 * x"))
    assert project.key(first=looked).digest != before.digest
