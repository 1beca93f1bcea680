"""Results: metrics by condition, hypotheses, errors, and what all of it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from druse_store import Digest


@dataclass
class TreatmentMetrics:
    """The metrics of one condition: values of all replicates in order, None for a missing one."""

    metrics: dict[str, list[Any]]


@dataclass
class HypothesisResult:
    """What a hypothesis says of each treatment, and their ranking."""

    name: str
    results: dict[str, Any]
    ranking: dict[str, Any]

    def get_for_treatment(self, treatment: str) -> Any:
        return self.results.get(treatment)


@dataclass
class ExperimentMetrics:
    """The metrics of all conditions."""

    baseline: TreatmentMetrics
    treatments: dict[str, TreatmentMetrics]
    hypotheses: list[HypothesisResult] = field(default_factory=list)

    def to_df(self) -> Any:
        """The hypotheses' results as a pandas frame."""
        import pandas

        rows = []
        for hypothesis in self.hypotheses:
            for treatment, found in hypothesis.results.items():
                each = found if isinstance(found, Mapping) else {"result": found}
                rows.append({"condition": treatment, "hypothesis": hypothesis.name, **each})
        return pandas.DataFrame(rows)


@dataclass(frozen=True)
class CellResult:
    """One cell of a result: the record that it rests on, how that came, and its metrics."""

    condition: str
    replicate: int
    record: Digest
    how: str
    metrics: Mapping[str, Any]


class Result:
    """What an experiment's run gave, be it from this run's cells or from the store."""

    def __init__(
        self,
        metrics: ExperimentMetrics,
        artifacts: dict[str, Any] | None = None,
        errors: dict[str, Exception] | None = None,
        provenance: dict[str, Any] | None = None,
        cells: tuple[CellResult, ...] = (),
        run: str | None = None,
    ) -> None:
        self.metrics = metrics
        self.artifacts = artifacts or {}
        self.errors = errors or {}
        self.provenance = provenance or {}
        self.cells = cells
        self.run = run
        self.warnings: list[str] = []

    def get_artifact(self, name: str) -> Any:
        """The paths of an artifact in the exported folder, by condition; None if there is none."""
        return self.artifacts.get(name)

    def get_hypothesis(self, name: str) -> HypothesisResult | None:
        return next((h for h in self.metrics.hypotheses if h.name == name), None)

    def __repr__(self) -> str:
        conditions = 1 + len(self.metrics.treatments)
        return (
            f"Result({self.run or 'not kept'}, {conditions} conditions, {len(self.errors)} errors)"
        )
