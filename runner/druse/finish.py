"""The end of an experiment's run: the run in the store, its result, its view, the last hooks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from druse import views
from druse.errors import DruseError, PipelineExecutionError
from druse.names import BASELINE, SOURCE
from druse.plugins import BasePlugin
from druse.result import (
    CellResult,
    ExperimentMetrics,
    HypothesisResult,
    Result,
    TreatmentMetrics,
)
from druse_store import Record, Run, StoreError

if TYPE_CHECKING:
    from druse.listener import Listener
    from druse.prepared import Prepared
    from druse.progress import ExperimentRun, Failed
    from druse.session import Session
    from druse.task import CellName

_SAME_FROM = 3  # replicates; fewer that are equal say little


class Blocked(DruseError):
    """A cell was not executed, since one that it needs failed."""


def end(session: Session, prepared: Prepared, run: ExperimentRun, listener: Listener) -> Result:
    """Ends the run in the store, exports its view, and makes the result."""
    run.run = run.finish()
    records = run.records()
    by_cell = {(c.condition, c.replicate): record for c, (record, _) in records.items()}
    run.metrics = _metrics(prepared, by_cell)
    result = _result(prepared, run, by_cell)
    run.warnings += _identical(prepared, by_cell)
    result.warnings = list(run.warnings)
    for text in prepared.warnings + run.warnings:
        listener.warned(f"{prepared.name}: {text}")
    _call_on_hit(prepared, run)
    _export(session, prepared, run, result, listener)
    for plugin in prepared.experiment.plugins:
        plugin.after_run(prepared.experiment, result)
    return result


def _metrics(
    prepared: Prepared, records: dict[tuple[str, int], Record]
) -> dict[str, dict[str, list[Any]]]:
    """The metrics of each condition, of the replicates that there are."""
    found = {}
    for condition in prepared.conditions:
        cells = [records.get((condition, place)) for place in range(prepared.replicates)]
        found[condition] = views.merged([cell for cell in cells if cell is not None])
    return found


def _result(
    prepared: Prepared, run: ExperimentRun, records: dict[tuple[str, int], Record]
) -> Result:
    metrics = ExperimentMetrics(
        baseline=TreatmentMetrics(run.metrics[BASELINE]),
        treatments={
            name: TreatmentMetrics(values)
            for name, values in run.metrics.items()
            if name != BASELINE and any(condition == name for condition, _ in records)
        },
        hypotheses=_verify(prepared, records),
    )
    cells = tuple(
        CellResult(cell.condition, cell.replicate, record.digest, how, record.metrics)
        for cell, (record, how) in run.records().items()
    )
    return Result(
        metrics=metrics,
        errors=_errors(run),
        provenance=_provenance(prepared, records),
        cells=cells,
        run=run.run.name if run.run is not None else None,
    )


def _verify(prepared: Prepared, records: dict[tuple[str, int], Record]) -> list[HypothesisResult]:
    """Each hypothesis for each treatment, over the replicates that both sides have."""
    found = []
    for hypothesis in prepared.experiment.hypotheses:
        results: dict[str, Any] = {}
        for name in prepared.conditions:
            both = [
                place
                for place in range(prepared.replicates)
                if (BASELINE, place) in records and (name, place) in records
            ]
            if name == BASELINE or not both:
                continue
            sides = [
                views.merged([records[(side, place)] for place in both])
                for side in (BASELINE, name)
            ]
            results[name] = hypothesis.verify(sides[0], sides[1])
        ranking = hypothesis.rank_treatments(results)
        found.append(HypothesisResult(hypothesis.name, results, ranking))
    return found


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


def _provenance(prepared: Prepared, records: dict[tuple[str, int], Record]) -> dict[str, Any]:
    changes: dict[str, dict[int, list[dict[str, Any]]]] = {}
    seeds: dict[str, list[int]] = {name: [] for name in prepared.conditions}
    for (condition, replicate), record in records.items():
        trace = record.provenance.get("trace", [])
        changes.setdefault(condition, {})[replicate] = [
            {"step": name, "ctx_changes": each}
            for name, each in zip(prepared.step_names, trace, strict=False)  # type: ignore[arg-type]
        ]
        seeds[condition].append(prepared.conditions[condition].seed_used(replicate))
    return {
        "pipeline_signature": prepared.experiment.pipeline.signature(),
        "replicates": prepared.replicates,
        "seeds": seeds,
        "ctx_changes": changes,
    }


def _identical(prepared: Prepared, records: dict[tuple[str, int], Record]) -> list[str]:
    """The metrics whose replicates are all equal: often one draw in place of many."""
    found = []
    for condition in prepared.conditions:
        cells = [records.get((condition, place)) for place in range(prepared.replicates)]
        known = [cell.metrics for cell in cells if cell is not None]
        if len(known) < _SAME_FROM:
            continue
        same = [key for key in known[0] if all(m.get(key) == known[0][key] for m in known[1:])]
        if same:
            names = ", ".join(sorted(same))
            found.append(
                f"all {len(known)} replicates of {condition} have the same {names}: nothing in "
                "them depends on the replicate"
            )
    return found


def _call_on_hit(prepared: Prepared, run: ExperimentRun) -> None:
    plugins = [
        plugin
        for plugin in prepared.experiment.plugins
        if type(plugin).on_hit is not BasePlugin.on_hit
    ]
    for plugin in plugins:
        for cell in run.hits:
            plugin.on_hit(prepared.experiment, cell.condition, cell.replicate)


# --- the view --------------------------------------------------------------------------------


def _export(
    session: Session, prepared: Prepared, run: ExperimentRun, result: Result, listener: Listener
) -> None:
    if run.run is None or session.views == "none":
        return
    plugin = prepared.artifact_plugin
    root = Path(plugin.root_dir)
    folder = root / prepared.name / views.folder_name(run.run, versioned=plugin.versioned)
    plugin.version = run.run.version if plugin.versioned else 0
    artifacts = session.views == "full"
    try:
        here = views.is_current(root, run.run, session.store.id, versioned=plugin.versioned)
        if run.is_new or not here:
            view = views.export(
                session.store, run.run, root, versioned=plugin.versioned, artifacts=artifacts
            )
            for text in view.missing[:3]:
                listener.warned(f"{prepared.name}: the view lacks {text}: its bytes are gone")
    except (views.ViewFailed, StoreError) as error:
        listener.warned(f"{prepared.name}: {error}")
        return
    run.view = folder
    result.artifacts = _paths(prepared, run.run, run, folder)


def _paths(
    prepared: Prepared, kept: Run, run: ExperimentRun, folder: Path
) -> dict[str, dict[str, Path]]:
    """Where each artifact of each condition lies: that of the first replicate that has it."""
    found: dict[str, dict[str, Path]] = {}
    names = prepared.step_names
    for cell, (record, _) in sorted(run.records().items(), key=lambda item: item[0].replicate):
        for artifact in record.artifacts:
            step = names[artifact.step] if artifact.step < len(names) else str(artifact.step)
            place = folder / f"replicate_{cell.replicate}" / cell.condition / step
            found.setdefault(artifact.name, {}).setdefault(cell.condition, place / artifact.name)
    return found
