"""Rows: what a cell costs, where it is executed and where its result is in the store already."""

import logging
import os
import resource
import subprocess
import sys
from pathlib import Path

from measure import Missing, Row, Target

from druse import (
    Artifact,
    Experiment,
    ExperimentInput,
    Pipeline,
    Treatment,
    api,
    data_source,
    pipeline_step,
)
from druse.session import Wanted
from druse_store import Store

CONDITIONS = 10


@data_source
def source(ctx):
    return 1


@pipeline_step()
def trivial(data, ctx, k=0):
    ctx.metrics.add("value", data + k + ctx["replicate"])
    return data


@pipeline_step()
def writing(data, ctx, k=0):
    ctx.metrics.add("value", data + k)
    ctx.artifacts.add("a.bin", (f"{k}/{ctx['replicate']}/".encode() * 200)[:1024])
    return data


@pipeline_step()
def producing(data, ctx, out: Artifact, k=0):
    out.write(f"{data + k + ctx['replicate']}".encode())
    return data


@pipeline_step()
def consuming(data, ctx, n=0, k=0):
    ctx.metrics.add("value", len(data["one"]) + n + k)
    return data


def experiment(step, cells, name="measured"):
    return Experiment(
        source(),
        Pipeline([step()]),
        name=name,
        treatments=[Treatment(f"t{k}", {"k": k}) for k in range(1, CONDITIONS)],
        replicates=cells // CONDITIONS,
    )


def wanted(*experiments):
    return [Wanted(each, each.treatments, each.replicates) for each in experiments]


def rows(quick=False):
    logging.disable(logging.CRITICAL)
    cells = 1000 if quick else 10_000
    experiments = 50 if quick else 1000
    return [
        Row(
            f"take {cells} cells of one experiment from the store, and read their metrics",
            {
                "druse": lambda folder: resume(folder, cells, read=True),
                "druse, unread": lambda folder: resume(folder, cells, read=False),
                "joblib": lambda folder: joblib_hits(folder, cells),
            },
            count=cells,
            targets=(
                Target("seconds", 15e-6 * cells),
                Target("time", 6, ("joblib",)),
            ),
        ),
        Row(
            f"execute {cells} trivial cells with a metric and a 1 KiB artifact, committed",
            {"druse": lambda folder: execute(folder, cells)},
            count=cells,
            targets=(Target("seconds", 60e-6 * cells),),
        ),
        Row(
            f"plan {experiments} experiments of 100 cells, all in the store",
            {"druse": lambda folder: plan(folder, experiments)},
            count=experiments,
            targets=(
                Target("seconds", 3 * experiments / 1000),
                Target("MiB", 500),
            ),
        ),
    ]


def resume(folder, cells, *, read):
    os.chdir(folder)
    measured = experiment(trivial, cells)
    with Store.open(folder / "store") as store:
        api.run(wanted(measured), store=store, views="none", strategy="resume")

    def action():
        with Store.open(folder / "store") as store:
            found = api.run(wanted(measured), store=store, views="none", strategy="resume")
        if read:
            conditions = found["measured"].metrics.conditions()
            assert sum(len(each.metrics["value"]) for each in conditions.values()) == cells

    yield action
    yield None


def joblib_hits(folder, cells):
    try:
        from joblib import Memory
    except ImportError:
        raise Missing("joblib") from None
    cached = Memory(folder / "memory", verbose=0).cache(joblib_cell)
    for number in range(cells):
        cached(number, 0)
    yield lambda: [cached(number, 0) for number in range(cells)]
    yield None


def joblib_cell(replicate, k):
    return {"value": 1 + k + replicate}


def execute(folder, cells):
    os.chdir(folder)
    with Store.open(folder / "store") as store:
        api.run(wanted(experiment(writing, CONDITIONS, "first")), store=store, views="none")

        def action():
            found = api.run(wanted(experiment(writing, cells)), store=store, views="none")
            assert not found["measured"].errors

        yield action
    yield None


# --- many experiments, in processes of their own since memory is measured --------------------


def graph(count):
    """One experiment whose artifact all the others read; ten conditions, ten replicates each."""
    out = Artifact("out.txt")
    first = experiment(lambda: producing(out=out), 100, "e0")
    first.outputs = first._own([out])
    return [first, *(consumer(out, number) for number in range(1, count))]


def consumer(out, number):
    return Experiment(
        ExperimentInput(one=out),
        Pipeline([consuming(n=number)]),
        name=f"e{number}",
        treatments=[Treatment(f"t{k}", {"k": k}) for k in range(1, CONDITIONS)],
        replicates=10,
    )


def plan(folder, experiments):
    _child("run", folder, experiments)
    taken = []

    def action():
        taken[:] = map(float, _child("plan", folder, experiments).split())
        return taken[0]

    yield action
    yield int(taken[1])


def _child(what, folder, experiments):
    done = subprocess.run(
        [sys.executable, __file__, what, str(folder), str(experiments)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def main(what, folder, experiments):
    import time

    logging.disable(logging.CRITICAL)
    os.chdir(folder)
    made = wanted(*graph(int(experiments)))
    with Store.open(Path(folder) / "store") as store:
        if what == "run":
            api.run(made, store=store, views="none", strategy="resume")
            return
        began = time.perf_counter()
        with api.planning(store, made) as session:
            seconds = time.perf_counter() - began
            states = {decision.state.value for decision in session.plan.decisions.values()}
        assert states == {"hit"}, states
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


if __name__ == "__main__":
    main(*sys.argv[1:])
