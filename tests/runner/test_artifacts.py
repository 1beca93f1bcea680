"""Artifacts that a step has by other ways than a parameter: attributes, defaults, globals."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from druse import (
    Artifact,
    AsyncExecution,
    DataSource,
    Experiment,
    ExperimentGraph,
    ExperimentInput,
    FrozenContext,
    LoggingPlugin,
    ParallelExecution,
    Pipeline,
    PipelineStep,
    Result,
    SerialExecution,
    Treatment,
    data_source,
    pipeline_step,
    standalone_context,
)

executed: list[int] = []


def lines(value: Any) -> bytes:
    return f"{value}\n".encode()


def shouted(value: Any) -> bytes:
    return f"{value}!\n".encode()


@data_source
def number(ctx: FrozenContext) -> int:
    return int(ctx["replicate"])


class Write(PipelineStep):
    """Keeps its artifact as an attribute, as classes do."""

    def __init__(self, out: Artifact) -> None:
        self.out = out

    def __call__(self, data: int, ctx: FrozenContext) -> int:
        executed.append(data)
        self.out.write(f"{ctx['condition']} {data}")
        return data


class WriteLater(Write):
    async def __call__(self, data: int, ctx: FrozenContext) -> int:  # type: ignore[override]
        for _ in range(3):
            await asyncio.sleep(0)
        return super().__call__(data, ctx)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DRUSE_STORE", raising=False)
    executed.clear()


def experiment(step: PipelineStep, out: Artifact, *plugins: Any, replicates: int = 2) -> Experiment:
    return Experiment(
        number(),
        Pipeline([step]),
        [LoggingPlugin(log_level="ERROR"), *plugins],
        name="writes",
        outputs=[out],
        treatments=[Treatment("other", {"a": 1})],
        replicates=replicates,
    )


def written(result: Result) -> dict[str, list[str]]:
    return {
        condition: [
            path.read_text() for path in sorted(first.parents[3].glob(f"*/{condition}/*/*"))
        ]
        for condition, first in result.get_artifact("n.txt").items()
    }


KINDS = [
    SerialExecution,
    lambda: ParallelExecution(2, "thread"),
    lambda: ParallelExecution(2, "process"),
    lambda: AsyncExecution(8),
]


@pytest.mark.parametrize("kind", KINDS, ids=["serial", "thread", "process", "async"])
@pytest.mark.parametrize("step", [Write, WriteLater])
def test_an_artifact_kept_as_an_attribute_is_written_by_the_cell_that_runs(
    step: type[Write], kind: Any
) -> None:
    out = Artifact("n.txt", writer=lines)
    result = experiment(step(out), out, kind(), replicates=3).run()
    assert not result.errors
    assert written(result) == {
        name: [f"{name} {r}\n" for r in range(3)] for name in ("baseline", "other")
    }


def test_a_kept_artifact_counts_by_its_name_and_by_what_turns_values_into_bytes() -> None:
    def run(out: Artifact, replicates: int = 2) -> int:
        executed.clear()
        experiment(Write(out), out, replicates=replicates).run(strategy="resume")
        return len(executed)

    assert run(Artifact("n.txt", writer=lines)) == 4
    assert run(Artifact("n.txt", writer=lines)) == 0
    # Its producer is no part of it.
    assert run(Artifact("n.txt", writer=lines), replicates=3) == 2
    assert run(Artifact("n.txt", writer=shouted)) == 4
    assert run(Artifact("m.txt", writer=shouted)) == 4
    assert run(Artifact("m.txt", writer=shouted, loader=Path.read_text)) == 4


OUT = Artifact("n.txt")


def test_an_artifact_that_is_a_default_or_a_global_is_written_too() -> None:
    @pipeline_step()
    def by_default(data: int, ctx: FrozenContext, out: Artifact = OUT) -> int:
        out.write(str(data))
        return data

    @pipeline_step()
    def by_name(data: int, ctx: FrozenContext) -> int:
        OUT.write(str(data))
        return data

    for step in (by_default(), by_name()):
        result = experiment(step, OUT).run()
        assert not result.errors
        assert written(result) == {"baseline": ["0", "1"], "other": ["0", "1"]}


def test_a_pipeline_alone_writes_to_its_context() -> None:
    ctx = standalone_context({"condition": "alone"})
    Pipeline([Write(Artifact("n.txt"))]).run(4, ctx)
    assert [(each.name, each.data) for each in ctx.artifacts] == [("n.txt", b"alone 4")]


def test_trying_an_experiment_out_writes_for_the_steps_that_follow() -> None:
    @pipeline_step()
    def count(data: int, ctx: FrozenContext) -> int:
        return data + len(ctx.artifacts)

    out = Artifact("n.txt")
    made = Experiment(number(), Pipeline([Write(out), count()]), outputs=[out])
    assert [made.apply(data=10), made.apply(Treatment("other", {}), data=10)] == [11, 11]


def test_outside_of_a_cell_there_is_nowhere_to_write_to() -> None:
    out = Artifact("n.txt")
    experiment(Write(out), out).run()
    with pytest.raises(RuntimeError, match=r"not bound to context.*while its cell runs"):
        out.write("x")


class LenientPath(DataSource):
    """As Lenient, of an artifact that it reads by its path."""

    def __init__(self, producer: Experiment) -> None:
        self.text = producer.artifact_datasource("SometimesStep", "n.txt")

    def fetch(self, ctx: FrozenContext) -> Any:
        try:
            return {"text": self.text.fetch(ctx).read_bytes()}
        except FileNotFoundError:
            return {"text": b""}


class Lenient(ExperimentInput):
    """Makes do with what is there."""

    def fetch(self, ctx: FrozenContext) -> Any:
        try:
            return super().fetch(ctx)
        except FileNotFoundError:
            return {"text": b""}


@pipeline_step()
def sometimes(data: int, ctx: FrozenContext, out: Artifact) -> int:
    if Path("wanted").read_text("utf-8") == "yes":
        out.write("here")
    return data


@pipeline_step()
def size(data: dict[str, bytes], ctx: FrozenContext) -> tuple[int, dict[str, int]]:
    return 0, {"size": len(data["text"])}


def producer(out: Artifact) -> Experiment:
    quiet = LoggingPlugin(log_level="ERROR")
    return Experiment(number(), Pipeline([sometimes(out=out)]), [quiet], name="up", outputs=[out])


def reader(source: DataSource) -> Experiment:
    return Experiment(source, Pipeline([size()]), [LoggingPlugin(log_level="ERROR")], name="down")


def in_a_graph(kind: type[ExperimentInput]) -> Result:
    out = Artifact("n.txt")
    graph = ExperimentGraph(producer(out), reader(kind(text=out)))
    return graph.run(strategy="resume")["down"]


def by_its_path() -> Result:
    up = producer(Artifact("n.txt"))
    up.run(strategy="resume")
    return reader(LenientPath(up)).run(strategy="resume")


def test_an_input_that_nobody_wrote_names_who_should_have() -> None:
    Path("wanted").write_text("no")
    error = in_a_graph(ExperimentInput).errors["baseline_rep_0"]
    assert isinstance(error, FileNotFoundError)
    assert "up has no artifact 'n.txt' for baseline replicate 0" in str(error)


@pytest.mark.parametrize("run", [lambda: in_a_graph(Lenient), by_its_path], ids=["graph", "path"])
def test_an_input_that_was_missing_counts_once_it_is_there(run: Any) -> None:
    for wanted, expected in [("no", 0), ("yes", 4), ("no", 0), ("yes", 4)]:
        Path("wanted").write_text(wanted)
        assert run().metrics.baseline.metrics == {"size": [expected]}
