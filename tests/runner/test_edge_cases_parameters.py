"""Which values are the same to a key, end to end: as parameters and as context values."""

from __future__ import annotations

import json
import os

import pytest

from support.forked import Forked
from support.oneexp import Exp

_PROGRAM = """
    import copy, dataclasses, enum, json, logging, os, random, sys
    from pathlib import Path
    import numpy as np
    import druse
    logging.disable()
    {before}

    @druse.data_source
    def source(ctx):
        return 0

    @druse.pipeline_step()
    def given(data, ctx, p=None):
        return 0

    @druse.pipeline_step()
    def read(data, ctx):
        ctx.get("p")
        return 0

    def run(value, how):
        steps = [given(p=value)] if how == "given" else [read()]
        treatments = [] if how == "given" else [druse.Treatment("t", {{"p": value}})]
        made = druse.Experiment(source(), druse.Pipeline(steps), name="p", treatments=treatments)
        return made.run(strategy="resume").cells[-1].how

    print(json.dumps([[run(make(), how) for make in MAKERS] for how in ("given", "read")]))
"""


@pytest.fixture
def values(forked: Forked) -> Values:
    return Values(forked)


class Values:
    """`values("1", "True")`: whether each, in turn, is a value that was there before."""

    def __init__(self, project: Forked) -> None:
        self.project = project

    def __call__(self, *expressions: str, before: str = "") -> list[str]:
        makers = "".join(f"lambda: ({expression}),\n" for expression in expressions)
        whole = f"{before}\nMAKERS = [{makers}]".replace("\n", "\n    ")
        program = _PROGRAM.format(before=whole)
        given, read = json.loads(self.project.python(program, env={"DRUSE_STORE": "s"}))
        assert given == read
        return given


def test_the_order_of_a_dict_hits(values: Values) -> None:
    assert values("{'a': 1, 'b': 2}", "{'b': 2, 'a': 1}") == ["run", "hit"]


def test_the_order_of_a_set_of_mixed_types_hits(exp: Exp) -> None:
    exp.step("return data, {'value': len(p)}", "P = {1, 'a', None, (2, 'b'), b'x'}", takes="p=P")
    for seed, hit in (("1", 0), ("2", 1), ("3", 1)):
        done = exp.slow("run", "exp", "--json", env={"PYTHONHASHSEED": seed})
        assert json.loads(done.out)["experiments"][0]["hit"] == hit


def test_one_true_and_one_point_zero_are_three_keys(values: Values) -> None:
    assert values("1", "True", "1.0", "1") == ["run", "run", "run", "hit"]


def test_negative_zero_is_another_key_and_every_nan_is_one(values: Values) -> None:
    nans = (
        "float('nan')",
        "-float('nan')",
        "np.array([b'\\x01' + b'\\0' * 5 + b'\\xf8\\x7f']).view('f8')[0].item()",
    )
    assert values("0.0", "-0.0", *nans) == ["run", "run", "run", "hit", "hit"]


def test_values_that_share_identity_or_do_not_hit(values: Values) -> None:
    assert values("[X, X]", "[X, copy.copy(X)]", before="X = [1, 2]") == ["run", "hit"]


def test_values_that_only_look_alike_miss(values: Values) -> None:
    expressions = ['("ab", "c")', '("a", "bc")', "[]", "()", "{}", "''", "b''", "set()"]
    assert values(*expressions) == ["run"] * len(expressions)


DATA = """
@dataclasses.dataclass
class Point:
    x: int
    note: str = dataclasses.field(default="", compare=False)
class Colour(enum.Enum):
    RED = 1
    BLUE = 2
def other():
    @dataclasses.dataclass
    class Point:
        x: int
        def added(self): pass
    return Point(1)
"""


def test_dataclasses_and_enums_count_by_class_and_fields_that_are_compared(values: Values) -> None:
    expressions = ["Point(1)", "Point(1, 'another note')", "Point(2)", "other()"]
    assert values(*expressions, before=DATA) == ["run", "hit", "run", "run"]
    assert values("Colour.RED", "Colour.BLUE", "Colour(1)", before=DATA) == ["run", "run", "hit"]


def test_copying_and_pickling_an_instance_leave_its_key_as_it_was(values: Values) -> None:
    expressions = ["Point(1)", "copy.deepcopy(Point(1))", "Point(1)"]
    assert values(*expressions, before=DATA) == ["run", "hit", "hit"]


def test_arrays_count_by_dtype_shape_and_content_in_their_logical_order(values: Values) -> None:
    same = ["A", "np.asfortranarray(A)", "np.tile(A, (1, 2))[:, :3]", "A.copy()"]
    assert values(*same, before="A = np.arange(6).reshape(2, 3)") == ["run", *["hit"] * 3]
    others = ["A.astype('i4')", "A.reshape(3, 2)", "A + 1", "np.array([1, 'a'], object)"]
    assert values(
        *others, "np.array([1, 'a'], object)", before="A = np.arange(6).reshape(2, 3)"
    ) == [
        *["run"] * 4,
        "hit",
    ]


FRAME = """
import pandas as pd
def frame(n=200_000):
    return pd.DataFrame({"a": range(n), "b": [1.5] * n})
"""


def test_frames_count_by_content_names_types_and_index_never_by_a_sample(values: Values) -> None:
    changed = "(lambda f: (f.__setitem__('a', f.a.where(f.a != 123_457, -1)), f)[1])(frame())"
    expressions = ["frame()", "frame().copy()", changed, "frame().rename(columns={'b': 'c'})"]
    assert values(*expressions, before=FRAME) == ["run", "hit", "run", "run"]
    small = [
        "frame(3)",
        "frame(3).astype({'a': 'int32'})",
        "frame(3).rename_axis('named')",
        "frame(3).set_axis([5, 6, 7])",
        "frame(3)[['b', 'a']][['a', 'b']]",
    ]
    assert values(*small, before=FRAME) == ["run", "run", "run", "run", "hit"]


