"""In a notebook: a real kernel, whose loop runs already."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import nbclient
import nbformat
import pytest

from support.project import SOURCES

DEFINE = """
    import asyncio
    from druse import (
        Artifact, Experiment, ExperimentGraph, LoggingPlugin, Pipeline, Treatment, data_source,
        pipeline_step,
    )

    executed = []

    @data_source
    def number(ctx):
        return ctx["replicate"]

    @pipeline_step()
    async def slow(data, ctx, out: Artifact, plus=1):
        await asyncio.sleep(0)
        executed.append(data)
        out.write(str(data + plus))
        ctx.metrics.add("value", data + plus)
        return data + plus

    @pipeline_step()
    def read(data):
        return data, {"read": int(data)}

    out = Artifact("n.txt")
    up = Experiment(
        number(), Pipeline([slow(out=out)]), name="up", outputs=[out], replicates=3,
        treatments=[Treatment("<more>", {"plus": 5})], plugins=[LoggingPlugin(log_level="ERROR")],
    )
    down = Experiment(
        out, Pipeline([read()]), name="down", replicates=3,
        plugins=[LoggingPlugin(log_level="ERROR")],
    )
"""
CELLS = [
    DEFINE,
    "up.run()",
    "result = await up.arun()\nresult",
    "executed.clear()\nagain = await up.arun(strategy='resume')\nprint(executed, again)",
    """
    told = []
    async def note(what, name):
        told.append((what, name))
    ticks = 0
    async def tick():
        global ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)
    ticking = asyncio.create_task(tick())
    found = await ExperimentGraph(up, down).arun(strategy="resume", progress_callback=note)
    ticking.cancel()
    print(found["down"].metrics.treatments["<more>"].metrics, told[-1], ticks > 1)
    """,
    DEFINE + "\n    executed.clear()\n    again = await up.arun(strategy='resume')"
    "\n    print(executed, again)",
]


def text_of(cell: Any) -> str:
    return "".join(str(output.get("text", "")) for output in cell.outputs).strip()


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The cells after the notebook has been run from top to bottom."""
    folder: Path = tmp_path_factory.mktemp("notebook")
    v4 = nbformat.v4
    notebook = v4.new_notebook(cells=[v4.new_code_cell(dedent(text)) for text in CELLS])
    client = nbclient.NotebookClient(
        notebook, timeout=100, allow_errors=True, resources={"metadata": {"path": str(folder)}}
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", SOURCES)
        patched.delenv("DRUSE_STORE", raising=False)
        client.execute()
    return list(notebook.cells)


def test_run_refuses_and_says_what_to_write_instead(cells: list[Any]) -> None:
    error = cells[1].outputs[0]
    assert error.ename == "RuntimeError"
    assert "Please use 'await experiment.arun(...)'" in error.evalue


def test_arun_is_awaited_and_its_result_is_shown_as_a_table(cells: list[Any]) -> None:
    shown = cells[2].outputs[0].data
    assert shown["text/plain"] == "Result(up/v0, 2 conditions, 0 errors)"
    assert "<td>&lt;more&gt;</td><td>6 ± 1</td><td>3</td>" in shown["text/html"]


def test_resuming_in_a_later_cell_executes_nothing(cells: list[Any]) -> None:
    assert text_of(cells[3]) == "[] Result(up/v0, 2 conditions, 0 errors)"


def test_a_graph_runs_while_the_loop_goes_on(cells: list[Any]) -> None:
    assert text_of(cells[4]) == "{'read': [5, 6, 7]} ('completed', 'down') True"


def test_a_cell_that_is_run_again_defines_the_same_experiment(cells: list[Any]) -> None:
    assert text_of(cells[5]) == "[] Result(up/v0, 2 conditions, 0 errors)"
