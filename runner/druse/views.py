"""Exported folders: `data/<experiment>/vN/` in Crystallize's format, and what was exported where.

A view is built aside and renamed, its root marker last. `<root>/.views/` remembers which folder was
exported here, by host and real path, so that a marker that somebody deleted is told apart from one
that never was.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from druse import names
from druse.errors import DruseError
from druse.places import VIEWS
from druse.stored import step_names
from druse_store import ArtifactRef, Digest, Record, Run, Store, StoreError

_LEDGER = VIEWS
_LARGE = 4 << 20  # bytes; above, a file is written piece by piece


class ViewFailed(DruseError):
    """A view could not be written."""


# --- what a view holds -----------------------------------------------------------------------


def cells_of(
    store: Store, run: Run, records: Mapping[Digest, Record] | None = None
) -> dict[tuple[str, int], Record]:
    """The records of a run's cells that have a result: from the store, unless they are given."""
    found = {}
    with store.reading() as view:
        find = view.record_by_digest if records is None else records.get
        for cell in run.cells:
            record = find(cell.record)
            if record is not None and record.status != "failed":
                found[(cell.condition, cell.replicate)] = record
    return found


def conditions_of(run: Run) -> list[str]:
    """A run's conditions, the baseline first."""
    named = run.info.get("conditions")
    if isinstance(named, list):
        return [str(name) for name in named]
    return list(dict.fromkeys(cell.condition for cell in run.cells))


def replicates_of(run: Run) -> int:
    """How many replicates were due in a run."""
    count = run.info.get("replicates")
    if isinstance(count, int):
        return count
    return 1 + max((cell.replicate for cell in run.cells), default=-1)


def merged(known: Sequence[Mapping[str, Any] | None]) -> dict[str, list[Any]]:
    """The metrics of a condition's cells in order; None stands for a cell that is missing."""
    keys = dict.fromkeys(key for metrics in known if metrics is not None for key in metrics)
    values: dict[str, list[Any]] = {key: [] for key in keys}
    for metrics in known:
        for key, collected in values.items():
            if metrics is None:
                collected.append(None)
            else:
                collected.extend(metrics.get(key, ()))
    return values


# --- writing ---------------------------------------------------------------------------------