def test_models_with_a_state_dict_count_by_it_and_their_mode_not_by_the_device(
    values: Values,
) -> None:
    pytest.importorskip("torch")
    before = """
import torch
def net(w=1.0):
    made = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(made.weight, w)
    torch.nn.init.constant_(made.bias, 0)
    return made
"""
    expressions = ["net()", "net()", "net(2.0)", "net().eval()"]
    assert values(*expressions, before=before) == ["run", "hit", "run", "run"]


def test_a_path_as_text_is_text_and_an_input_file_is_its_content(exp: Exp) -> None:
    exp["one.txt"], exp["two.txt"] = "same", "same"
    exp.step("return data, {'value': len(p)}", takes="p=''", names="[{step: {p: one.txt}}]")
    assert exp.misses()
    exp["one.txt"] = "changed"
    assert exp.hits()
    declared = "depends_on=[InputFile('one.txt')]"
    exp.step("return data, {'value': 1}", flags=declared)
    assert exp.misses()
    stat = (exp.root / "one.txt").stat()
    os.utime(exp.root / "one.txt")
    assert exp.hits()
    exp["one.txt"] = "Changed"  # as long as before, and as old
    os.utime(exp.root / "one.txt", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert exp.misses()


def test_a_result_is_not_stored_if_an_input_file_changed_while_the_cell_ran(exp: Exp) -> None:
    exp["x.txt"] = "1"
    exp.step(
        """
        value = int(open("x.txt").read())
        if value < 3:
            with open("x.txt", "w") as file:
                file.write(str(value + 1))
        return data, {"value": value}
        """
    )
    first = exp.druse("run", "exp")
    assert "x.txt changed while the cell ran" in first.err
    assert exp.value() == 2
    assert exp.value() == 3
    assert exp.hits()
    exp["x.txt"] = "1"  # as it was when the first one began
    assert exp.misses()


def test_an_environment_variable_counts_where_it_is_declared_and_else_is_a_blind_spot(
    exp: Exp,
) -> None:
    body = "import os\nreturn data, {'value': int(os.environ.get('LEVEL', 0))}"
    exp.step(body)
    assert exp.misses(env={"LEVEL": "1"})
    assert exp.hits(env={"LEVEL": "2"})
    assert "environ" in exp.druse("explain", "exp", "--coverage").out
    exp.step(body, flags="depends_on=[EnvVar('LEVEL')]")
    assert exp.misses(env={"LEVEL": "2"})
    assert exp.hits(env={"LEVEL": "2", "OTHER": "1"})
    assert exp.misses(env={"LEVEL": "3"})
    assert exp.misses()


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        ("(x for x in [1])", "generator"),
        ("open('pyproject.toml')", "open file"),
        ("socket.socket()", "socket"),
    ],
)
def test_generators_files_and_sockets_are_refused_with_the_path_of_the_value(
    exp: Exp, made: str, kind: str
) -> None:
    exp["build.py"] = f"""
        import socket, druse
        from exp.datasources import source

        @druse.pipeline_step()
        def step(data, ctx, outer=None):
            return data

        given = step(outer={{"handle": {made}}})
        made = druse.Experiment(source(), druse.Pipeline([given]), name="e")
        try:
            made.run()
        except druse.DruseError as error:
            print(error)
    """
    said = exp.python("import build").lower()
    assert 'stepstep.params["outer"]["handle"]' in said
    assert kind in said


def test_of_the_context_only_what_is_read_counts(exp: Exp) -> None:
    exp.step(
        "return data, {'value': (ctx.get('opts') or {}).get('a', 0)}",
        treatments="{t: {unread: 1, opts: {a: 1, b: 1}}}",
    )
    assert exp.misses()
    exp.config(treatments="{t: {unread: 2, opts: {a: 1, b: 1}}}")
    assert exp.hits()
    # Keys are whole top-level values, read or not in parts.
    exp.config(treatments="{t: {unread: 2, opts: {a: 1, b: 2}}}")
    after = exp.run_one()
    assert after["executed"] == [["t", 0]]


def test_reading_an_absent_key_is_a_read_and_so_is_adding_one(exp: Exp) -> None:
    exp.step("return data, {'value': ctx.get('late', 5)}", treatments="{t: {other: 1}}")
    assert exp.run_one()["executed"] == [["baseline", 0]]
    exp.config(treatments="{t: {late: 5}}")
    assert exp.run_one()["executed"] == [["t", 0]]
    exp.step("ctx.add('mine', 1)\nreturn data, {'value': 1}", treatments="{t: {other: 1}}")
    assert exp.run_one()["executed"] == [["baseline", 0]]
    exp.config(treatments="{t: {mine: 1}}")
    after = exp.run_one()
    assert after["failed_cells"] == [["t", 0]]
    assert after["hit"] == 1


def test_looking_at_all_keys_reads_all_of_them(exp: Exp) -> None:
    exp.step("return data, {'value': len(ctx.as_dict())}", treatments="{t: {a: 1}}")
    assert exp.misses()
    exp.config(treatments="{t: {b: 1}}")
    assert exp.run_one()["executed"] == [["t", 0]]
    exp.config(treatments="{t: {b: 2}}")
    assert exp.run_one()["executed"] == [["t", 0]]
