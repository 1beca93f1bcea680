"""Earlier records that a cell can be compared with, and which of them is the nearest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from druse.differences import Past
from druse.fingerprint.manifest import Manifest, ManifestDamaged
from druse.history import Durations, durations
from druse.reads import OFF_PATH
from druse.stored import step_names
from druse_store import Digest, Record, Run, StoreError

if TYPE_CHECKING:
    from druse.differences import Today
    from druse.prepared import Prepared
    from druse.task import CellName
    from druse_store import Store

_RUNS = 8  # the latest ones, of which records are looked at
_RECORDS = 200
_TIMED = 8  # records of a condition that times are taken from


def usual_durations(store: Store, experiment: str) -> Durations:
    """How long the cells of an experiment took in the latest run that has any."""
    for run in reversed(list(store.runs(experiment))):
        counts: Counter[str] = Counter()
        cells = []
        for cell in run.cells:
            counts[cell.condition] += 1
            if counts[cell.condition] <= _TIMED:
                record = store.record_by_digest(cell.record)
                cells += [(cell.condition, record)] if record is not None else []
        found = durations(cells, step_names(run))
        if found.cell is not None:
            return found
    return Durations()


class History:
    """The earlier records of one store, for as many questions as come. Read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._runs: dict[str, list[Run]] = {}
        self._cells: dict[tuple[str, int], dict[tuple[str, int], Digest]] = {}
        self._manifests: dict[Digest, Manifest | None] = {}

    def runs(self, experiment: str) -> list[Run]:
        """The latest runs of an experiment, the newest first."""
        if experiment not in self._runs:
            found = [run for run in self._store.runs(experiment) if run.count]
            self._runs[experiment] = found[::-1][:_RUNS]
        return self._runs[experiment]

    def cells(self, run: Run) -> dict[tuple[str, int], Digest]:
        """The records of a run, by condition and replicate."""
        key = (run.experiment, run.version)
        if key not in self._cells:
            self._cells[key] = {(c.condition, c.replicate): c.record for c in run.cells}
        return self._cells[key]

    def manifest(self, record: Record) -> Manifest | None:
        """What a record's base signature was made of; None where that is gone."""
        digest = record.manifest
        if digest is None:
            return None
        if digest not in self._manifests:
            try:
                self._manifests[digest] = Manifest.decode(self._store.get(digest))
            except (StoreError, ManifestDamaged):
                self._manifests[digest] = None
        return self._manifests[digest]

    def past(self, run: Run, condition: str, digest: Digest) -> Past | None:
        """A record of a run; None where it is gone."""
        record = self._store.record_by_digest(digest)
        names = tuple(step_names(run))
        return None if record is None else Past(record, condition, run.name, names)

    def nearest(self, cell: CellName, prepared: Prepared, today: dict[str, Today]) -> Past | None:
        """The record that has most in common with what a cell would be today; new ones first."""
        best: tuple[tuple[int, int, int, int], Past] | None = None
        for place, past in enumerate(islice(self._candidates(cell, prepared), _RECORDS)):
            record = past.record
            differing = sum(
                1
                for read in record.reads
                if read.key not in OFF_PATH and today[read.key].digest != read.value
            )
            other = past.condition != cell.condition or record.replicate != cell.replicate
            rank = (int(record.base != prepared.base), differing, int(other), place)
            if best is None or rank < best[0]:
                best = rank, past
        return None if best is None else best[1]

    def _candidates(self, cell: CellName, prepared: Prepared) -> Iterator[Past]:
        """Of each run the cell of that name first, then the other conditions', then replicates'."""
        seen: set[Digest] = set()
        for run in self.runs(cell.experiment):
            cells = self.cells(run)
            names = [(cell.condition, cell.replicate)]
            names += [key for key in cells if key[1] == cell.replicate]
            names += [key for key in cells if key[0] == cell.condition][:1]
            for key in names:
                digest = cells.get(key)
                if digest is None or digest in seen:
                    continue
                seen.add(digest)
                past = self.past(run, key[0], digest)
                if past is not None:
                    yield past
        for record in islice(self._store.records_of_base(prepared.base), _RECORDS):
            if record.digest not in seen:
                yield Past(record, str(record.provenance.get("condition", "")))