class View:
    """The exported folder of one run."""

    def __init__(
        self,
        store: Store,
        run: Run,
        folder: Path,
        *,
        artifacts: bool = True,
        records: Mapping[Digest, Record] | None = None,
    ) -> None:
        self._store = store
        self._run = run
        self.folder = folder
        self._with_artifacts = artifacts
        self._cells = cells_of(store, run, records)
        self._conditions = [names.check_condition(name) for name in conditions_of(run)]
        self._steps = [names.check(name, "a step") for name in step_names(run)]
        self._replicates = replicates_of(run)
        self.missing: list[str] = []
        self.markers: list[str] = []

    def write(self) -> None:
        """Writes it aside, then puts it in its place. Raises ViewFailed, StoreError."""
        parent = self.folder.parent
        aside = parent / f".{self.folder.name}.{os.getpid()}.partial"
        try:
            parent.mkdir(parents=True, exist_ok=True)
            _sweep(parent, self.folder.name)
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            self._fill(aside)
            _replace(aside, self.folder)
        except OSError as error:
            shutil.rmtree(aside, ignore_errors=True)
            raise ViewFailed(
                f"the view {self.folder} could not be written: {error.strerror or error}. The run "
                f"is in the store; once that is mended, `druse export {self._run.name}` writes it"
            ) from error

    def _fill(self, folder: Path) -> None:
        manifest: dict[str, str] = {}
        if self._with_artifacts:
            for (condition, replicate), record in self._cells.items():
                self._write_artifacts(folder, condition, replicate, record, manifest)
        metadata = {
            "replicates": self._replicates,
            "id": self._run.info.get("id"),
            "name": self._run.experiment,
        }
        _write_json(folder / names.METADATA, metadata)
        for condition in self._conditions:
            self._write_condition(folder, condition)
        _write_json(folder / names.MANIFEST, dict(sorted(manifest.items())))
        if len(self.markers) == len(self._conditions):
            (folder / names.MARKER).touch()
            self.markers.append(names.MARKER)

    def _write_condition(self, folder: Path, condition: str) -> None:
        cells = [self._cells.get((condition, place)) for place in range(self._replicates)]
        if not any(cells):
            return
        (folder / condition).mkdir()
        metrics = [record.metrics if record is not None else None for record in cells]
        _write_json(folder / condition / names.RESULTS, {"metrics": merged(metrics)})
        if all(cells):
            (folder / condition / names.MARKER).touch()
            self.markers.append(f"{condition}/{names.MARKER}")

    def _write_artifacts(
        self,
        folder: Path,
        condition: str,
        replicate: int,
        record: Record,
        manifest: dict[str, str],
    ) -> None:
        for artifact in record.artifacts:
            step = self._step_name(artifact)
            manifest[artifact.name] = step
            place = folder / f"replicate_{replicate}" / names.check_condition(condition) / step
            place.mkdir(parents=True, exist_ok=True)
            path = place / names.check(artifact.name, "an artifact")
            try:
                self._write_artifact(path, artifact)
            except StoreError:
                self.missing.append(f"{condition}/{replicate}: {step}/{artifact.name}")

    def _write_artifact(self, path: Path, artifact: ArtifactRef) -> None:
        root = artifact.ref.root
        if root.size > _LARGE:
            self._store.get_to(root.digest, path)
        else:
            path.write_bytes(self._store.get(root.digest))

    def _step_name(self, artifact: ArtifactRef) -> str:
        if 0 <= artifact.step < len(self._steps):
            return self._steps[artifact.step]
        return f"step_{artifact.step}"


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def _replace(aside: Path, folder: Path) -> None:
    """Puts a folder where another one may be: nobody finds half of either."""
    old = folder.with_name(f"{aside.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        folder.rename(old)
    aside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _sweep(parent: Path, name: str) -> None:
    """Removes what exports left behind whose process is gone."""
    for left in parent.glob(f".{name}.*.partial*"):
        pid = left.name.split(".")[2]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(left, ignore_errors=True)


# --- the ledger ------------------------------------------------------------------------------


def folder_name(run: Run, *, versioned: bool) -> str:
    """The folder of a run's view."""
    return f"v{run.version}" if versioned else "v0"


def export(store: Store, run: Run, root: Path, *, versioned: bool, artifacts: bool = True) -> View:
    """Writes the view of a run below a root, and notes that it is there."""
    experiment = names.check(run.experiment, "an experiment")
    folder = root / experiment / folder_name(run, versioned=versioned)
    view = View(store, run, folder, artifacts=artifacts)
    view.write()
    known = read_note(root, experiment, store.id)
    if known is not None and known.get("run", -1) > run.version:
        return view  # what counts is the latest run's
    ledger = root / _LEDGER
    ledger.mkdir(exist_ok=True)
    note = {
        "host": socket.gethostname(),
        "root": os.path.realpath(root),
        "store": store.id,
        "run": run.version,
        "folder": folder.name,
        "markers": sorted(view.markers),
    }
    aside = ledger / f".{experiment}.{os.getpid()}"
    _write_json(aside, note)
    aside.replace(ledger / f"{experiment}.json")
    return view


def export_published(
    store: Store, run: Run, root: Path, run_id: str, records: Mapping[Digest, Record]
) -> View:
    """Writes the view of a run that somebody else published, to a folder named for its id."""
    folder = root / names.check(run.experiment, "an experiment") / names.check(run_id, "a run")
    view = View(store, run, folder, records=records)
    view.write()
    return view


def read_note(root: Path, experiment: str, store_id: str) -> Mapping[str, Any] | None:
    """What was exported here last, of this store; None if nothing was."""
    try:
        note = json.loads((root / _LEDGER / f"{experiment}.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(note, dict):
        return None
    here = (socket.gethostname(), os.path.realpath(root), store_id)
    return note if (note.get("host"), note.get("root"), note.get("store")) == here else None


def asked_again(root: Path, experiment: str, store_id: str) -> tuple[bool, frozenset[str] | None]:
    """Whether markers of the latest view were deleted; of which conditions (None: of all)."""
    note = read_note(root, experiment, store_id)
    if note is None:
        return False, frozenset()
    folder = root / experiment / names.check(str(note.get("folder")), "a view")
    markers = [str(marker) for marker in note.get("markers", [])]
    if names.MARKER in markers:
        kept = (folder / names.METADATA, folder / names.MARKER)
        if not all(path.exists() for path in kept):
            return True, None
    gone = frozenset(_conditions_without(folder, markers))
    return bool(gone), gone


def _conditions_without(folder: Path, markers: list[str]) -> Iterator[str]:
    for marker in markers:
        condition, _, name = marker.rpartition("/")
        if condition and name == names.MARKER and not (folder / condition / name).exists():
            yield condition


def is_current(root: Path, run: Run, store_id: str, *, versioned: bool) -> bool:
    """Whether the view of this very run is here, whole."""
    note = read_note(root, run.experiment, store_id)
    folder = root / run.experiment / folder_name(run, versioned=versioned)
    if not (folder / names.METADATA).exists():
        return False
    return note is not None and note.get("run") == run.version and note.get("folder") == folder.name
