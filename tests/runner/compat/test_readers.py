"""Crystallize's own readers work on the folders that druse exports."""

from __future__ import annotations

from pathlib import Path

import pytest

from druse import (
    Artifact,
    ArtifactPlugin,
    Experiment,
    FrozenContext,
    LoggingPlugin,
    Pipeline,
    Treatment,
    data_source,
    pipeline_step,
)
from support.peer import run_peer

READ = Path(__file__).parent / "readers" / "read.py"


@data_source
def place(ctx: FrozenContext) -> int:
    return ctx["replicate"] + 1  # type: ignore[no-any-return]


@pipeline_step()
def scale(data: int, ctx: FrozenContext, factor: int = 1) -> int:
    return data * factor


@pipeline_step()
def write(data: int, ctx: FrozenContext, out: Artifact) -> int:
    out.write(f"{ctx['condition']} {data}")
    ctx.metrics.add("value", data)
    return data


def run(treatments: dict[str, int]) -> None:
    out = Artifact("number.txt")
    Experiment(
        place(),
        Pipeline([scale(), write(out=out)]),
        [ArtifactPlugin("data", versioned=True), LoggingPlugin(log_level="ERROR")],
        name="numbers",
        outputs=[out],
        treatments=[Treatment(name, {"factor": factor}) for name, factor in treatments.items()],
        replicates=2,
    ).run(strategy="resume")


@pytest.mark.needs("crystallize")
def test_crystallizes_readers_read_exported_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DRUSE_STORE", raising=False)
    run({"doubled": 2, "tripled": 3})
    run({"doubled": 20})
    found = run_peer(READ, cwd=tmp_path)
    one, two, three, twenty = [1, 2], [2, 4], [3, 6], [20, 40]
    assert found["latest"] == [1, {"value": one}, {"doubled": {"value": twenty}}]
    assert found["first"] == [
        0,
        {"value": one},
        {"doubled": {"value": two}, "tripled": {"value": three}},
    ]
    assert found["all"] == [
        1,
        {"value": one},
        {"doubled": [1, {"value": twenty}], "tripled": [0, {"value": three}]},
    ]
    assert found["all of the first"][2]["doubled"] == [0, {"value": two}]
    assert found["fetched"] == {
        **{f"baseline/{r}": f"baseline {one[r % 2]}" for r in range(4)},
        **{f"doubled/{r}": f"doubled {twenty[r % 2]}" for r in range(4)},
        **{f"unknown/{r}": f"baseline {one[r % 2]}" for r in range(4)},
    }
    assert found["replicates"] == 2
    assert found["consumed"] == {"text": ["baseline 1", "baseline 2"]}
    assert found["by path"] == {"bytes": [len("doubled 20"), len("doubled 40")]}
    assert found["resumed"] == {"doubled": {"value": twenty}}
