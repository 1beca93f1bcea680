"""Rows: a run with its exported folder, beside Crystallize, which writes nothing else."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from measure import Missing, Row, Target

import environment

CONDITIONS = 5

_PROGRAM = textwrap.dedent("""
    import logging
    import sys
    import time

    logging.disable(logging.CRITICAL)
    from PACKAGE import ArtifactPlugin, Experiment, Pipeline, Treatment, data_source, pipeline_step


    @data_source
    def source(ctx):
        return 1


    @pipeline_step()
    def step(data, ctx, size=1024):
        ctx.artifacts.add("a.bin", (f"{ctx['condition']}/{ctx['replicate']}".encode() * 200)[:size])
        ctx.metrics.add("value", data)
        return data


    def experiment(name):
        return Experiment(
            datasource=source(),
            pipeline=Pipeline([step()]),
            plugins=[ArtifactPlugin(root_dir="data")],
            name=name,
            treatments=[Treatment(f"t{n}", {"n": n}) for n in range(CONDITIONS - 1)],
        )


    experiment("first").run(replicates=1)
    measured = experiment("measured")
    sys.stdout.write("ready\\n")
    sys.stdout.flush()
    sys.stdin.readline()
    began = time.perf_counter()
    result = measured.run(replicates=REPLICATES)
    taken = time.perf_counter() - began
    assert len(result.metrics.treatments["t0"].metrics["value"]) == REPLICATES
    assert not result.errors
    print(taken)
""")


def rows(replicates):
    """5 conditions of a trivial step with a 1 KiB artifact, `replicates` each."""
    cells = CONDITIONS * replicates
    return [
        Row(
            f"run {cells} trivial cells with a 1 KiB artifact and the exported folder",
            {
                "druse": lambda folder: _run(folder, "druse", sys.executable, replicates),
                "crystallize": lambda folder: _run(folder, "crystallize", _peer(), replicates),
            },
            count=cells,
            targets=(Target("time", 1.5, ("crystallize",)),),
        )
    ]


def _peer():
    return os.environ.get("DRUSE_TEST_CRYSTALLIZE") or environment.ensure_peer()


def _run(folder, package, python, replicates):
    if not Path(python).exists():
        raise Missing("crystallize")
    text = _PROGRAM.replace("PACKAGE", package).replace("CONDITIONS", str(CONDITIONS))
    (folder / "program.py").write_text(text.replace("REPLICATES", str(replicates)))
    variables = {k: v for k, v in os.environ.items() if k != "DRUSE_STORE"}
    process = subprocess.Popen(
        [str(python), "program.py"],
        cwd=folder,
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    yield lambda: _measured(process)
    files = list((folder / "data" / "measured").rglob("a.bin"))
    assert len(files) == CONDITIONS * replicates, len(files)
    yield None


def _measured(process):
    out, _ = process.communicate("go\n")
    assert process.returncode == 0
    return float(out)
