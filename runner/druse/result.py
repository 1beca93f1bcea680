"""Results: metrics by condition, hypotheses, errors, and what all of it rests on.

What a result is made of is worked out when it is first asked for: resuming ten thousand cells costs
nothing for metrics that nobody looks at.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from druse import frames, tree
from druse.names import BASELINE
from druse_store import Digest


class CellResult(NamedTuple):
    """One cell of a result: the record that it rests on, how that came, and its metrics.

    `how` is "hit" (the store had it) or "run".
    """

    condition: str
    replicate: int
    record: Digest
    how: str
    metrics: Mapping[str, Any]


@dataclass
class TreatmentMetrics:
    """The metrics of one condition: the values of all replicates that there are, in their order.

    `cells` are the cells that they come from.
    """

    metrics: dict[str, list[Any]]
    cells: tuple[CellResult, ...] = field(default=(), compare=False, repr=False)


@dataclass
class HypothesisResult:
    """What a hypothesis says of each treatment, and their ranking.

    `replicates` are those that a verdict rests on: the ones that both sides have. `errors` are
    those that the verifier raised for a treatment, or the ranker (as "ranking").
    """

    name: str
    results: dict[str, Any]
    ranking: dict[str, Any]
    errors: dict[str, Exception] = field(default_factory=dict)
    replicates: dict[str, list[int]] = field(default_factory=dict)

    def get_for_treatment(self, treatment: str) -> Any:
        return self.results.get(treatment)


@dataclass
class ExperimentMetrics:
    """The metrics of all conditions."""

    baseline: TreatmentMetrics
    treatments: dict[str, TreatmentMetrics]
    hypotheses: list[HypothesisResult] = field(default_factory=list)

    def conditions(self) -> dict[str, TreatmentMetrics]:
        """All conditions by name, the baseline first."""
        return {BASELINE: self.baseline, **self.treatments}

    def to_df(self) -> Any:
        """The hypotheses' verdicts as a frame (pandas, or polars where only that is there)."""
        rows = []
        for hypothesis in self.hypotheses:
            for treatment, found in hypothesis.results.items():
                each = found if isinstance(found, Mapping) else {"result": found}
                rows.append({"condition": treatment, "hypothesis": hypothesis.name, **each})
        return frames.frame(rows, "to_df()")


Part = TypeVar("Part")


class _Later:
    """A part of a result that is worked out once, when it is first asked for."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}"

    def __get__(self, result: Any, owner: type | None = None) -> Any:
        if result is None:
            return self
        value = getattr(result, self._name)
        if callable(value):
            value = value()
            setattr(result, self._name, value)
        return value

    def __set__(self, result: Any, value: Any) -> None:
        setattr(result, self._name, value)


class Result:
    """What an experiment's run gave, be it from this run's cells or from the store.

    Each part may be given as a function, which is called when the part is first asked for.
    """

    metrics = _Later()
    artifacts = _Later()
    provenance = _Later()
    cells = _Later()
    errors = _Later()
    warnings = _Later()

    def __init__(
        self,
        metrics: ExperimentMetrics | Callable[[], ExperimentMetrics],
        artifacts: dict[str, Any] | Callable[[], dict[str, Any]] | None = None,
        errors: dict[str, Exception] | Callable[[], dict[str, Exception]] | None = None,
        provenance: dict[str, Any] | Callable[[], dict[str, Any]] | None = None,
        cells: Sequence[CellResult] | Callable[[], Sequence[CellResult]] = (),
        run: str | None = None,
        warnings: list[str] | Callable[[], list[str]] | None = None,
    ) -> None:
        self.metrics = metrics
        self.artifacts = artifacts or {}
        self.errors = errors or {}
        self.provenance = provenance or {}
        self.cells = cells
        self.run = run
        self.warnings = warnings or []

    def get_artifact(self, name: str) -> Any:
        """The paths of an artifact in the exported folder, by condition; None if there is none."""
        return self.artifacts.get(name)

    def get_hypothesis(self, name: str) -> HypothesisResult | None:
        """What the hypothesis of this name says; None if there is none."""
        return next((h for h in self.metrics.hypotheses if h.name == name), None)

    # --- as other things -----------------------------------------------------------------------

    def to_dataframe(self, library: str | None = None) -> Any:
        """The metrics as a frame: a row for each cell, with its condition and replicate.

        Where a cell recorded several values of a metric, there is a row for each, by `index`.
        `library` is "pandas" or "polars"; else the one that is installed. Raises ImportError.
        """
        return frames.frame(frames.rows_of(self), "to_dataframe()", library)

    def print_tree(self, fmt: str = "treatment > replicate > step") -> None:
        """Prints what each step of each cell read and wrote, as a tree.

        `fmt` names the levels: "treatment", "replicate" and "step" in any order, and "action" as
        the last one. Raises ValueError for others.
        """
        tree.show(self.provenance.get("ctx_changes", {}), fmt)

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data. Artifacts are named; errors are their messages."""
        metrics: ExperimentMetrics = self.metrics
        return {
            "timestamp": datetime.now(UTC).replace(tzinfo=None).isoformat(),
            "run": self.run,
            "metrics": {
                "baseline": metrics.baseline.metrics,
                "treatments": {name: each.metrics for name, each in metrics.treatments.items()},
            },
            "hypotheses": [
                {"name": h.name, "results": h.results, "ranking": h.ranking}
                for h in metrics.hypotheses
            ],
            "artifacts": list(self.artifacts),
            "errors": {name: str(error) for name, error in self.errors.items()},
            "provenance": self.provenance,
        }

    def to_json(self, path: str | Path | None = None, indent: int = 2) -> str | None:
        """`to_dict` as JSON: written to `path`, or returned without one."""
        text = json.dumps(self.to_dict(), indent=indent, default=str)
        if path is None:
            return text
        Path(path).write_text(text, encoding="utf-8")
        return None

    def to_parquet(self, path: str | Path) -> None:
        """Writes a table with a row for each condition and metric. Raises ImportError."""
        rows = [
            {"condition": name, "metric": metric, "values": values, "mean": frames.mean(values)}
            for name, each in self.metrics.conditions().items()
            for metric, values in each.metrics.items()
        ]
        frames.write_parquet(rows, Path(path))

    def _repr_html_(self) -> str:
        return frames.html_of(self)

    def __repr__(self) -> str:
        conditions = len(self.metrics.conditions())
        return (
            f"Result({self.run or 'not kept'}, {conditions} conditions, {len(self.errors)} errors)"
        )

    def __getstate__(self) -> dict[str, Any]:
        for name in ("metrics", "artifacts", "provenance", "cells", "errors", "warnings"):
            getattr(self, name)
        return self.__dict__
