"""No transaction is open while anything of the user's runs."""

from __future__ import annotations

from support.oneexp import Exp

# Notes each function of the project that is called while a snapshot of the index is open.
WATCHED = """
    import os, sys
    from druse_store.index.snapshot import Snapshot

    is_open, calls, within = [], set(), set()
    enter, leave = Snapshot.__enter__, Snapshot.__exit__

    def entered(self):
        is_open.append(self)
        return enter(self)

    def left(self, *args):
        if self in is_open:
            is_open.remove(self)
        return leave(self, *args)

    Snapshot.__enter__, Snapshot.__exit__ = entered, left

    def look(frame, event, arg):
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(os.getcwd()) and not file.endswith("program.py"):
            calls.add(frame.f_code.co_name)
            if is_open:
                within.add(f"{file}:{frame.f_code.co_name}")

    sys.setprofile(look)
    import made
    found = made.made().run(strategy="resume")
    sys.setprofile(None)
    assert not found.errors
    print(sorted(calls), sorted(within))
"""
STEPS = """
    import pickle
    from druse import *
    from exp.values import Value

    @pipeline_step(cacheable=True)
    def first(data, ctx, value=Value(0)):
        ctx.add("own", Value(3))
        return pickle.loads(open("model.pkl", "rb").read()).number + value.number

    @pipeline_step(cacheable=True)
    def second(data, ctx):
        return data + ctx["own"].number + ctx["replicate"], {"value": data}
"""
VALUES = """
    class Value:
        def __init__(self, number):
            self.number = number
        def __getstate__(self):
            return {"number": self.number}
"""
PROGRAM = """
    import druse
    from exp import datasources, steps, values

    def drawn(ctx):
        ctx.add("value", values.Value(ctx["replicate"]))

    def made():
        one = {"value": values.Value(1)}
        treatments = [druse.Treatment("drawn", drawn), druse.Treatment("set", one)]
        pipeline = druse.Pipeline([steps.first(), steps.second()])
        return druse.Experiment(
            datasources.source(), pipeline, name="exp", treatments=treatments, replicates=2
        )
"""


def test_no_user_code_runs_while_a_transaction_is_open(exp: Exp) -> None:
    exp["exp/values.py"], exp["exp/steps.py"], exp["made.py"] = VALUES, STEPS, PROGRAM
    exp["exp/__init__.py"] = ""
    exp["models.py"] = VALUES.replace("Value", "Model")
    exp.python("import pickle, models\npickle.dump(models.Model(5), open('model.pkl', 'wb'))")
    expected = ["Model", "Value", "__getstate__", "drawn", "first", "second"]
    for edit in ("", "first", "second"):
        if edit:
            exp.replace("exp/steps.py", f"def {edit}(data, ctx", f"def {edit}(data, ctx, k=0")
        called, within = exp.python(WATCHED).split("] ")
        assert within == "[]\n"
        assert all(name in called for name in expected if edit == "" or name == "drawn")
