# ruff: noqa: E501 - a case is a program on a line
"""What is left out as state, which packages count, and what is said to be out of sight."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from druse.fingerprint import closure
from support.edited import Project

LAZY = """
_model = None
def model():
    global _model
    if _model is None:
        _model = {}
    return _model
def step(x): return model()
"""


def test_a_lazily_loaded_singleton_is_state_and_warned_of_once(project: Project) -> None:
    project.write(steps=LAZY.replace("{}", "open('/dev/null')"))
    before = project.key()
    assert len(before.warnings) == 1 and "steps._model" in before.warnings[0]
    ran = "import steps\nFingerprinter().closure(steps.step)\nsteps.step(1)"
    after = project.key(first=ran)
    assert after.digest == before.digest
    assert after.warnings == before.warnings


def test_what_is_loaded_into_a_singleton_counts_by_its_code(project: Project) -> None:
    project.write(steps=LAZY.replace("{}", "[1]"))
    before = project.key()
    project.write(steps=LAZY.replace("{}", "[2]"))
    assert project.key().digest != before.digest


def test_the_first_value_of_a_counter_counts_but_not_how_far_it_came(project: Project) -> None:
    text = "n = {}\ndef step(x):\n    global n\n    n += 1\n    return n\n"
    project.write(steps=text.format(0))
    before = project.key()
    ran = "import steps\nFingerprinter().closure(steps.step)\nsteps.step(1)"
    assert project.key(first=ran).digest == before.digest
    project.write(steps=text.format(5))
    assert project.key().digest != before.digest


def test_a_global_that_only_code_out_of_reach_rebinds_counts(project: Project) -> None:
    project.write(steps="K = 1\ndef set_k(k):\n    global K\n    K = k\ndef step(x): return K\n")
    before = project.key()
    assert before.warnings == ()
    assert project.key(first="import steps\nsteps.set_k(2)").digest != before.digest


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("conf.model", "import conf\ndef step(x):\n    if not conf.model: conf.model = [x]\n    return conf.model\n"),
        ("C.n", "class C: n = 0\ndef step(x):\n    C.n += 1\n    return C.n\n"),
        ("steps.S.n", "import types\nS = types.SimpleNamespace(n=0)\ndef step(x):\n    S.n += 1\n    return S.n\n"),
        ("f.n", "def f(): f.n += 1\nf.n = 0\ndef step(x):\n    f()\n    return f.n\n"),
    ],
)  # fmt: skip
def test_an_attribute_that_the_code_rebinds_is_state(
    project: Project, name: str, text: str
) -> None:
    project.write(steps=text, conf="model = None")
    before = project.key()
    ran = "import steps\nFingerprinter().closure(steps.step)\nsteps.step(1)\nsteps.step(2)"
    after = project.key(first=ran)
    assert after.digest == before.digest
    assert len(before.warnings) == 1 and name in before.warnings[0]


STEP = """
class Step:
    def __init__(self, k, start=0):
        self.k = k
        self.calls = 0
        self.model = None
    def __call__(self, x):
        self.calls += 1
        self.prepare(x)
        return self.model, self.k, self.calls
    def prepare(self, x):
        self.model = [x, self.k]
        if not hasattr(self, "table"):
            self.table = [self.k]
