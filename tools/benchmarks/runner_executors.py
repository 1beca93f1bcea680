"""What executors add to a cell, beside one cell after another in one process.

usage: python tools/benchmarks/runner_executors.py [--quick] [--json] [--only TEXT] [--rounds N]

A cell records a metric and writes 1 KiB; nothing is exported. What a pool adds is the time of its
run less that of the serial one, in the same round, divided by the cells; its start is part of it.
"""

import argparse
import logging
import sys
import tempfile
from pathlib import Path

from measure import Missing, Row, Target, run_rows
from table import print_json, print_table

from druse import Experiment, Pipeline, Treatment, api, data_source, pipeline_step
from druse.executors.spec import Spec
from druse.session import Wanted
from druse_store import Store

TREATMENTS = 4


@data_source
def nothing(ctx):
    return b"x" * 1000


@pipeline_step()
def trivial(data, ctx, k=0):
    ctx.record("value", k)
    ctx.artifacts.add("out.bin", data + f"{k} {ctx.get('replicate')}".encode())
    return data


def make(count):
    return Experiment(
        nothing(),
        Pipeline([trivial()]),
        name="trivial",
        treatments=[Treatment(f"t{k}", {"k": k}) for k in range(1, TREATMENTS + 1)],
        replicates=count // (TREATMENTS + 1),
    )


def run(store, count, spec):
    import time

    experiment = make(count)
    wanted = [Wanted(experiment, experiment.treatments, experiment.replicates)]
    began = time.perf_counter()
    found = api.run(wanted, store=store, views="none", executor=spec)
    seconds = time.perf_counter() - began
    assert not found["trivial"].errors
    return seconds


def whole(count, spec):
    """The run as it is."""

    def contestant(folder):
        with Store.open(folder / "store") as store:
            yield lambda: run(store, count, spec)
            yield None

    return contestant


def added(count, spec):
    """What a cell costs more than in a serial run."""

    def contestant(folder):
        with Store.open(folder / "serial") as store:
            serial = run(store, count, Spec())
        with Store.open(folder / "store") as store:
            yield lambda: max(0.0, run(store, count, spec) - serial) / count
            yield None

    return contestant


def added_by_dask(count, workers):
    """The same for a local cluster that is there already."""

    def contestant(folder):
        try:
            from druse.executors import dask
        except ImportError:
            raise Missing("distributed") from None
        keeper, address = dask._cluster(Spec("dask", workers))
        with keeper:
            yield from added(count, Spec("dask", None, address))(folder)
            keeper.stdin.close()

    return contestant


def rows(quick=False):
    count = 250 if quick else 1000
    process = Spec("process", 8)
    return [
        Row(
            f"{count} trivial cells",
            {
                "druse": whole(count, Spec()),
                "druse, 8 threads": whole(count, Spec("thread", 8)),
                "druse, 8 processes": whole(count, process),
                "druse, in a loop": whole(count, Spec("async", 8)),
            },
            count=count,
        ),
        Row(
            f"what 8 processes add to each of {count} cells",
            {"druse": added(count, process)},
            targets=(Target("seconds", 1e-3),),
        ),
        Row(
            f"what a local Dask cluster of 2 adds to each of {count} cells",
            {"druse": added_by_dask(count, 2)},
            targets=(Target("seconds", 5e-3),),
        ),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    logging.getLogger("druse").setLevel("ERROR")
    chosen = [row for row in rows(options.quick) if options.only in row.name]
    with tempfile.TemporaryDirectory(prefix="druse-bench-") as folder:
        run_rows(chosen, Path(folder), options.rounds)
    (print_json if options.json else print_table)(chosen)


if __name__ == "__main__":
    sys.exit(main())
