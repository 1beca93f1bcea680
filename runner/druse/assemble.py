"""Puts a result together: from the records of an experiment's cells, fresh ones and stored ones."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from druse.collecting import uncollected
from druse.errors import Blocked, PipelineExecutionError
from druse.layout import merged
from druse.names import BASELINE, SOURCE
from druse.result import (
    CellResult,
    ExperimentMetrics,
    HypothesisResult,
    Result,
    TreatmentMetrics,
)
from druse_store import Record

if TYPE_CHECKING:
    from druse.hypotheses import Hypothesis
    from druse.prepared import Prepared
    from druse.progress import ExperimentRun, Failed
    from druse.task import CellName

_SAME_FROM = 3  # replicates; fewer that are equal say little


def make_result(prepared: Prepared, run: ExperimentRun) -> Result:
    """The result of a run that has ended. What it says is worked out when somebody asks."""
    cells = Cells(prepared, run)
    return Result(
        metrics=lambda: cells.metrics,
        errors=lambda: {**_errors(run), **cells.verifiers_errors},
        provenance=lambda: cells.provenance,
        cells=lambda: cells.all,
        run=run.run.name if run.run is not None else None,
        warnings=lambda: [*run.warnings, *_failing(cells), *cells.identical],
    )


class Cells:
    """The cells of an experiment that have a result, by condition and replicate."""

    def __init__(self, prepared: Prepared, run: ExperimentRun) -> None:
        self._prepared = prepared
        self._stated = list(prepared.experiment.hypotheses)  # those of this run
        self._run = run

    @cached_property
    def _records(self) -> dict[CellName, tuple[Record, str]]:
        return self._run.records()

    @cached_property
    def _by_condition(self) -> dict[str, list[CellResult]]:
        """The cells of each condition that has any, by replicate; the baseline comes first."""
        found: dict[str, list[CellResult]] = {name: [] for name in self._prepared.conditions}
        with uncollected():
            for (_, condition, replicate), (record, how) in self._records.items():
                found[condition].append(
                    CellResult(condition, replicate, record.digest, how, record.metrics)
                )
        for cells in found.values():
            cells.sort(key=attrgetter("replicate"))
        return {name: cells for name, cells in found.items() if cells or name == BASELINE}

    @property
    def all(self) -> tuple[CellResult, ...]:
        return tuple(cell for cells in self._by_condition.values() for cell in cells)

    @cached_property
    def metrics(self) -> ExperimentMetrics:
        conditions = {
            name: TreatmentMetrics(merged([cell.metrics for cell in cells]), tuple(cells))
            for name, cells in self._by_condition.items()
        }
        baseline = conditions.pop(BASELINE)
        return ExperimentMetrics(
            baseline, conditions, [self._verify(each) for each in self._stated]
        )

    def _verify(self, hypothesis: Hypothesis) -> HypothesisResult:
        """A hypothesis for each treatment, over the replicates that both sides have."""
        found = HypothesisResult(hypothesis.name, {}, {"best": None, "ranked": []})
        baseline = {cell.replicate: cell.metrics for cell in self._by_condition[BASELINE]}
        for name, cells in self._by_condition.items():
            treated = {c.replicate: c.metrics for c in cells if c.replicate in baseline}
            if name == BASELINE or not treated:
                continue
            sides = merged([baseline[place] for place in treated]), merged([*treated.values()])
            try:
                found.results[name] = hypothesis.verify(*sides)
                found.replicates[name] = list(treated)
            except Exception as error:  # a verifier's; what the cells gave is not lost over it
                found.errors[name] = error
        try:
            found.ranking = hypothesis.rank_treatments(found.results)
        except Exception as error:
            found.errors["ranking"] = error
        return found

    @property
    def verifiers_errors(self) -> dict[str, Exception]:
        if not self._stated:
            return {}  # and nobody needs the metrics for them
        return {
            f"{hypothesis.name}: {name}": error
            for hypothesis in self.metrics.hypotheses
            for name, error in hypothesis.errors.items()
        }

    @cached_property
    def provenance(self) -> dict[str, Any]:
        changes: dict[str, dict[int, list[dict[str, Any]]]] = {}
        seeds: dict[str, list[int]] = {name: [] for name in self._prepared.conditions}
        for cell, (record, _) in sorted(self._records.items(), key=lambda item: item[0]):
            changes.setdefault(cell.condition, {})[cell.replicate] = _steps(self._prepared, record)
            condition = self._prepared.conditions[cell.condition]
            seeds[cell.condition].append(condition.seed_used(cell.replicate))
        return {
            "pipeline_signature": self._prepared.experiment.pipeline.signature(),
            "replicates": self._prepared.replicates,
            "seeds": seeds,
            "ctx_changes": changes,
        }

    @cached_property
    def identical(self) -> list[str]:
        """The metrics whose replicates are all equal: often one draw in place of many."""
        found = []
        by_condition: dict[str, list[Any]] = {name: [] for name in self._prepared.conditions}
        for (_, condition, _), (record, _) in self._records.items():
            by_condition[condition].append(record.metrics)
        for condition, metrics in by_condition.items():
            if len(metrics) < _SAME_FROM:
                continue
            first = metrics[0]
            same = list(first)
            if metrics.count(first) < len(metrics):
                same = [k for k in first if all(m.get(k) == first[k] for m in metrics)]
            if same:
                names = ", ".join(sorted(same))
                found.append(
                    f"all {len(metrics)} replicates of {condition} have the same {names}: nothing "
                    "in them depends on the replicate"
                )
        return found


# --- provenance ------------------------------------------------------------------------------


def _steps(prepared: Prepared, record: Record) -> list[dict[str, Any]]:
    """What each step of a cell read and wrote, for people."""
    traces: Any = record.provenance.get("trace", [])
    shown: Any = record.provenance.get("shown", {})
    seconds: Any = record.provenance.get("step_seconds", [])
    hits: Any = record.provenance.get("step_hits", [])
    counts: dict[str, int] = {}
    found = []
    for place, (step, trace) in enumerate(zip(prepared.steps, traces, strict=False)):
        wrote = trace["wrote"]
        found.append(
            {
                "step": type(step).__name__,
                "params": step.params,
                "cache_hit": place in hits,
                "seconds": seconds[place] if place < len(seconds) else None,
                "ctx_changes": {
                    "reads": {
                        name: shown[key]
                        for key in trace["reads"]
                        if key in shown
                        and key.startswith("ctx:")
                        and (name := key.rpartition(":")[2]) not in wrote
                    },
                    "wrote": {k: {"before": None, "after": v} for k, v in sorted(wrote.items())},
                    "metrics": _changed(record.metrics, counts, trace["metrics"]),
                },
            }
        )
    return found


def _changed(metrics: Any, before: dict[str, int], after: Mapping[str, int]) -> dict[str, Any]:
    """The values of the metrics that a step added to, from how many each had before and after."""
    found = {}
    for name, count in sorted(after.items()):
        values = tuple(metrics.get(name, ()))
        found[name] = {"before": values[: before.get(name, 0)], "after": values[:count]}
        before[name] = count
    return found


# --- errors ----------------------------------------------------------------------------------


def _errors(run: ExperimentRun) -> dict[str, Exception]:
    return {
        f"{cell.condition}_rep_{cell.replicate}": _error(cell, failed)
        for cell, failed in sorted(run.failures.items())
    }


def _error(cell: CellName, failed: Failed) -> Exception:
    if failed.needs is not None or failed.outcome is None:
        return Blocked(f"{cell} was not executed: it needs {failed.needs}, which failed")
    failure = failed.outcome.failure
    assert failure is not None
    cause = failed.outcome.error
    if isinstance(cause, Exception) and failure.step == SOURCE:
        error: Any = cause  # what the datasource, a treatment or a plugin raised, as it was
    else:
        error = PipelineExecutionError(
            failure.step, cause if cause is not None else failure.message
        )
        error.__cause__ = cause
    error.traceback_str = failure.traceback
    error.replicate, error.condition = cell.replicate, cell.condition
    return error  # type: ignore[no-any-return]


def _failing(cells: Cells) -> list[str]:
    return [
        f"the hypothesis {name} failed: {type(error).__name__}: {error}"
        for name, error in cells.verifiers_errors.items()
    ]
