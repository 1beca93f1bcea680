"""The end of an experiment's run: the run in the store, its result, its view, the last hooks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from druse import layout, views
from druse.assemble import make_result
from druse.plugins import BasePlugin
from druse_store import StoreError

if TYPE_CHECKING:
    from druse.listener import Listener
    from druse.prepared import Prepared
    from druse.progress import ExperimentRun
    from druse.result import Result
    from druse.session import Session

_NAMED = 3  # files that a warning names


def end(session: Session, prepared: Prepared, run: ExperimentRun, listener: Listener) -> Result:
    """Ends the run in the store, exports its view, and makes the result."""
    run.run = run.finish()
    result = run.result = make_result(prepared, run)
    # What was the same the last time was said then; now it is there for those who ask.
    for text in [*prepared.warnings, *(result.warnings if run.is_new else run.warnings)]:
        listener.warned(f"{prepared.name}: {text}")
    _call_on_hit(prepared, run)
    _export(session, prepared, run, result, listener)
    for plugin in prepared.experiment.plugins:
        plugin.after_run(prepared.experiment, result)
    return result


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
    selection = layout.EVERYTHING if session.views == "full" else layout.METRICS
    how = {"versioned": plugin.versioned}
    try:
        here = views.is_current(
            root, run.run, session.store.id, artifacts=selection.artifacts, **how
        )
        if run.is_new or not here:
            view = views.export(
                session.store,
                run.run,
                root,
                selection=selection,
                progress=lambda done, total: listener.exporting(prepared.name, done, total),
                **how,
            )
            if view.missing:
                listener.warned(f"{prepared.name}: {what_is_lacking(view.missing)}")
    except (views.ViewFailed, StoreError) as error:
        listener.warned(f"{prepared.name}: {error}")
        return
    run.view = folder
    if selection.artifacts:
        result.artifacts = lambda: _paths(prepared, run, folder)


def what_is_lacking(missing: list[str]) -> str:
    """Says what a view lacks, in one line."""
    names = ", ".join(missing[:_NAMED]) + (", …" if len(missing) > _NAMED else "")
    files = (
        "1 file whose bytes are" if len(missing) == 1 else f"{len(missing)} files whose bytes are"
    )
    return f"the view lacks {files} gone: {names}"


def _paths(prepared: Prepared, run: ExperimentRun, folder: Path) -> dict[str, dict[str, Path]]:
    """Where each artifact of each condition lies: that of the first replicate that has it."""
    found: dict[str, dict[str, Path]] = {}
    names = prepared.step_names
    records = {cell: record for cell, (record, _) in run.records().items()}
    records.update({c: f.record for c, f in run.failures.items() if f.record is not None})
    for cell, record in sorted(records.items(), key=lambda item: item[0].replicate):
        for artifact in layout.shown_artifacts(record):
            step = names[artifact.step] if artifact.step < len(names) else str(artifact.step)
            place = folder / f"replicate_{cell.replicate}" / cell.condition / step
            found.setdefault(artifact.name, {}).setdefault(cell.condition, place / artifact.name)
    return found
