"""What takes the space: by experiment, version, step and artifact, and what each alone holds.

Who holds a chunk is a place in a tree (store > experiment > version > artifact). A chunk that
several hold belongs to the lowest place that is above all of them: summed up the tree, that gives
what each place alone holds, in one pass and without a set of chunks for each.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from druse_store import frames, runs
from druse_store.digest import Digest, trusted
from druse_store.index import values
from druse_store.records import Record

if TYPE_CHECKING:
    from druse_store.run import Run
    from druse_store.session import Session
    from druse_store.view import View

_SLICE = 1_000  # records per read transaction
_NOBODY = -1


@dataclass(slots=True)
class Usage:
    """Bytes. `raw` counts all that is named each time that it is named, as folders of files would;
    `unique` each chunk once; `stored` what those take in packs; `alone` what of that nothing else
    holds; `gone` what is named, and not here (any more)."""

    raw: int = 0
    unique: int = 0
    stored: int = 0
    alone: int = 0
    gone: int = 0

    @property
    def ratio(self) -> float:
        """How many times smaller the packs are than what is named in them."""
        return self.raw / self.stored if self.stored else 1.0


@dataclass(slots=True)
class ArtifactUsage:
    """What the artifact `name` of the step at position `step` holds in all cells of a version.

    A return value has the name "". Step -1 is the datasource, -2 what belongs to the cell itself.
    """

    step: int
    name: str
    usage: Usage


@dataclass(slots=True)
class VersionUsage:
    """What a run holds."""

    version: int
    level: str
    complete: bool
    cells: int
    usage: Usage
    artifacts: list[ArtifactUsage] = field(default_factory=list)


@dataclass(slots=True)
class ExperimentUsage:
    """What the runs of an experiment hold."""

    experiment: str
    usage: Usage
    versions: list[VersionUsage] = field(default_factory=list)


@dataclass(slots=True)
class SpaceUsed:
    """What takes the space in a store. `total.stored` is what all chunks take in packs."""

    total: Usage
    experiments: list[ExperimentUsage]
    outside_runs: Usage  # records that no run names: cached steps, and what was superseded
    pinned: Usage  # blobs and records that a pin names
    unnamed: Usage  # chunks that nothing above names
    overhead: int  # bytes of packs that are no chunk the index has: headers, and what is dead


def gather(session: Session) -> SpaceUsed:
    """Reads every run, record and pin, and the index; no blob but for chunk lists."""
    return _Ledger(session).gather()


class _Ledger:
    """Who holds what. A chunk is a number here: its place in four arrays."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._numbers: dict[Digest, int] = {}
        self._sizes = array("q")
        self._stored = array("q")
        self._owner = array("q")
        self._usage: list[Usage] = []
        self._parent: list[int] = []
        self._last: list[array[int]] = []  # for each depth, the place that saw a chunk last
        self._lists: dict[Digest, list[int]] = {}
        self._in_runs: set[Digest] = set()

    def gather(self) -> SpaceUsed:
        self._number_chunks()
        root, total = self._place(_NOBODY)
        experiments: list[ExperimentUsage] = []
        with self._session.snapshot() as snapshot:
            found = runs.find_all(self._session, snapshot, None)
            pins = runs.pins(snapshot)
            files = [entry for _, entry in snapshot.files() if entry.kind == frames.PACK]
        place = root
        for run in found:
            if not experiments or experiments[-1].experiment != run.experiment:
                place, usage = self._place(root)
                experiments.append(ExperimentUsage(run.experiment, usage))
            experiments[-1].versions.append(self._run(run, (place, root)))
        outside = self._outside_runs(root)
        pinned = self._pins(root, [target for target in pins.values() if type(target) is Digest])
        unnamed = self._sum_up(total)
        overhead = sum(entry.end for entry in files) - total.stored
        return SpaceUsed(total, experiments, outside, pinned, unnamed, overhead)

    # --- the chunks ----------------------------------------------------------------------------

    def _number_chunks(self) -> None:
        for key, value in self._rows(values.CHUNKS):
            entry = values.unpack_chunk(key, value)
            self._numbers[trusted(key)] = len(self._sizes)
            self._sizes.append(entry.size)
            self._stored.append(entry.stored)
        self._owner = array("q", [_NOBODY]) * len(self._sizes)

    def _rows(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        after: bytes | None = None
        while True:
            with self._session.snapshot() as snapshot:
                rows = snapshot.rows_after(table, after, _SLICE)
            yield from rows
            if len(rows) < _SLICE:
                return
            after = rows[-1][0]

    def _chunks_of(self, view: View, blob: Digest) -> tuple[int, list[int]] | None:
        """The size of a blob, and the numbers of its chunks; None where it is not here."""
        number = self._numbers.get(blob)
        if number is not None:
            return self._sizes[number], [number]
        entry = view.blob(blob)
        if entry is None or entry.state != values.LIVE:
            return None
        known = self._lists.get(blob)
        if known is None:
            outline = self._session.reader.chunk_list(blob, entry.chunks, entry.size)
            parts = (entry.chunks, *(digest for digest, _ in outline.chunks))
            known = [self._numbers[part] for part in parts if part in self._numbers]
            self._lists[blob] = known
        return entry.size, known

    # --- the tree ------------------------------------------------------------------------------

    def _place(self, parent: int) -> tuple[int, Usage]:
        self._parent.append(parent)
        self._usage.append(Usage())
        return len(self._usage) - 1, self._usage[-1]

    def _hold(self, path: tuple[int, ...], size: int | None, chunks: list[int], raw: int) -> None:
        """Says that the first place of `path` (and so all above it) names a blob."""
        for place in path:
            usage = self._usage[place]
            if size is None:
                usage.gone += raw
            else:
                usage.raw += size
        for chunk in chunks:
            self._hold_chunk(path, chunk)

    def _hold_chunk(self, path: tuple[int, ...], chunk: int) -> None:
        owner = self._owner[chunk]
        if owner == _NOBODY:
            self._owner[chunk] = path[0]
        elif owner != path[0]:
            while owner not in path:
                owner = self._parent[owner]
            self._owner[chunk] = owner
        # Places of one depth are filled one after the other, so that the last one is enough.
        for depth, place in enumerate(reversed(path)):
            if depth == len(self._last):
                self._last.append(array("q", [_NOBODY]) * len(self._sizes))
            if self._last[depth][chunk] != place:
                self._last[depth][chunk] = place
                usage = self._usage[place]
                usage.unique += self._sizes[chunk]
                usage.stored += self._stored[chunk]

    def _sum_up(self, total: Usage) -> Usage:
        """Fills in `alone`, and the total; returns what nobody holds."""
        unnamed = Usage()
        for chunk, owner in enumerate(self._owner):
            if owner == _NOBODY:
                unnamed.unique += self._sizes[chunk]
                unnamed.stored += self._stored[chunk]
            else:
                self._usage[owner].alone += self._stored[chunk]
        for place in range(len(self._usage) - 1, 0, -1):
            self._usage[self._parent[place]].alone += self._usage[place].alone
        unnamed.raw, unnamed.alone = unnamed.unique, unnamed.stored
        for name in ("raw", "unique", "stored", "alone"):
            setattr(total, name, getattr(total, name) + getattr(unnamed, name))
        return unnamed

    # --- who holds -----------------------------------------------------------------------------

    def _run(self, run: Run, above: tuple[int, ...]) -> VersionUsage:
        place, usage = self._place(above[0])
        found = VersionUsage(run.version, run.level, run.complete, run.count, usage)
        named: dict[tuple[int, str], list[tuple[Digest, int]]] = {}
        cells = iter(run.cells)
        while digests := [cell.record for cell in islice(cells, _SLICE)]:
            self._in_runs.update(digests)
            with self._session.reading() as view:
                records = [view.record_by_digest(digest) for digest in digests]
            for record in records:
                for step, name, blob, size in _names(record):
                    named.setdefault((step, name), []).append((blob, size))
        for step, name in sorted(named):
            part, part_usage = self._place(place)
            self._blobs((part, place, *above), named[step, name])
            found.artifacts.append(ArtifactUsage(step, name, part_usage))
        return found

    def _blobs(self, path: tuple[int, ...], blobs: list[tuple[Digest, int]]) -> None:
        with self._session.reading() as view:
            for blob, size in blobs:
                here = self._chunks_of(view, blob)
                if here is None:
                    self._hold(path, None, [], size)
                else:
                    self._hold(path, *here, size)

    def _outside_runs(self, root: int) -> Usage:
        place, usage = self._place(root)
        for key, value in self._rows(values.RECORDS):
            removed = values.record_state(value)[0] == values.TOMBSTONED
            if key not in self._in_runs and not removed:
                record = Record.decode(values.body(values.RECORDS, key, value))
                self._blobs((place, root), [named[2:] for named in _names(record)])
        return usage

    def _pins(self, root: int, digests: list[Digest]) -> Usage:
        place, usage = self._place(root)
        for digest in digests:
            with self._session.reading() as view:
                record = view.record_by_digest(digest)
            blobs = [(digest, 0)] if record is None else [n[2:] for n in _names(record)]
            self._blobs((place, root), blobs)
        return usage


def _names(record: Record | None) -> Iterator[tuple[int, str, Digest, int]]:
    """Step, name, digest and size of every blob that a record names (a size of 0: not said)."""
    if record is None:
        return
    for artifact in record.artifacts:
        for ref in artifact.ref.blobs():
            yield artifact.step, artifact.name, ref.digest, ref.size
    for ref in record.output.blobs() if record.output is not None else ():
        yield -2, "", ref.digest, ref.size
    for digest in (*((record.manifest,) if record.manifest is not None else ()), *record.needs):
        yield -2, "", digest, 0
