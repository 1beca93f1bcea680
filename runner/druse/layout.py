"""What an exported folder holds: which cells, files and metrics of a run, and where they lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from druse import names
from druse.stored import step_names
from druse_store import ArtifactRef, Digest, Record, Run, Store


@dataclass(frozen=True)
class Selection:
    """What of a run is exported: everything, unless it says less."""

    metrics: bool = True
    artifacts: bool = True
    conditions: frozenset[str] | None = None
    replicates: frozenset[int] | None = None

    def takes(self, condition: str) -> bool:
        return self.conditions is None or condition in self.conditions

    def takes_replicate(self, replicate: int) -> bool:
        return self.replicates is None or replicate in self.replicates

    @property
    def is_part(self) -> bool:
        """Whether what it gives must not be taken for the run's folder."""
        return not self.metrics or self.conditions is not None or self.replicates is not None


EVERYTHING = Selection()
METRICS = Selection(artifacts=False)


def cells_of(
    store: Store, run: Run, records: Mapping[Digest, Record] | None = None
) -> dict[tuple[str, int], Record]:
    """The records of a run's cells that have a result: from the store, unless they are given."""
    found = records_of(store, run, records)
    return {place: record for place, record in found.items() if record.status != "failed"}


def records_of(
    store: Store, run: Run, records: Mapping[Digest, Record] | None = None
) -> dict[tuple[str, int], Record]:
    """Those of all its cells."""
    found = {}
    with store.reading() as view:
        find = view.record_by_digest if records is None else records.get
        for cell in run.cells:
            record = find(cell.record)
            if record is not None:
                found[(cell.condition, cell.replicate)] = record
    return found


def shown_artifacts(record: Record) -> Iterable[ArtifactRef]:
    """Those that a view shows: of a cell that failed, what the steps before that had written."""
    if record.status != "failed":
        return record.artifacts
    return (each for each in record.artifacts if each.step >= 0)


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
    """The metrics of a condition's cells in order; None stands for a cell that is missing.

    Records that others than runs have made may hold a value where a run has a list of them.
    """
    keys: dict[str, Any] = {}  # for the order in which they come first
    for metrics in known:
        if metrics is not None:
            keys.update(metrics)
    values: dict[str, list[Any]] = {}
    for key in keys:
        collected = values[key] = []
        for metrics in known:
            if metrics is None:
                collected.append(None)
            else:
                found = metrics.get(key, ())
                collected += found if isinstance(found, (list, tuple)) else (found,)
    return values


@dataclass(frozen=True)
class File:
    """An artifact's file in a view: its folders and name below the view's, and what is in it."""

    folder: str
    name: str
    artifact: ArtifactRef
    step: str

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.name}"

    @property
    def digest(self) -> Digest:
        return self.artifact.ref.root.digest

    @property
    def size(self) -> int:
        return self.artifact.ref.root.size


class Layout:
    """What lies where in the view of a run. Raises InvalidName for names that are no folders'."""

    def __init__(
        self, store: Store, run: Run, records: Mapping[Digest, Record] | None = None
    ) -> None:
        self.run = run
        self._records = records_of(store, run, records)
        self.cells = {k: each for k, each in self._records.items() if each.status != "failed"}
        self.conditions = [names.check_condition(name) for name in conditions_of(run)]
        self.replicates = replicates_of(run)
        self._steps = [names.check(name, "a step") for name in step_names(run)]

    def files(self, selection: Selection) -> Iterator[File]:
        """The files of the artifacts, cell by cell."""
        for condition in self.conditions:
            for replicate in range(self.replicates):
                record = self._records.get((condition, replicate))
                if record is None or not selection.takes(condition):
                    continue
                if selection.takes_replicate(replicate):
                    yield from self._files_of(record, f"replicate_{replicate}/{condition}")

    def _files_of(self, record: Record, place: str) -> Iterator[File]:
        for artifact in shown_artifacts(record):
            step = self._step(artifact.step)
            name = names.check(artifact.name, "an artifact")
            yield File(f"{place}/{step}", name, artifact, step)

    def _step(self, position: int) -> str:
        return self._steps[position] if 0 <= position < len(self._steps) else f"step_{position}"

    def merged(self, condition: str, replicates: Iterable[int] | None = None) -> dict[str, Any]:
        """The metrics of a condition, of all replicates or of these."""
        due = range(self.replicates) if replicates is None else replicates
        cells = [self.cells.get((condition, place)) for place in due]
        return merged([record.metrics if record is not None else None for record in cells])

    def metadata(self) -> dict[str, Any]:
        info = self.run.info
        return {
            "replicates": self.replicates,
            "id": info.get("id"),
            "name": self.run.experiment,
        }
