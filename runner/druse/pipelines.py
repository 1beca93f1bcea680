"""Pipelines: steps in a row."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from druse.context import FrozenContext
from druse.errors import DefinitionError, PipelineExecutionError
from druse.names import STEP_NAME_KEY
from druse.step import PipelineStep
from druse.underway import UnderWay

if TYPE_CHECKING:
    from druse.experiment import Experiment


class Pipeline:
    """A sequence of at least one step; a factory that `pipeline_step` made is called."""

    def __init__(self, steps: Sequence[PipelineStep | Callable[[], PipelineStep]]) -> None:
        if not steps:
            raise DefinitionError("Pipeline must contain at least one step.")
        self.steps: list[PipelineStep] = [_made(step) for step in steps]
        self._provenance: list[dict[str, Any]] = []

    def signature(self) -> str:
        """The steps' names and parameters, for people."""
        return "|".join(type(step).__name__ + repr(step.params) for step in self.steps)

    async def arun(
        self,
        data: Any,
        ctx: FrozenContext,
        *,
        verbose: bool = False,
        progress: bool = False,
        rep: int | None = None,
        condition: str | None = None,
        logger: logging.Logger | None = None,
        return_provenance: bool = False,
        experiment: Experiment | None = None,
    ) -> Any:
        """Runs the steps on `data`, outside of any run and store: nothing is kept or found.

        Returns the last step's data; with `return_provenance`, `(data, provenance)`. `verbose` logs
        each step and what it reads; the hooks of the plugins of `experiment` are called as well.
        Raises PipelineExecutionError for what a step raised.
        """
        log = logger or ctx.logger
        ctx._log_reads = ctx._log_reads or verbose
        plugins = experiment.plugins if experiment is not None else []
        self._provenance = []
        for place, step in enumerate(self.steps):
            name = ctx._data[STEP_NAME_KEY] = type(step).__name__
            before = _Before(ctx)
            for plugin in plugins:
                plugin.before_step(experiment, step)  # type: ignore[arg-type]
            data = without_metrics(await _run_step(step, name, data, ctx), ctx)
            for plugin in plugins:
                plugin.after_step(experiment, step, data, ctx)  # type: ignore[arg-type]
            self._provenance.append(before.changes(step, ctx))
            if verbose or progress:
                where = f"{condition} {rep}: " if condition is not None else ""
                log.info("%sstep %d of %d, %s, is done", where, place + 1, len(self.steps), name)
        return (data, self.get_provenance()) if return_provenance else data

    def run(self, data: Any, ctx: FrozenContext, **options: Any) -> Any:
        """As `arun`, with its options, for callers without a loop."""
        return asyncio.run(self.arun(data, ctx, **options))

    def get_provenance(self) -> list[dict[str, Any]]:
        """What each step of the last `run` or `arun` of this object changed."""
        return list(self._provenance)


def _made(step: Any) -> PipelineStep:
    """The step itself, or what the factory of one (maybe a partial of it) makes."""
    origin = step.func if isinstance(step, functools.partial) else step
    made = step() if getattr(origin, "__druse_factory__", False) else step
    if not isinstance(made, PipelineStep):
        raise DefinitionError(
            f"{step!r} is no step: use a function that is decorated with @pipeline_step(), or an "
            "instance of a class that is derived from PipelineStep"
        )
    return made


async def _run_step(step: PipelineStep, name: str, data: Any, ctx: FrozenContext) -> Any:
    try:
        with UnderWay(ctx):
            result = step(data, ctx)
            return await result if inspect.isawaitable(result) else result
    except Exception as error:
        failed = PipelineExecutionError(name, error)
        failed.traceback_str = traceback.format_exc()
        raise failed from error


class _Before:
    """What a context held before a step ran."""

    def __init__(self, ctx: FrozenContext) -> None:
        ctx._seen = {}
        self._values = dict(ctx._data)
        self._metrics = _all_metrics(ctx)

    def changes(self, step: PipelineStep, ctx: FrozenContext) -> dict[str, Any]:
        """What the step added to the context."""
        wrote = {k: v for k, v in ctx._data.items() if k not in self._values}
        metrics = {k: v for k, v in _all_metrics(ctx).items() if v != self._metrics.get(k, ())}
        return {
            "step": type(step).__name__,
            "params": step.params,
            "cache_hit": False,
            "ctx_changes": {
                "reads": dict(ctx._seen),
                "wrote": {k: {"before": None, "after": v} for k, v in wrote.items()},
                "metrics": {
                    k: {"before": self._metrics.get(k, ()), "after": v} for k, v in metrics.items()
                },
            },
        }


def _all_metrics(ctx: FrozenContext) -> dict[str, tuple[Any, ...]]:
    return {name: tuple(values) for name, values in ctx.metrics._values.items()}


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
