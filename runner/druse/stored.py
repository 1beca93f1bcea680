"""Artifacts of runs that are in the store: read by digest, never from an exported folder."""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from druse import names
from druse.datasource import DataSource
from druse.errors import ArtifactNotFound
from druse.names import BASELINE
from druse.scratch import Scratch
from druse_store import ArtifactRef, Record, Run, Store, StoreNotFound

if TYPE_CHECKING:
    from druse.artifact import Artifact
    from druse.context import FrozenContext
    from druse.experiment import Experiment


def step_names(run: Run) -> list[str]:
    """The names of a run's steps, by their places."""
    found = run.info.get("steps", [])
    return [str(name) for name in found] if isinstance(found, list) else []


def find_artifact(record: Record, name: str, position: int | None = None) -> ArtifactRef | None:
    """The artifact of this name that a cell wrote last (or the step at `position`)."""
    for artifact in reversed(record.artifacts):
        if artifact.name == name and position in (None, artifact.step):
            return artifact
    return None


def record_of(store: Store, run: Run, condition: str, replicate: int) -> Record | None:
    """The record of a run's cell; of the baseline's where the run lacks the condition."""
    cells = {(cell.condition, cell.replicate): cell.record for cell in run.cells}
    digest = cells.get((condition, replicate)) or cells.get((BASELINE, replicate))
    return None if digest is None else store.record_by_digest(digest)


class LatestArtifacts:
    """The artifacts of an experiment's latest run."""

    def __init__(self, store: Store, experiment: str) -> None:
        self._store = store
        self._experiment = experiment
        self._run = store.run(experiment)
        cells = self._run.cells if self._run is not None else ()
        self._cells = {(cell.condition, cell.replicate): cell.record for cell in cells}
        self.replicates = 1 + max((replicate for _, replicate in self._cells), default=-1)

    def find(self, name: str, condition: str, replicate: int) -> ArtifactRef | None:
        """The artifact that answers to a consumer's condition and replicate."""
        if not self.replicates:
            return None
        place = replicate % self.replicates
        digest = self._cells.get((condition, place)) or self._cells.get((BASELINE, place))
        record = None if digest is None else self._store.record_by_digest(digest)
        return None if record is None else find_artifact(record, name)


class StoredArtifact(DataSource):
    """The path of an artifact of an experiment's latest run. Made by `artifact_datasource`.

    The file holds the stored bytes, whatever became of the exported folder. Raises
    ArtifactNotFound.
    """

    def __init__(
        self, experiment: str, step: str, name: str, condition: str, replicates: int
    ) -> None:
        self.experiment = experiment
        self.step = step
        self.name = name
        self.condition = condition
        self.replicates = replicates

    @property
    def key(self) -> str:
        """What names this input in a cell's reads."""
        return f"{self.experiment}/{self.step}/{self.name}/{self.condition}"

    def find(self, store: Store, replicate: int) -> ArtifactRef:
        """Raises ArtifactNotFound."""
        run = store.run(self.experiment)
        if run is None:
            raise ArtifactNotFound(f"{self}: {self.experiment} has no run in {store.path}")
        for cell in run.cells:
            if (cell.condition, cell.replicate) == (self.condition, replicate):
                record = store.record_by_digest(cell.record)
                found = None if record is None else self.find_in(record, step_names(run))
                if found is not None:
                    return found
        raise self.missing(replicate, run.name)

    def find_in(self, record: Record, steps: Sequence[str]) -> ArtifactRef | None:
        """The artifact in a cell's record, by the names of the steps."""
        for position, step in enumerate(steps):
            if step == self.step:
                found = find_artifact(record, self.name, position)
                if found is not None:
                    return found
        return None

    def missing(self, replicate: int, where: str) -> ArtifactNotFound:
        """The error about one that is not there."""
        return ArtifactNotFound(
            f"{self} is missing for rep {replicate} of {where}. Run that experiment with as many "
            "replicates, and name the step and the file as it writes them"
        )

    def __str__(self) -> str:
        return f"artifact {self.name!r} of {self.experiment} ({self.condition}, step {self.step})"

    def fetch(self, ctx: FrozenContext) -> Path:
        runtime = ctx._runtime
        if runtime is not None:
            return runtime.stored_path(self, ctx)
        with _open(str(self)) as store:
            artifact = self.find(store, int(ctx.get("replicate", 0)))
            folder = tempfile.mkdtemp(dir=_until_exit())
            return materialise(store, artifact, Path(folder))


@cache
def _until_exit() -> Path:
    """Where files lie that were asked for outside of any run: as long as the process lives."""
    scratch = Scratch()
    atexit.register(scratch.remove)
    return scratch.path


def materialise(
    store: Store, artifact: ArtifactRef, folder: Path, data: bytes | None = None
) -> Path:
    """Writes an artifact's verified bytes to a file of its own name. `data`: where they are had."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / names.check(artifact.name, "an artifact")  # the record may be anybody's
    if data is None:
        store.get_to(artifact.ref.root.digest, path)
    else:
        path.write_bytes(data)
    return path


def _open(wanted: str) -> Store:
    """The store that earlier runs are in. Raises ArtifactNotFound where there is none."""
    from druse import location

    try:
        return location.open_store(create=False)
    except StoreNotFound as error:
        raise ArtifactNotFound(
            f"{wanted} is not there, since nothing was run yet: {error}"
        ) from error


def fetch_latest(artifact: Artifact, producer: Experiment, ctx: FrozenContext) -> Any:
    """The value of an artifact of the producer's latest run, outside of any run."""
    with _open(f"artifact {artifact.name!r} of {producer.folder_name}") as store:
        latest = LatestArtifacts(store, producer.folder_name)
        condition = str(ctx.get("condition", BASELINE))
        found = latest.find(artifact.name, condition, int(ctx.get("replicate", 0)))
        if found is None:
            raise ArtifactNotFound(
                f"no run of {producer.folder_name} in {store.path} has {artifact.name!r}"
            )
        with tempfile.TemporaryDirectory(prefix="druse-") as folder:
            return artifact.loader(materialise(store, found, Path(folder)))
