"""Sending what is here: a plan of what the remote lacks, then its execution in the order that
leaves the remote consistent wherever it ends.

intent -> look -> packs -> pack indexes -> tombstones again -> segments -> tombstones again -> runs

Packs without an index, and indexes without a segment, are found by the next push, or collected.
What came from others is not said again under this key, nor what failed to be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from druse_store import frames
from druse_store.digest import Digest
from druse_store.errors import Damaged, NotFound, StoreError
from druse_store.index.values import LIVE
from druse_store.records import Record
from druse_store.remote.bodies import RunBody
from druse_store.remote.publish import Publisher
from druse_store.remote.site import Site, require_id
from druse_store.remote.transfer import Show
from druse_store.remote.upload import Uploader
from druse_store.run import Run
from druse_store.trust import Signer

if TYPE_CHECKING:
    from druse_store.session import Session

_RECENT = 60.0  # seconds: next to nothing of the grace


@dataclass(slots=True)
class Load:
    """What is to be on the remote: records by base, the chunks of their blobs, the chunk lists
    among them by blob. `absent` blobs are not here either."""

    records: dict[Digest, list[Record]] = field(default_factory=dict)
    chunks: dict[Digest, int] = field(default_factory=dict)
    lists: dict[Digest, tuple[Digest, int]] = field(default_factory=dict)
    absent: set[Digest] = field(default_factory=set)
    runs: list[RunBody] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PushPlan:
    """What a push would send, as of now."""

    load: Load
    chunks: int
    bytes: int
    present: int

    @property
    def records(self) -> int:
        return sum(map(len, self.load.records.values()))


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push sent."""

    records: int
    runs: int
    chunks: int
    bytes: int
    damaged: tuple[Digest, ...]


def gather(session: Session, records: Iterable[Record], runs: Sequence[Run] = ()) -> Load:
    """What these records and runs need on a remote. Records that others computed are left out."""
    load = Load()
    with session.reading() as view:
        own = [record for record in records if view.origin(record.digest) is None]
    for record in own:
        load.records.setdefault(record.base, []).append(record)
        for blob in record.blobs():
            _add_blob(session, blob, load)
    for run in runs:
        load.runs.append(run_body(session, run))
    return load


def load_of(session: Session, blobs: Iterable[Digest]) -> Load:
    """What these blobs need on a remote."""
    load = Load()
    for blob in blobs:
        _add_blob(session, blob, load)
    return load


def run_body(session: Session, run: Run) -> RunBody:
    """A run as it is published."""
    cells = run.cells
    with session.reading() as view:
        found = {cell.record: view.record_by_digest(cell.record) for cell in cells}
    bases = {record.base for record in found.values() if record is not None}
    return RunBody(
        run.experiment,
        run.version,
        dict(run.info),
        run.started,
        run.finished,
        run.complete,
        tuple(sorted(bases)),
        cells,
    )


def _add_blob(session: Session, blob: Digest, load: Load) -> None:
    if blob in load.chunks or blob in load.lists or blob in load.absent:
        return
    reader = session.reader
    entry = reader.chunk(blob)
    if entry is not None and entry.state == LIVE:
        load.chunks[blob] = frames.CHUNK
        return
    known = reader.blob(blob)
    if known is None or known.state != LIVE:
        load.absent.add(blob)
        return
    try:
        outline = reader.chunk_list(blob, known.chunks, known.size)
    except (Damaged, NotFound):
        load.absent.add(blob)
        return
    load.lists[blob] = (known.chunks, known.size)
    load.chunks[known.chunks] = frames.LIST
    for chunk, _ in outline.chunks:
        load.chunks.setdefault(chunk, frames.CHUNK)


