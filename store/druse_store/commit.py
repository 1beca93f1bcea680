"""The write order: what one commit does, inside the write transaction.

Frames are durable before this is reached. Here, in one transaction: chunks, then what was relied
on (freshened, or the commit fails), then blobs whose chunks are all there, then records whose
blobs are all there, then runs that name committed records, then the log frame, made durable, then
the files' committed ends. What cannot be served any more is left out and named, never committed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from druse_store import changes
from druse_store.appender import Appender
from druse_store.attest import Attester
from druse_store.changes import Change
from druse_store.digest import Digest
from druse_store.errors import BlobVanished, StoreError
from druse_store.frames import Link
from druse_store.index import values
from druse_store.index.environment import Environment, Error, translate
from druse_store.index.snapshot import Snapshot
from druse_store.index.tables import Tables
from druse_store.logwriter import LogWriter
from druse_store.pending import Beginning, Pending
from druse_store.records import Record
from druse_store.writelock import WriteLock

_NO_SEGMENT = bytes(8)
_USE_SLACK = 3_600_000_000_000  # ns: how coarsely it is noted that a record was used


class Committer:
    """Commits what is pending. One commit at a time on the machine, by the write lock."""

    def __init__(
        self,
        environment: Environment,
        lock: WriteLock,
        log: LogWriter,
        attester: Attester | None = None,
    ) -> None:
        self.environment = environment
        self.lock = lock
        self.log = log
        self._attester = attester

    def commit(self, pending: Pending) -> StoreError | None:
        """Makes it durable and visible. Returns the error for what had to be left out, if any.

        Raises if nothing was committed.
        """
        error: StoreError | None = None

        def work(tables: Tables) -> list[Change]:
            nonlocal error
            error = _add_blobs(tables, pending)
            made = _changes(tables, pending, error)
            error = error or _gap(pending)
            self._attest(tables, pending, made)
            if pending.used:
                hour_ago = time.time_ns() - _USE_SLACK
                tables.freshen_records(sorted(pending.used), tables.commit_at(hour_ago))
            for file_id, entry in pending.packs.items():
                tables.put_file(file_id, entry)
            return made

        self.transact(work)
        return error

    def _attest(self, tables: Tables, pending: Pending, made: list[Change]) -> None:
        """In a shared store, signs the records of this commit, so that others can tell whose
        they are."""
        records = pending.rows.records
        if self._attester is not None and records:
            origins = pending.rows.origins
            signed = self._attester.sign({digest: origins.get(digest) for digest in records})
            made.append([changes.ATTEST, *signed])
            changes.apply(tables, made[-1])

    def transact(
        self, work: Callable[[Any], list[Change]], kind: Callable[[Environment], Tables] = Tables
    ) -> None:
        """One commit: what `work` does to the tables, with the changes that it returns, logged.

        Raises if nothing was committed.
        """
        with self.lock as left:
            segment: Appender | None = None
            end = last = 0
            try:
                with kind(self.environment) as tables:
                    if left != _NO_SEGMENT:
                        self.log.settle(tables, left)
                    made = work(tables)
                    if made:
                        segment = self.log.prepare(tables)
                        end, last = segment.end, segment.last
                        self.lock.note(segment.file_id)
                    self._finish(tables, made, segment)
                    tables.commit()
            except BaseException as failure:
                # An interrupt may come right behind the commit, whose frame has to stay then.
                if segment is not None and not self._has_committed(segment, end):
                    segment.rewind(end, last)
                self.lock.note(_NO_SEGMENT)
                if isinstance(failure, Error):
                    raise translate(failure, self.environment.folder) from failure
                raise
            self.lock.note(_NO_SEGMENT)
        self.environment.keep_slack()

    def _has_committed(self, segment: Appender, end: int) -> bool:
        """Whether the last commit is that of a frame behind `end`."""
        with Snapshot(self.environment) as snapshot:
            head = snapshot.head()
        return head.segment == segment.file_id and head.offset >= end

    def _finish(self, tables: Tables, made: list[Change], segment: Appender | None) -> None:
        head, now = tables.head(), time.time_ns()
        commit = head.commit + 1
        if segment is not None:
            link = Link(commit, now, head.segment, head.offset)
            offset = self.log.append(segment, link, made)
            head = values.Head(commit, segment.file_id, offset)
            tables.put_file(segment.file_id, segment.entry())
        tables.put_head(head._replace(commit=commit))
        tables.tick(commit, now)


def _add_blobs(tables: Tables, pending: Pending) -> StoreError | None:
    """Chunks and blobs, and what was relied on. Returns the error for what is gone."""
    commit = tables.head().commit + 1
    tables.add_chunks(pending.chunks, commit)
    gone = {digest for digest in pending.relied if not _freshen(tables, pending, digest, commit)}
    for digest, entry in pending.blobs.items():
        parts = [entry.chunks, *(chunk for chunk, _ in pending.lists[digest])]
        if all(part in pending.chunks or part in pending.relied for part in parts) and not (
            gone.intersection(parts)
        ):
            tables.put_blob(digest, entry._replace(since=commit))
        else:
            gone.add(digest)
    if not gone:
        return None
    names = ", ".join(str(Digest(digest))[:12] for digest in sorted(gone)[:5])
    pending.gone = gone
    return BlobVanished(
        f"{len(gone)} blobs or chunks that this commit relied on are gone ({names}): put them "
        "again, and compute again what named them"
    )


def _freshen(tables: Tables, pending: Pending, digest: Digest, commit: int) -> bool:
    if digest in pending.chunks or digest in pending.blobs:
        return True
    entry = tables.blob(digest)
    if entry is None:
        return tables.freshen_chunk(digest, commit)
    if entry.state == values.SUSPECT:
        return False
    # If it was tombstoned, its chunks are still there: a sweep takes blobs before chunks, and gives
    # the chunks of one that came back their life again.
    tables.put_blob(digest, entry._replace(state=values.LIVE, since=commit))
    return True


def _version(tables: Tables, beginning: Beginning) -> int:
    experiment, wanted = beginning.experiment, beginning.wanted
    if wanted is not None and tables.run(values.run_key(experiment, wanted)) is None:
        return wanted
    return max(tables.next_version(experiment), beginning.least)


def _changes(tables: Tables, pending: Pending, error: StoreError | None) -> list[Change]:
    """Applies the logical changes, and returns those to log."""
    if error is not None:
        _leave_out(pending)
    rows = pending.rows
    made: list[Change] = [[changes.RECORD, packed] for packed in rows.records.values()]
    for record, nodes, origin in pending.adoptions.values():
        if rows.adopt(tables, record, nodes, origin):
            made.append([changes.ADOPT, record.encode(), origin.signer, origin.remote])
    rows.write(tables)
    late: list[Change] = []
    for beginning in pending.beginnings:
        version = _version(tables, beginning)
        beginning.version = version
        late.append(
            [changes.BEGIN, beginning.experiment, version, beginning.info, beginning.started]
        )
        changes.apply(tables, late[-1])
    for (experiment, version), cells in pending.cells.items():
        served = [c for c in cells if c[2] in rows.records or tables.has_record(c[2])]
        if len(served) < len(cells):
            pending.gaps[experiment, version] = len(cells) - len(served)
        if served:
            late.append([changes.CELLS, experiment, version, served])
            changes.apply(tables, late[-1])
    for change in pending.changes:
        if change[0] == changes.FINISH and (change[1], change[2]) in pending.gaps:
            change[-1] = False  # it is not complete
        changes.apply(tables, change)
    return made + late + pending.changes


def _gap(pending: Pending) -> BlobVanished | None:
    """The error for cells that were left out, as a collection took their records before."""
    for (experiment, version), count in pending.gaps.items():
        return BlobVanished(
            f"the run {experiment}/v{version} lacks {count} of its cells: their records were "
            "collected before they were added. Compute these cells again (a lease, or a batch "
            "around both, keeps a record until its run names it)"
        )
    return None


def _needs(packed: bytes) -> list[Digest]:
    """The blobs without which an encoded record cannot be served."""
    return Record.decode(packed).blobs()


def _leave_out(pending: Pending) -> None:
    """Takes out the records whose blobs are gone; the others are committed."""
    rows = pending.rows
    gone = pending.gone
    bad = {d for d, packed in rows.records.items() if gone.intersection(_needs(packed))}
    if bad:
        rows.leave_out(bad)
