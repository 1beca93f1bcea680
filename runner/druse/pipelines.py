"""Pipelines: steps in a row."""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from druse.context import FrozenContext
from druse.errors import DefinitionError, PipelineExecutionError
from druse.names import STEP_NAME_KEY
from druse.step import PipelineStep


class Pipeline:
    """A sequence of at least one step."""

    def __init__(self, steps: Sequence[PipelineStep]) -> None:
        if not steps:
            raise DefinitionError("Pipeline must contain at least one step.")
        for step in steps:
            if not isinstance(step, PipelineStep):
                raise DefinitionError(
                    f"{step!r} is no step: call the factory that pipeline_step made, or make an "
                    "instance of the class"
                )
        self.steps = list(steps)

    def signature(self) -> str:
        """The steps' names and parameters, for people."""
        return "|".join(type(step).__name__ + repr(step.params) for step in self.steps)

    async def arun(self, data: Any, ctx: FrozenContext) -> Any:
        """Runs the steps on `data`, outside of any experiment and store.

        Raises PipelineExecutionError for what a step raised.
        """
        for step in self.steps:
            name = type(step).__name__
            ctx._data[STEP_NAME_KEY] = name
            try:
                result = step(data, ctx)
                if inspect.isawaitable(result):
                    result = await result
            except Exception as error:
                failed = PipelineExecutionError(name, error)
                failed.traceback_str = traceback.format_exc()
                raise failed from error
            data = without_metrics(result, ctx)
        return data

    def run(self, data: Any, ctx: FrozenContext) -> Any:
        """As `arun`, for callers without a loop."""
        return asyncio.run(self.arun(data, ctx))


def without_metrics(result: Any, ctx: FrozenContext) -> Any:
    """A step's data; the metrics of one that returned `(data, metrics)` go to the context."""
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Mapping):
        data, metrics = result
        for name, value in metrics.items():
            ctx.metrics.add(name, value)
        return data
    return result


def pipeline(*steps: PipelineStep) -> Pipeline:
    """A pipeline of these steps."""
    return Pipeline(steps)
