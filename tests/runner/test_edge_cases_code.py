"""What must hit and what must miss, end to end: code is edited between runs of real processes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from textwrap import dedent

import pytest

from support.oneexp import Exp

HELPERS = """
    import far.away
    SCALE = 2

    def scale(x):
        return near(x)

    def near(x):
        return far.away.deep(x)

    def unused(x):
        return x
"""
DEEP = """
    def deep(x):
        return x + 1
"""


@pytest.fixture
def layered(exp: Exp) -> Exp:
    """A step that reaches a helper two calls down, in other modules."""
    exp["helpers.py"] = HELPERS
    exp["far/__init__.py"] = ""
    exp["far/away.py"] = DEEP
    exp.steps(
        """
        from druse import pipeline_step
        import helpers

        @pipeline_step()
        def step(data, ctx):
            return data, {"value": helpers.scale(data)}
        """
    )
    assert exp.misses()
    assert exp.hits()
    return exp


def test_comments_whitespace_formatting_and_moved_lines_hit(layered: Exp) -> None:
    layered["helpers.py"] = "# a comment\n\n\n" + "\n".join(
        f"{line}  # why" if line.strip() else line for line in dedent(HELPERS).split("\n")
    )
    layered.steps(
        """
        # moved down
        from druse import pipeline_step
        import helpers


        @pipeline_step()
        def step(
            data,
            ctx,
        ):
            # what follows
            return (
                data,
                {'value': helpers.scale(data)},
            )
        """
    )
    assert layered.hits()


def test_a_docstring_or_bare_constant_hits_unless_the_code_reads_doc(layered: Exp) -> None:
    layered["far/away.py"] = '''
        """The module."""
        def deep(x):
            """The helper."""
            ...
            return x + 1
    '''
    assert layered.hits()
    layered["far/away.py"] = '''
        def deep(x):
            """one"""
            return x + len(deep.__doc__)
    '''
    assert layered.misses()
    layered.replace("far/away.py", "one", "three")
    assert layered.misses()
    assert layered.value() == 6


@pytest.mark.parametrize(
    "reaching",
    [
        "from far.away import deep\n    return deep(x)",
        "import far.away as other\n    return other.deep(x)",
        "return [far.away.deep(y) for y in [x]][0]",
        "def inner(y):\n        return far.away.deep(y)\n    return inner(x)",
        "return (lambda y: far.away.deep(y))(x)",
        "return far.away.deep(x)",
    ],
)
def test_a_helper_two_calls_down_that_changed_misses(exp: Exp, reaching: str) -> None:
    text = f"import far.away\ndef scale(x):\n    return near(x)\ndef near(x):\n    {reaching}\n"
    exp["helpers.py"] = text
    exp["far/__init__.py"] = ""
    exp["far/away.py"] = DEEP
    exp.step("return data, {'value': helpers.scale(data)}", "import helpers")
    assert exp.value() == 2
    exp.replace("far/away.py", "x + 1", "x + 2")
    assert exp.misses()
    assert exp.value() == 3


def test_an_unreferenced_function_or_global_that_changed_hits(layered: Exp) -> None:
    layered.replace("helpers.py", "SCALE = 2", "SCALE = 3")
    layered.replace("helpers.py", "def unused(x):\n    return x", "def unused(x):\n    return 7")
    layered["far/away.py"] = "LATER = 1\n" + layered["far/away.py"] + "def another(): pass\n"
    assert layered.hits()


def test_a_global_constant_that_is_read_misses_on_its_value(exp: Exp) -> None:
    exp["conf.py"] = "K = 1\nOTHER = 1\n"
    exp.step("return data, {'value': conf.K + LOCAL}", "import conf\nLOCAL = 10")
    assert exp.value() == 11
    exp.replace("conf.py", "OTHER = 1", "OTHER = 2")
    assert exp.hits()
    exp.replace("conf.py", "K = 1", "K = 2")
    assert exp.value() == 12
    exp.replace("exp/steps.py", "LOCAL = 10", "LOCAL = 20")
    assert exp.value() == 22


def test_a_global_that_cannot_be_hashed_is_an_error_that_names_it(exp: Exp) -> None:
    exp["conf.py"] = "ROWS = (x for x in [1])\n"
    exp.step("return data, {'value': next(conf.ROWS)}", "import conf")
    done = exp.druse("run", "exp")
    assert done.status == 2
    assert "ROWS" in done.err and "generator" in done.err and "Traceback" not in done.err


def test_names_that_the_code_rebinds_are_state_and_left_out_with_one_warning(exp: Exp) -> None:
    exp.steps(
        """
        from druse import PipelineStep, pipeline_step
        _model = None

        def model():
            global _model
            if _model is None:
                _model = {"loaded": 5}
            return _model

        class Counting(PipelineStep):
            def __init__(self):
                self.calls = 0
                self.factor = 3

            def __call__(self, data, ctx):
                self.calls += 1
                return data * self.factor

        @pipeline_step()
        def step(data, ctx):
            return data, {"value": data + model()["loaded"]}

        def counting():
            return Counting()
        """,
        names="[counting, step]",
    )
    first = exp.run_one("--replicates", "3")
    assert first["run"] == 3
    assert exp.hits("--replicates", "3")
    warned = exp.druse("run", "exp", "--strategy", "rerun").err
    assert warned.count("_model") == 1
    exp.replace("exp/steps.py", "self.factor = 3", "self.factor = 4")
    assert exp.misses("--replicates", "3")
    program = """
        import steps_module as steps, druse
        made = druse.Experiment(steps.source(), druse.Pipeline([steps.step()]), name="again")
        for _ in range(3):
            found = made.run(strategy="resume")
            print([cell.how for cell in found.cells], steps._model)
    """
    exp["steps_module.py"] = exp["exp/steps.py"] + "\nfrom exp.datasources import source\n"
    lines = exp.python(program).splitlines()
    assert lines == ["['run'] {'loaded': 5}", "['hit'] {'loaded': 5}", "['hit'] {'loaded': 5}"]


def test_a_changed_default_misses_and_the_same_value_made_explicit_hits(exp: Exp) -> None:
    exp.step("return data, {'value': data + k + helper()}", HELPER, takes="k=1")
    assert exp.value() == 7
    exp.config(steps="[{step: {k: 1}}]")
    assert exp.hits()
    exp.config(steps="[step]", treatments="{same: {k: 1}}")
    assert exp.hits()
    exp.config(steps="[step]")
    exp.replace("exp/steps.py", "k=1", "k=2")
    assert exp.value() == 8
    exp.replace("exp/steps.py", "n=5", "n=6")
    assert exp.value() == 9


HELPER = "def helper(n=5):\n    return n"


def test_a_changed_closure_cell_misses(exp: Exp) -> None:
    maker = (
        "def maker(n):\n    def inner(x):\n        return x + n\n    return inner\nadd = maker(1)"
    )
    exp.step("return data, {'value': add(data)}", maker)
    assert exp.value() == 2
    exp.replace("exp/steps.py", "maker(1)", "maker(2)")
    assert exp.value() == 3


def test_a_global_bound_later_is_resolved_when_it_is_called(exp: Exp) -> None:
    text = """
        from druse import pipeline_step

        @pipeline_step()
        def step(data, ctx):
            return data, {"value": later(data) + LATE}

        def later(x):
            return x

        LATE = 1
    """
    exp.steps(text)
    assert exp.value() == 2
    exp.replace("exp/steps.py", "LATE = 1", "LATE = 5")
    assert exp.value() == 6
    exp.replace("exp/steps.py", "LATE = 5", "")
    done = exp.druse("run", "exp")
    assert done.status != 0 and "LATE" in done.err


def test_recursion_and_mutual_imports_end_and_count(exp: Exp) -> None:
    exp["one.py"] = "import two\ndef even(n):\n    return True if n == 0 else two.odd(n - 1)\n"
    exp["two.py"] = "import one\ndef odd(n):\n    return False if n == 0 else one.even(n - 1)\n"
    exp.step("return data, {'value': int(one.even(4))}", "import one")
    assert exp.value() == 1
    assert exp.hits()
    exp.replace("two.py", "False if", "True if")
    assert exp.misses()


def test_functions_in_containers_count_and_computed_names_are_blind_spots_to_declare(
    exp: Exp,
) -> None:
    exp["zoo.py"] = "def hidden(x):\n    return x + 1\n"
    table = "def first(x):\n    return x + 1\nTABLE = {'a': [first]}"
    exp.step("return data, {'value': TABLE['a'][0](data)}", table)
    assert exp.value() == 2
    exp.replace("exp/steps.py", "x + 1", "x + 2")
    assert exp.value() == 3
    name = "import zoo\nNAME = 'hid' + 'den'"
    exp.step("return data, {'value': getattr(zoo, NAME)(data)}", name)
    assert exp.value() == 2
    assert "getattr" in exp.druse("explain", "exp", "--coverage").out
    exp.step(
        "return data, {'value': getattr(zoo, NAME)(data)}", name, flags="depends_on=[zoo.hidden]"
    )
    assert exp.value() == 2
    exp.replace("zoo.py", "x + 1", "x + 2")
    assert exp.value() == 3


def test_code_put_back_as_it_was_hits_the_old_record(layered: Exp) -> None:
    layered.replace("far/away.py", "x + 1", "x + 2")
    assert layered.value() == 3
    layered.replace("far/away.py", "x + 2", "x + 1")
    assert layered.hits()
    assert layered.value() == 2


def test_a_moved_and_renamed_function_hits_and_its_view_and_errors_use_the_new_name(
    exp: Exp,
) -> None:
    text = """
        from druse import pipeline_step, Artifact

        @pipeline_step()
        def old_name(data, ctx, out: Artifact):
            out.write(b"x")
            return data, {"value": 1 / ctx.get("by", 1)}
    """
    outputs = "{out: {file_name: out.txt}}"
    exp.steps(text, names="[old_name]", outputs=outputs, treatments="{bad: {by: 0}}")
    assert exp.run_one()["failed"] == 1
    assert (exp.root / "data/exp/v0/replicate_0/baseline/Old_NameStep/out.txt").exists()
    exp["moved.py"] = exp["exp/steps.py"].replace("old_name", "new_name")
    exp["exp/steps.py"] = "from moved import new_name\n"
    exp.config(steps="[new_name]", outputs=outputs, treatments="{bad: {by: 0}}")
    after = exp.run_one()
    assert (after["hit"], after["failed"]) == (1, 1)
    assert (exp.root / "data/exp/v1/replicate_0/baseline/New_NameStep/out.txt").exists()
    assert "New_NameStep" in exp.druse("show", "exp").out
    exp.config(steps="[new_name]", outputs=outputs)
    assert exp.hits()
    exp["moved.py"] = exp["moved.py"].replace("new_name", "newest")
    exp["exp/steps.py"] = "from moved import newest\n"
    exp.config(steps="[newest]", outputs=outputs)
    latest = exp.run_one()
    assert latest["run"] == 0
    assert (Path(latest["view"]) / "replicate_0/baseline/NewestStep/out.txt").exists()


def test_a_function_has_the_same_key_in_main_imported_and_without_a_file(exp: Exp) -> None:
    exp["model.py"] = """
        import druse

        @druse.data_source
        def source(ctx):
            return 1

        @druse.pipeline_step()
        def step(data, ctx):
            return data, {"value": data + 1}

        def run():
            made = druse.Experiment(source(), druse.Pipeline([step()]), name="model")
            print([cell.how for cell in made.run(strategy="resume").cells])

        if __name__ == "__main__":
            run()
    """
    assert exp.python("import model; model.run()") == "['run']\n"
    assert (
        exp.python("import runpy; runpy.run_path('model.py', run_name='__main__')") == "['hit']\n"
    )
    cell = "import linecache\ntext = open('model.py').read()\nname = '<ipython-input-7-abc>'\n"
    cell += "linecache.cache[name] = (len(text), None, text.splitlines(True), name)\n"
    cell += "exec(compile(text, name, 'exec'), {'__name__': '__main__'})"
    assert exp.python(cell) == "['hit']\n"


def test_a_package_counts_by_its_version_where_it_is_referenced_and_an_editable_one_by_its_code(
    exp: Exp,
) -> None:
    install(exp, "thirdparty", "1.0", "def helper(x):\n    return x + 1\n")
    install(exp, "unrelated", "1.0", "")
    exp.step("return data, {'value': thirdparty.helper(data)}", "import thirdparty, unrelated")
    program = """
        import sys, druse.cli
        sys.path.insert(0, "site-packages")
        druse.cli.run_command(["run", "exp", "-q", "--json"])
    """

    def executed() -> int:
        return json.loads(exp.python(program))["experiments"][0]["run"]

    assert [executed(), executed()] == [1, 0]
    exp["site-packages/thirdparty.py"] = "# the same version\ndef helper(x):\n    return x + 2\n"
    install(exp, "unrelated", "2.0", "")
    assert executed() == 0
    install(exp, "thirdparty", "1.1", "def helper(x):\n    return x + 3\n")
    assert [executed(), executed()] == [1, 0]
    exp["thirdparty.py"] = exp["site-packages/thirdparty.py"]  # found first: a user's own file
    program = program.replace("insert(0,", "append(")
    assert [executed(), executed()] == [1, 0]
    exp.replace("thirdparty.py", "x + 3", "x + 4")
    assert executed() == 1


def install(exp: Exp, name: str, version: str, text: str) -> None:
    folder = exp.root / "site-packages"
    for old in folder.glob(f"{name}-*"):
        shutil.rmtree(old)
    exp[f"site-packages/{name}.py"] = text
    info = f"site-packages/{name}-{version}.dist-info"
    exp[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    exp[f"{info}/RECORD"] = f"{name}.py,,\n{name}-{version}.dist-info/METADATA,,\n"


def test_python_without_assertions_misses_only_where_there_are_some(exp: Exp) -> None:
    def executed() -> int:
        done = exp.slow("run", "exp", "--json", env={"PYTHONOPTIMIZE": "1"})
        return json.loads(done.out)["experiments"][0]["run"]

    exp.step("return data, {'value': data}")
    assert exp.misses()
    assert executed() == 0
    for body in ("assert data\nreturn data", "return data, {'value': int(__debug__)}"):
        exp.step(body)
        assert exp.misses()
        assert executed() == 1
        assert exp.hits()


def test_another_minor_version_of_python_hits_and_is_noted(exp: Exp) -> None:
    exp.step("return data, {'value': data}")
    assert exp.misses()
    program = """
        import types, druse.cli, druse.commit
        druse.commit.platform = types.SimpleNamespace(python_version=lambda: "3.99.0")
        druse.cli.run_command(["run", "exp", "--replicates", "2"])
    """
    assert "1 hit, 1 run" in exp.python(program)
    shown = json.loads(exp.druse("show", "exp", "--json").out)
    noted = [cell["provenance"]["python"] for cell in shown["cells"]]
    assert noted[1] == "3.99.0" and noted[0] != "3.99.0"