step = Step(3)
"""


def test_attributes_that_a_step_rebinds_when_it_is_called_are_state(project: Project) -> None:
    project.write(steps=STEP)
    before = project.key()
    ran = "import steps\nFingerprinter().closure(steps.step)\nsteps.step(1)\nsteps.step(2)"
    after = project.key(first=ran)
    assert after.digest == before.digest
    assert {w.partition(" is ")[0] for w in before.warnings} == {"Step.calls", "Step.model"}
    project.write(steps=STEP.replace("Step(3)", "Step(4)"))
    assert project.key().digest != before.digest


def test_an_attribute_that_only_code_out_of_reach_rebinds_counts(project: Project) -> None:
    text = """
    class Step:
        def __init__(self): self.model = None
        def load(self, path): self.model = path
        def __call__(self, x): return self.model
    step = Step()
    step.load({})
    """
    project.write(steps=textwrap.dedent(text).format(1))
    before = project.key()
    project.write(steps=textwrap.dedent(text).format(2))
    assert project.key().digest != before.digest


def test_the_state_of_an_object_that_code_reads_counts_even_if_methods_set_it(
    project: Project,
) -> None:
    text = (
        "class M:\n    def fit(self, x): self.w = x; return self\n    def p(self): return self.w\n"
    )
    text += "m = M().fit({})\ndef step(x): return m.p()\n"
    project.write(steps=text.format(1))
    before = project.key()
    project.write(steps=text.format(2))
    assert project.key().digest != before.digest


def test_a_cached_property_and_a_cache_do_not_count_for_what_they_hold(project: Project) -> None:
    text = """
    import functools
    class C:
        def __init__(self): self.k = 1
        @functools.cached_property
        def p(self): return [self.k]
    c = C()
    @functools.lru_cache(maxsize=7)
    def f(x): return x
    def step(x): return c.p, f(x)
    """
    project.write(steps=textwrap.dedent(text))
    before = project.key()
    ran = "import steps\nsteps.step(1)"
    assert project.key(first=ran).digest == before.digest


CACHES = {
    "a dict of the module": "C = {}\ndef step(x):\n    if x not in C: C[x] = [x]\n    return C[x]\n",
    "a list of another module": "import conf\ndef step(x):\n    conf.C.append(x)\n    return conf.C\n",
    "an attribute of an object": (
        "class A:\n    def __init__(self): self.c = {}\n    def get(self, x): return self.c.setdefault(x, [x])\n"
        "a = A()\ndef step(x): return a.get(x)\n"),
    "an attribute of the step": (
        "class A:\n    def __init__(self): self.c = []\n    def __call__(self, x): self.c.append(x); return self.c\n"
        "step = A()\n"),
    "an instance kept in its class": (
        "class A:\n    one = None\n    def __new__(cls):\n        if cls.one is None: cls.one = super().__new__(cls)\n"
        "        return cls.one\ndef step(x): return A().one\n"),
    "instances kept by a metaclass": (
        "class M(type):\n    kept = {}\n    def __call__(cls):\n        if cls not in cls.kept: cls.kept[cls] = super().__call__()\n"
        "        return cls.kept[cls]\nclass A(metaclass=M): pass\ndef step(x): return A()\n"),
    "a count kept in the class": (
        "class A:\n    n = 0\n    def __init__(self): type(self).n += 1\ndef step(x): return A().n\n"),
    "a count kept in the class by the object": (
        "class A:\n    n = 0\n    def __init__(self): self.__class__.n += 1\ndef step(x): return A().n\n"),
}  # fmt: skip


@pytest.mark.parametrize("what", CACHES)
def test_a_cache_that_was_empty_at_first_is_state(project: Project, what: str) -> None:
    project.write(steps=CACHES[what], conf="C = []")
    before = project.key()
    assert (
        project.key(first="import steps\nFingerprinter().closure(steps.step)\nsteps.step(1)").digest
        == before.digest
    )
    fresh = project.key(first="import steps\nsteps.step(1)")  # what is there before counts
    assert (fresh.digest != before.digest) == (fresh.warnings != () or "empty" not in what)


def test_a_registry_counts_by_its_content_though_reached_code_fills_it(project: Project) -> None:
    text = (
        "R = {}\ndef register(f):\n    R[f.__name__] = f\n    return f\n"
        "def step(x):\n    register(x)\n    return R['a']\n"
    )
    more = "\n@register\ndef a(): return {}\n"
    project.write(steps=text + more.format(1))
    before = project.key()
    project.write(steps=text + more.format(2))
    assert project.key().digest != before.digest
    project.write(steps=text, more="from steps import register\n@register\ndef a(): return 1\n")
    late = "import steps\nFingerprinter().closure(steps.step)\nimport more"
    assert project.key(first=late).digest != project.key().digest


def test_the_folder_of_the_project_does_not_count(project: Project, tmp_path: Path) -> None:
    text = """
    import os
    from pathlib import Path
    HERE = Path(__file__).parent
    DATA = HERE / "data" / "{}.csv"
    TEXT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")
    def step(x): return HERE, DATA, TEXT
    """
    project.write(steps=text.format("a"))
    before = project.key()
    project.folder = project.folder.rename(tmp_path / "elsewhere")
    assert project.key().digest == before.digest
    project.write(steps=text.format("b"))
    assert project.key().digest != before.digest


def helper_of_a_test(x: int) -> int:
    assert x  # rewritten by the test runner
    return x


def test_functions_of_a_test_module_have_source() -> None:
    key = closure(lambda x: helper_of_a_test(x) + 1)
    assert key.uncacheable is None
    assert {c.name.rpartition(".")[2] for c in key.components} == {"<lambda>", "helper_of_a_test"}


STARTED = """
import os, pathlib, subprocess, sys
pathlib.Path("module.py").write_text("def f():\\n    return 1\\n")
show = "from druse.fingerprint import compiled; print(compiled.unchanged_since_start('module.py'))"
import time; time.sleep(0.2)
print(subprocess.run([sys.executable, "-c", show], capture_output=True, text=True).stdout)
if not os.fork():
    exec(show)
    sys.exit()
