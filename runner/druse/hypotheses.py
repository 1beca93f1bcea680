"""Hypotheses: a statistical test of each treatment against the baseline, and a ranking."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import update_wrapper
from typing import Any

from druse import parameters
from druse.errors import MissingMetricError

Samples = Mapping[str, Sequence[Any]]
Verify = Callable[[Samples, Samples], Mapping[str, Any]]
Ranker = Callable[[Any], float]
MetricsSpec = str | Sequence[str] | Sequence[Sequence[str]] | None

_SAMPLES = frozenset({"baseline_samples", "treatment_samples", "baseline", "treatment"})


def rank_by_p_value(result: Mapping[str, Any]) -> float:
    """The lower the p-value, the better; a result without one comes last."""
    value: float = result.get("p_value", 1.0)
    return value


class Hypothesis:
    """A verifier over groups of metrics, and a ranker of what it says."""

    def __init__(
        self,
        verifier: Verify,
        metrics: MetricsSpec = None,
        ranker: Ranker | None = None,
        name: str | None = None,
    ) -> None:
        self.metrics_spec = metrics
        self.verifier = verifier
        self.ranker: Ranker = ranker or rank_by_p_value
        self.name = name or getattr(ranker, "__name__", None) or "hypothesis"

    def verify(self, baseline_metrics: Samples, treatment_metrics: Samples) -> Any:
        """What the verifier says; a list of it where several groups of metrics are named.

        Raises MissingMetricError for a metric that one of the sides does not have.
        """
        outputs = []
        for group in self._groups(baseline_metrics):
            for metric in group:
                if metric not in baseline_metrics or metric not in treatment_metrics:
                    raise MissingMetricError(metric)
            baseline = {metric: baseline_metrics[metric] for metric in group}
            treated = {metric: treatment_metrics[metric] for metric in group}
            outputs.append(self.verifier(baseline, treated))
        return outputs[0] if len(outputs) == 1 else outputs

    def _groups(self, baseline_metrics: Samples) -> list[list[str]]:
        spec = self.metrics_spec
        if spec is None:
            return [list(baseline_metrics)]
        if isinstance(spec, str):
            return [[spec]]
        if spec and not isinstance(spec[0], str):
            return [list(group) for group in spec]
        return [[str(metric) for metric in spec]]

    def rank_treatments(self, verifier_results: Mapping[str, Any]) -> dict[str, Any]:
        """The treatments from the lowest score to the highest, and the first one as the best."""
        scores = {name: self.ranker(result) for name, result in verifier_results.items()}
        ranked = sorted(scores.items(), key=lambda item: item[1])
        return {"best": ranked[0][0] if ranked else None, "ranked": ranked}


def hypothesis(
    *, verifier: Verify, metrics: MetricsSpec = None, name: str | None = None
) -> Callable[[Ranker], Hypothesis]:
    """Decorates a ranker: makes a Hypothesis of it."""

    def decorate(fn: Ranker) -> Hypothesis:
        chosen = name or getattr(fn, "__name__", None)
        return Hypothesis(verifier=verifier, metrics=metrics, ranker=fn, name=chosen)

    return decorate


class VerifierCallable:
    """A verifier with its parameters bound. Pickles by its function, where that is importable."""

    def __init__(self, fn: Callable[..., Mapping[str, Any]], params: Mapping[str, Any]) -> None:
        self.fn = fn
        self.params = dict(params)

    def __call__(self, baseline_samples: Samples, treatment_samples: Samples) -> Mapping[str, Any]:
        return self.fn(baseline_samples, treatment_samples, **self.params)


def verifier(fn: Callable[..., Mapping[str, Any]]) -> Callable[..., VerifierCallable]:
    """Decorates `fn(baseline_samples, treatment_samples, **params)`: a factory by its parameters.

    The factory raises ParameterError for parameters that `fn` does not take, or lacks.
    """
    taken = [p for p in inspect.signature(fn).parameters.values() if p.name not in _SAMPLES]

    def factory(**overrides: Any) -> VerifierCallable:
        return VerifierCallable(fn, parameters.bind(taken, overrides))

    return update_wrapper(factory, fn)