class Sender:
    """Sends loads to one remote, one after the other. Used by one thread at a time."""

    def __init__(
        self,
        session: Session,
        site: Site,
        signer: Signer,
        show: Show | None = None,
        uploader: Uploader | None = None,
    ) -> None:
        self._session = session
        self._uploader = uploader or Uploader(session, site, show)
        self._publisher = Publisher(site, signer)

    def plan(self, load: Load) -> PushPlan:
        """What would be sent. Writes nothing, here or there."""
        self._uploader.catalog.refresh()
        lacking = self._uploader.lacking(load.chunks.items())
        entries = (self._session.reader.chunk(digest) for digest, _ in lacking)
        size = sum(entry.stored for entry in entries if entry is not None)
        return PushPlan(load, len(lacking), size, len(load.chunks) - len(lacking))

    def send(self, load: Load, *, fold: bool) -> Pushed:
        """Sends a load. Raises RemoteError; called again, it goes on where it was interrupted.

        `fold`: the last one for now. One of many that come soon after each other looks less often.
        """
        uploader = self._uploader
        before = uploader.sent_bytes
        sent = 0
        while True:  # once more where so long has passed that what was seen may be gone
            if uploader.is_stale():
                uploader.begin()
            sent += self._send_chunks(load)
            if not uploader.is_stale():
                break
        unless_within = 0.0 if fold else _RECENT
        uploader.settle(load.lists, unless_within)
        records = sum(self._say(base, found, load, fold) for base, found in load.records.items())
        uploader.settle(load.lists, unless_within)
        runs = self._say_runs(load)
        damaged = tuple(sorted(uploader.damaged))
        return Pushed(records, runs, sent, uploader.sent_bytes - before, damaged)

    def end(self) -> None:
        """Says that nothing more is sent."""
        self._uploader.end()

    def _send_chunks(self, load: Load) -> int:
        lacking = self._uploader.lacking(load.chunks.items())
        self._uploader.send(lacking, load.lists)
        return len(lacking)

    def _say(self, base: Digest, records: list[Record], load: Load, fold: bool) -> int:
        chunks = {record.digest: self._chunks_of(record, load) for record in records}
        damaged = self._uploader.damaged
        usable = [r for r in records if not damaged.intersection(chunks[r.digest])]
        needed = {chunk for record in usable for chunk in chunks[record.digest]}
        packed = [record.encode() for record in usable]
        indexes = self._uploader.index_names(needed)
        again = base.hex() in self._uploader.catalog.tombstoned
        said = self._publisher.records(base, packed, indexes, fold=fold, again=again)
        return len(said)

    def _say_runs(self, load: Load) -> int:
        by_experiment: dict[str, list[RunBody]] = {}
        for run in load.runs:
            by_experiment.setdefault(run.experiment, []).append(run)
        said = (self._publisher.runs(name, runs) for name, runs in by_experiment.items())
        return sum(map(len, said))

    def _chunks_of(self, record: Record, load: Load) -> set[Digest]:
        found: set[Digest] = set()
        for blob in record.blobs():
            named = load.lists.get(blob)
            if named is None:
                found.add(blob)
                continue
            found.add(named[0])
            try:
                outline = self._session.reader.chunk_list(blob, *named)
            except StoreError:
                continue
            found.update(chunk for chunk, _ in outline.chunks)
        return found


class Push:
    """A push to one remote, asked for by a person: `plan` looks, `execute` sends."""

    def __init__(
        self, session: Session, site: Site, signer: Signer, load: Load, show: Show | None = None
    ) -> None:
        self._site = site
        self._load = load
        self._sender = Sender(session, site, signer, show)

    def plan(self) -> PushPlan:
        """What would be sent. Writes nothing, here or there."""
        require_id(self._site.backend, self._site.id)
        return self._sender.plan(self._load)

    def execute(self) -> Pushed:
        """Sends it. Raises RemoteError; called again, it goes on where it was interrupted."""
        require_id(self._site.backend, self._site.id)
        pushed = self._sender.send(self._load, fold=True)
        self._sender.end()
        return pushed
