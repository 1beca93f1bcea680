"""Results: trees of what happened, plain data, JSON."""

import contextlib
import io
import json
from pathlib import Path

from crystallize import Experiment, Pipeline, Treatment, data_source, pipeline_step
from raising import raised


@data_source
def two(ctx):
    return 2


@pipeline_step()
def doubled(data, ctx, factor=2):
    ctx.add("before", data)
    ctx.metrics.add("m", data * factor)
    return data * factor


@pipeline_step()
def noted(data, ctx):
    ctx.metrics.add("m", data)
    ctx.metrics.add("note", ctx["before"])
    return data


@pipeline_step()
def idle(data):
    return data


def make():
    return Experiment(datasource=two(), pipeline=Pipeline([doubled(), idle(), noted()]))


def result():
    return make().run(treatments=[Treatment("t", {"factor": 5})], replicates=2)


def printed(of, *formats):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        of.print_tree(*formats)
    return [line.rstrip() for line in out.getvalue().splitlines()]


CHANGES = {
    "t": {
        0: [
            {
                "step": "A",
                "ctx_changes": {"reads": {"x": 1}, "wrote": {}, "metrics": {}},
            }
        ],
        1: [
            {"step": "A", "ctx_changes": {"wrote": {"k": {"before": None, "after": 3}}}},
            {"step": "B", "ctx_changes": {"metrics": {"m": {"before": (), "after": (1,)}}}},
            {"step": "C", "ctx_changes": {}},
        ],
    },
    "baseline": {0: [{"step": "A", "ctx_changes": {"reads": {"x": 2}}}]},
}


def case_trees():
    found = result()
    made = type(found)(metrics=found.metrics, provenance={"ctx_changes": CHANGES})
    formats = (
        "treatment > replicate > step",
        "replicate>treatment>step>action",
        "Replicate > Step > Treatment > Action",
    )
    return {
        "default": printed(made),
        **{fmt: printed(made, fmt) for fmt in formats},
        "unknown": raised(lambda: made.print_tree("treatment > what"), "Invalid format spec"),
        "action first": raised(lambda: made.print_tree("action > step"), "final element"),
    }


def case_what_happened():
    changes = result().provenance["ctx_changes"]
    return {
        name: {
            replicate: [[s["step"], s["cache_hit"], s["ctx_changes"]["metrics"]] for s in steps]
            for replicate, steps in replicates.items()
        }
        for name, replicates in changes.items()
    }


def case_what_was_written():
    steps = result().provenance["ctx_changes"]["t"][1]
    return [sorted(set(step["ctx_changes"]["wrote"]) - {"step_name"}) for step in steps]


def case_plain_data():
    found = result()
    plain = found.to_dict()
    found.to_json("result.json")
    written = json.loads(Path("result.json").read_text())
    return {
        "keys": sorted(set(plain) - {"run"}),
        "metrics": plain["metrics"],
        "same": written["metrics"] == json.loads(found.to_json())["metrics"] == plain["metrics"],
        "errors": plain["errors"],
        "artifacts": plain["artifacts"],
    }
