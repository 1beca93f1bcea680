from __future__ import annotations

import asyncio
import functools
import pickle

import cloudpickle
import pytest

from druse import (
    Artifact,
    FrozenContext,
    Pipeline,
    PipelineStep,
    data_source,
    inject_from_ctx,
    pipeline,
    pipeline_step,
    resource_factory,
    standalone_context,
)
from druse.errors import ParameterError, PipelineExecutionError


@pipeline_step()
def scale(data: int, ctx: FrozenContext, factor: int = 2) -> int:
    return data * factor


@pipeline_step()
def required(data: int, ctx: FrozenContext, power: int) -> int:
    return data**power


def test_a_parameter_is_what_was_given_else_of_the_context_else_its_default() -> None:
    assert scale(factor=5)(3, FrozenContext({"factor": 7})) == 15
    assert scale()(3, FrozenContext({"factor": 7})) == 21
    assert scale()(3, standalone_context()) == 6


def test_unknown_and_missing_parameters_are_refused_when_the_step_is_made() -> None:
    with pytest.raises(ParameterError, match=r"Unknown parameters: faktor \(it takes: factor\)"):
        scale(faktor=1)
    with pytest.raises(TypeError, match="Missing parameters: power"):
        required()


def test_params_are_those_that_were_given() -> None:
    assert scale(factor=3).params == {"factor": 3}
    assert scale().params == {}
    assert type(scale()).__name__ == "ScaleStep"


def test_a_step_survives_pickling() -> None:
    again = pickle.loads(cloudpickle.dumps(scale(factor=3)))
    assert again(2, standalone_context()) == 6


def test_a_callable_from_the_context_is_called_once_for_its_value() -> None:
    made = []

    def connect(ctx: FrozenContext) -> str:
        made.append(ctx.get("host"))
        return f"connection to {ctx.get('host')}"

    @pipeline_step()
    def use(data: int, ctx: FrozenContext, connection: str) -> str:
        return connection

    ctx = FrozenContext({"host": "here"})
    step = use(connection=resource_factory(connect))
    assert [step(0, ctx), step(0, ctx)] == ["connection to here"] * 2
    assert made == ["here"]


def test_inject_from_ctx_fills_in_what_a_call_leaves_out() -> None:
    @inject_from_ctx
    def train(data: int, ctx: FrozenContext, lr: float, epochs: int = 3) -> tuple[float, int]:
        return lr, epochs

    ctx = FrozenContext({"lr": 0.1})
    assert train(0, ctx) == (0.1, 3)
    assert train(0, ctx, epochs=5) == (0.1, 5)
    with pytest.raises(ParameterError, match="Parameter 'lr' in step 'train' is not found"):
        train(0, standalone_context())
    with pytest.raises(TypeError, match="requires 'ctx' argument"):
        train(0)


def test_an_artifact_is_bound_to_the_context_of_the_call() -> None:
    @pipeline_step()
    def save(data: str, ctx: FrozenContext, out: Artifact) -> str:
        out.write(data)
        return data

    out = Artifact("out.txt")
    ctx = standalone_context()
    save(out=out)("hello", ctx)
    assert [(a.name, a.data) for a in ctx.artifacts] == [("out.txt", b"hello")]
    with pytest.raises(RuntimeError, match="Artifact not bound to context"):
        out.write("x")


def test_a_pipeline_passes_data_on_and_keeps_metrics() -> None:
    @pipeline_step()
    def measure(data: int, ctx: FrozenContext) -> tuple[int, dict[str, int]]:
        return data + 1, {"seen": data}

    ctx = standalone_context()
    assert pipeline(scale(), measure()).run(3, ctx) == 7
    assert ctx.metrics["seen"] == (6,)


def test_a_pipeline_awaits_asynchronous_steps() -> None:
    @pipeline_step()
    async def slow(data: int, ctx: FrozenContext) -> int:
        await asyncio.sleep(0)
        return data + 1

    assert Pipeline([slow(), scale()]).run(1, standalone_context()) == 4


def test_a_pipeline_names_the_step_that_failed() -> None:
    class Broken(PipelineStep):
        def __call__(self, data: object, ctx: FrozenContext) -> object:
            raise ZeroDivisionError("by zero")

    with pytest.raises(PipelineExecutionError, match="Step 'Broken' failed: by zero") as caught:
        Pipeline([Broken()]).run(1, standalone_context())
    assert "ZeroDivisionError" in caught.value.traceback_str
    with pytest.raises(ValueError, match="at least one step"):
        Pipeline([])
    with pytest.raises(ValueError, match="is no step"):
        Pipeline([Broken])


def test_a_pipeline_takes_the_factories_of_steps_too() -> None:
    steps = Pipeline([scale, functools.partial(scale, factor=5)]).steps
    assert [step.params for step in steps] == [{}, {"factor": 5}]
    with pytest.raises(ValueError, match="is no step"):
        Pipeline([functools.partial(print, 1)])


def test_a_datasource_takes_parameters() -> None:
    @data_source
    def numbers(ctx: FrozenContext, count: int, start: int = 0) -> list[int]:
        return list(range(start, start + count))

    assert numbers(count=2).fetch(standalone_context()) == [0, 1]
    assert numbers(count=2).params == {"count": 2, "start": 0}  # type: ignore[attr-defined]
    with pytest.raises(ParameterError, match="Missing parameters: count"):
        numbers()
