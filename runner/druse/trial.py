"""Trying an experiment out: one cell after the other, here and now, without the store."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

from druse import seeds
from druse.context import FrozenContext
from druse.names import BASELINE, CONDITION_KEY, REPLICATE_KEY, SEED_USED_KEY, STEP_NAME_KEY
from druse.pipelines import without_metrics
from druse.plugins import BUILT_IN, LoggingPlugin
from druse.result import ExperimentMetrics, Result, TreatmentMetrics
from druse.session import Wanted, shown_as_due
from druse.treatments import Treatment
from druse.underway import UnderWay

if TYPE_CHECKING:
    from druse.experiment import Experiment


def apply(
    experiment: Experiment, treatment: Treatment | None, *, data: Any, seed: int | None
) -> Any:
    """What the last step gives for one replicate; `data` in place of the datasource's."""
    experiment.validate()
    wanted = Wanted(experiment, [treatment] if treatment is not None else [], 1, [])
    with shown_as_due([wanted]):
        trial = Trial(experiment, 0, seed)
        value, ctx = trial.run([treatment], data)[-1]
        trial.end({BASELINE: ctx})
    return value


def debug(
    experiment: Experiment, treatment: str | Treatment | None, replicate: int, verbose: bool
) -> Result:
    """The metrics of the baseline, and of a treatment, for one replicate."""
    experiment.validate()
    due = [] if treatment is None else [_named(experiment, treatment)]
    with shown_as_due([Wanted(experiment, due, 1, [])]):
        trial = Trial(experiment, replicate, None, verbose=verbose)
        cells = trial.run([None, *due], None)
        names = [BASELINE, *(each.name for each in due)]
        return trial.end(dict(zip(names, (ctx for _, ctx in cells), strict=True)))


def _named(experiment: Experiment, treatment: str | Treatment) -> Treatment:
    if isinstance(treatment, Treatment):
        return treatment
    known = {each.name: each for each in experiment.treatments}
    return known.get(treatment) or Treatment(treatment, {})


class Trial:
    """Cells of one replicate, with the hooks and the `setup` that a run would have."""

    def __init__(
        self, experiment: Experiment, replicate: int, seed: int | None, *, verbose: bool = False
    ) -> None:
        self._experiment = experiment
        self._replicate = replicate
        self._seed = seed
        self._root = experiment.seed_plugin.root if seed is None else seed
        self._verbose = verbose
        self._hooks = [p for p in experiment.plugins if type(p) not in BUILT_IN]
        if verbose:
            self._hooks.append(LoggingPlugin(verbose=True))

    def run(self, treatments: list[Treatment | None], data: Any) -> list[tuple[Any, FrozenContext]]:
        """What each condition gives, and its context after it."""
        experiment = self._experiment
        for plugin in experiment.plugins:
            plugin.before_run(experiment)
        before = FrozenContext(experiment.initial_ctx)
        steps = experiment.pipeline.steps
        try:
            for step in steps:
                step.setup(before)
            return [self._cell(before, treatment, data) for treatment in treatments]
        finally:
            for step in steps:
                step.teardown(before)

    def _cell(
        self, before: FrozenContext, treatment: Treatment | None, data: Any
    ) -> tuple[Any, FrozenContext]:
        ctx = FrozenContext(before._data)
        ctx.add(REPLICATE_KEY, self._replicate)
        ctx.add(CONDITION_KEY, BASELINE if treatment is None else treatment.name)
        if treatment is not None:
            treatment.apply(ctx)
        used = seeds.of_replicate(self._root, self._replicate) if self._seed is None else self._seed
        ctx.add(SEED_USED_KEY, used)
        ctx._log_reads = self._verbose
        with UnderWay(ctx):
            return self._steps(ctx, data), ctx

    def _steps(self, ctx: FrozenContext, data: Any) -> Any:
        experiment = self._experiment
        for hook in self._hooks:
            hook.before_replicate(experiment, ctx)
        if data is None:
            self._set_generators(seeds.SOURCE)
            data = _awaited(experiment.datasource.fetch(ctx))
        for position, step in enumerate(experiment.pipeline.steps):
            ctx._data[STEP_NAME_KEY] = type(step).__name__
            self._set_generators(position)
            for hook in self._hooks:
                hook.before_step(experiment, step)
            data = without_metrics(_awaited(step(data, ctx)), ctx)
            for hook in self._hooks:
                hook.after_step(experiment, step, data, ctx)
        return data

    def _set_generators(self, position: int) -> None:
        seed_fn = self._experiment.seed_plugin.seed_fn or seeds.seed_generators
        seed_fn(seeds.derive(self._root, self._replicate, position))

    def end(self, contexts: dict[str, FrozenContext]) -> Result:
        """The result, which the plugins have seen."""
        metrics = {
            name: TreatmentMetrics({k: list(v) for k, v in ctx.metrics._values.items()})
            for name, ctx in contexts.items()
        }
        baseline = metrics.pop(BASELINE)
        provenance = {
            "pipeline_signature": self._experiment.pipeline.signature(),
            "replicates": 1,
            "seeds": {name: [ctx._data[SEED_USED_KEY]] for name, ctx in contexts.items()},
        }
        result = Result(ExperimentMetrics(baseline, metrics), provenance=provenance)
        for plugin in self._experiment.plugins:
            plugin.after_run(self._experiment, result)
        return result


def _awaited(value: Any) -> Any:
    if not inspect.isawaitable(value):
        return value

    async def wait() -> Any:
        return await value

    return asyncio.run(wait())
