"""Trying an experiment out: one cell, here and now, without the store."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

from druse import seeds
from druse.context import FrozenContext
from druse.names import BASELINE, CONDITION_KEY, REPLICATE_KEY, SEED_USED_KEY, STEP_NAME_KEY
from druse.pipelines import without_metrics
from druse.plugins import BUILT_IN

if TYPE_CHECKING:
    from druse.experiment import Experiment
    from druse.treatments import Treatment


def apply(
    experiment: Experiment, treatment: Treatment | None, *, data: Any, seed: int | None
) -> Any:
    """What the last step gives for one replicate; `data` in place of the datasource's."""
    experiment.validate()
    return _run(experiment, treatment, 0, data, seed)


def debug(experiment: Experiment, treatment: Treatment | None, replicate: int) -> Any:
    """As `apply`, for any replicate."""
    experiment.validate()
    return _run(experiment, treatment, replicate, None, None)


def _run(
    experiment: Experiment,
    treatment: Treatment | None,
    replicate: int,
    data: Any,
    seed: int | None,
) -> Any:
    values = {
        **experiment.initial_ctx,
        REPLICATE_KEY: replicate,
        CONDITION_KEY: treatment.name if treatment is not None else BASELINE,
    }
    ctx = FrozenContext(values)
    if treatment is not None:
        treatment.apply(ctx)
    root = experiment.seed_plugin.root
    ctx.add(SEED_USED_KEY, seeds.of_replicate(root, replicate) if seed is None else seed)
    steps = experiment.pipeline.steps
    for plugin in experiment.plugins:
        plugin.before_run(experiment)
    for step in steps:
        step.setup(ctx)
    try:
        return _steps(experiment, ctx, data, replicate, root if seed is None else seed)
    finally:
        for step in steps:
            step.teardown(ctx)


def _steps(experiment: Experiment, ctx: FrozenContext, data: Any, replicate: int, root: int) -> Any:
    seed_fn = experiment.seed_plugin.seed_fn or seeds.seed_generators
    hooks = [plugin for plugin in experiment.plugins if type(plugin) not in BUILT_IN]
    for hook in hooks:
        hook.before_replicate(experiment, ctx)
    if data is None:
        seed_fn(seeds.derive(root, replicate, seeds.SOURCE))
        data = _awaited(experiment.datasource.fetch(ctx))
    for position, step in enumerate(experiment.pipeline.steps):
        ctx._data[STEP_NAME_KEY] = type(step).__name__
        seed_fn(seeds.derive(root, replicate, position))
        for hook in hooks:
            hook.before_step(experiment, step)
        data = without_metrics(_awaited(step(data, ctx)), ctx)
        for hook in hooks:
            hook.after_step(experiment, step, data, ctx)
    return data


def _awaited(value: Any) -> Any:
    if not inspect.isawaitable(value):
        return value

    async def wait() -> Any:
        return await value

    return asyncio.run(wait())