os.wait()
"""


def test_a_file_may_be_older_than_a_program_that_the_writer_of_it_started(tmp_path: Path) -> None:
    """Not than one that was forked: it may have been imported before, and changed."""
    done = subprocess.run(
        [sys.executable, "-c", STARTED], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "False"]


# --- packages --------------------------------------------------------------------------------


def install(
    folder: Path, name: str, version: str, text: str, *, editable: Path | None = None
) -> Path:
    """Lays a distribution out as an installer does. Its folder of packages is returned."""
    site = folder / "lib" / "site-packages"
    info = site / f"{name}-{version}.dist-info"
    for old in site.glob(f"{name}-*.dist-info"):
        for file in old.iterdir():
            file.unlink()
        old.rmdir()
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nK\n"
    )
    record = f"{name}-{version}.dist-info/METADATA,,\n"
    if editable is None:
        (site / name).mkdir(exist_ok=True)
        (site / name / "__init__.py").write_text(text)
        record += f"{name}/__init__.py,sha256={hash(text)},10\n"
    else:
        (editable / f"{name}.py").write_text(text)
    (info / "RECORD").write_text(record)
    return site


def test_the_versions_of_packages_that_are_referred_to_count(
    project: Project, tmp_path: Path
) -> None:
    project.path = [str(install(tmp_path, "first", "1.0", "def f(x): return x\n"))]
    install(tmp_path, "second", "1.0", "def f(x): return x\n")
    project.write(steps="import first, second\ndef step(x): return first.f(x)\n")
    before, ignored = project.key(), project.key(packages="ignore")
    assert [c[1::4] for c in before.components if c[0] == "package"] == [("first", "1.0")]
    install(tmp_path, "first", "1.0", "def f(x): return x + 1\n")
    install(tmp_path, "second", "2.0", "")
    assert project.key().digest == before.digest  # its version says what it is
    install(tmp_path, "first", "1.1", "def f(x): return x + 1\n")
    assert project.key().digest != before.digest
    assert project.key(packages="ignore").digest == ignored.digest


@pytest.mark.parametrize(
    "text",
    [
        "from first import f\ndef step(x): return f(x)\n",
        "def step(x):\n    import first\n    return first.f(x)\n",
        "def step(x):\n    from first import f\n    return f(x)\n",
        "import first\nclass C(first.C): pass\ndef step(x): return C()\n",
        "import first\nc = first.C()\ndef step(x): return c\n",
        "import first\n@first.deco\ndef step(x): return x\n",
        "import first\ndef helper(x): return first.f\ndef step(x): return helper(x)\n",
        "import functools, first\nstep = functools.partial(first.f, 1)\n",
    ],
)
def test_a_package_counts_however_it_is_referred_to(
    project: Project, tmp_path: Path, text: str
) -> None:
    package = "def f(x): return x\nclass C: pass\ndef deco(g):\n    def w(*a): return g(*a)\n    return w\n"
    project.path = [str(install(tmp_path, "first", "1.0", package))]
    project.write(steps=text)
    before = project.key()
    assert before.names("package") == {"first"} and before.uncacheable is None
    install(tmp_path, "first", "1.1", package)
    assert project.key().digest != before.digest


def test_what_a_package_decorates_counts_with_it(project: Project, tmp_path: Path) -> None:
    package = "import functools\ndef deco(n):\n    def d(g):\n        @functools.wraps(g)\n        def w(*a): return g(*a) * n\n        return w\n    return d\n"
    project.path = [str(install(tmp_path, "first", "1.0", package))]
    text = "import first\n@first.deco({})\ndef step(x): return x + {}\n"
    keys = set()
    for values in ((1, 1), (1, 2), (2, 1)):
        project.write(steps=text.format(*values))
        keys.add(project.key().digest)
    assert len(keys) == 3


def test_an_editable_installation_is_user_code(project: Project, tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    site = install(tmp_path, "mine", "1.0", "def f(x): return 1\n", editable=source)
    project.path = [str(site), str(source)]
    project.write(steps="import mine\ndef step(x): return mine.f(x)\n")
    before = project.key()
    (source / "mine.py").write_text("def f(x): return 2\n")
    assert project.key().digest != before.digest


def test_what_was_installed_from_a_folder_counts_by_its_files(
    project: Project, tmp_path: Path
) -> None:
    site = install(tmp_path, "mine", "1.0", "def f(x): return 1\n")
    project.path = [str(site)]
    (site / "mine-1.0.dist-info" / "direct_url.json").write_text('{"url": "file:///src"}')
    project.write(steps="import mine\ndef step(x): return mine.f(x)\n")
    before = project.key()
    record = site / "mine-1.0.dist-info" / "RECORD"
    record.write_text(record.read_text().replace("sha256=", "sha256=9"))
    assert project.key().digest != before.digest


def test_the_real_name_of_a_distribution_is_found(project: Project) -> None:
    project.write(
        steps="from sklearn.svm import SVC\nimport yaml\ndef step(x): return SVC(), yaml.load(x)\n"
    )
    assert project.key().names("package") == {"scikit-learn", "pyyaml"}


def test_an_extension_module_of_the_users_counts_by_its_file(project: Project) -> None:
    import _ctypes_test

    built = Path(_ctypes_test.__file__)
    name = "built" + built.name.partition("_ctypes_test")[2]
    (project.folder / name).write_bytes(built.read_bytes())
    spec = (
        "import importlib.util, sys, glob\n"
        "s = importlib.util.spec_from_file_location('_ctypes_test', glob.glob('built*')[0])\n"
        "m = importlib.util.module_from_spec(s)\nsys.modules['_ctypes_test'] = m\n"
        "s.loader.exec_module(m)\nimport steps"
    )
    project.write(steps="import _ctypes_test\ndef step(x): return _ctypes_test.func(x)\n")
    before = project.key(first=spec)
    with (project.folder / name).open("ab") as stream:
        stream.write(b"\0")
    assert project.key(first=spec).digest != before.digest


# --- blind spots -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return os.environ['A']", "reads the environment"),
        ("return environ.get('A')", "reads the environment"),
        ("return os.getenv('A')", "reads the environment"),
        ("return getattr(helpers, x)()", "computed name"),
        ("return eval(x)", "evaluates code"),
        ("return importlib.import_module(x)", "computed names"),
        ("return subprocess.run(x)", "another program"),
        ("return requests.get(x)", "network"),
        ("import urllib.request\n    return urllib.request.urlopen(x)", "network"),
        ("return sqlite3.connect(x)", "database"),
        ("return pyarrow.memory_map(x)", "InputFile"),
    ],
)
def test_what_a_key_cannot_see_is_said_with_its_place(
    project: Project, body: str, said: str
) -> None:
    head = "import os, importlib, subprocess, sqlite3, helpers, requests\nfrom os import environ\nimport pyarrow\n"
    project.write(
        steps=f"{head}def deep(x):\n    {body}\ndef step(x): return deep(x)\n", helpers=""
    )
    spots = project.key().blind_spots
    assert any(said in spot for spot in spots), spots
    assert all(spot.startswith("steps.py:") for spot in spots if said in spot)


def test_what_a_thread_has_for_itself_is_a_blind_spot(project: Project) -> None:
    head = "import threading\nown = threading.local()\nown.x = 1\n"
    project.write(steps=f"{head}def step(x): return own.x\n")
    assert any("from thread to thread" in spot for spot in project.key().blind_spots)


def test_a_reader_of_a_package_that_is_imported_later_is_no_blind_spot(project: Project) -> None:
    project.write(steps="def step(x):\n    import polars as pl\n    return pl.read_csv(x)\n")
    assert not project.key().blind_spots


def test_a_module_that_is_passed_on_counts_as_a_whole(project: Project) -> None:
    project.write(
        steps="import helpers\ndef step(x): return getattr(helpers, x)()\n",
        helpers="def f(): return 1\n",
    )
    before = project.key()
    project.write(helpers="def f(): return 2\n")
    assert project.key().digest != before.digest


@pytest.mark.parametrize(
    ("head", "call"),
    [
        ("import pandas as pd", "pd.read_parquet(x)"),
        ("from pandas import read_parquet", "read_parquet(x)"),
        ("import polars as pl", "pl.scan_csv(x)"),
        ("from polars import scan_csv", "scan_csv(x)"),
        ("from pyarrow.csv import read_csv", "read_csv(x)"),
        ("from pyarrow.parquet import ParquetFile", "ParquetFile(x)"),
    ],
)
def test_keys_are_what_they_would_be_without_and_it_is_no_blind_spot(
    project: Project, head: str, call: str
) -> None:
    project.write(steps=f"{head}\ndef step(x): return {call}\n")
    found = project.key(first="from druse import imports\nimports.install()\nimport steps")
    without = project.key()
    assert found.digest == without.digest
    assert not found.uncacheable
    assert not found.blind_spots
    assert "InputFile" in str(without.blind_spots)
