"""Writing the log anew: one segment that gives what the index says now, in place of all others.

Its first frame follows nothing, so that no older frame is in anybody's chain. It is written aside,
and appears in `log/` whole: a rebuild that finds it there without its commit gives the same. A
segment that another process is appending to stays; what of it counts is what comes afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from druse_store import attest, changes, frames
from druse_store.appender import Appender
from druse_store.changes import Change
from druse_store.digest import SIZE
from druse_store.frames import Link
from druse_store.gc.buckets import Buckets
from druse_store.index import values
from druse_store.index.bulk import Scan
from druse_store.index.environment import Environment
from druse_store.index.snapshot import Snapshot
from druse_store.index.tables import Tables
from druse_store.index.values import OPEN, STATE_AT, TOMBSTONED, Head
from druse_store.location import Location
from druse_store.logwriter import LogWriter, append_frame
from druse_store.records import cell_of
from druse_store.writelock import WriteLock

_NOTHING = bytes(8)
_FRAME = 4 << 20  # bytes of records in one frame
_SLICE = 1_000


class Follower(Protocol):
    """Somebody who goes along the log from where he last saw it."""

    def look(self, snapshot: Snapshot) -> None: ...
    def go_on_from(self, head: Head) -> None: ...


def write(
    location: Location, environment: Environment, lock: WriteLock, follower: Follower | None = None
) -> list[Path]:
    """Writes a checkpoint; returns the segments that it replaces, which nobody needs any more.

    Other writers wait meanwhile: some 10 µs for each record. The caller's own writer has to have
    left its segment (`Writer.leave_files`). `follower` sees all that was in the log before.
    """
    with lock as left:
        segment = Appender.create(location, frames.LOG_SEGMENT, location.tmp)
        try:
            with Tables(environment) as tables:
                if left != _NOTHING:
                    LogWriter(location).settle(tables, left)
                if follower is not None:
                    follower.look(tables)
                head = _fill(segment, tables, environment)
                lock.note(segment.file_id)
                segment.publish(location)
                replaced = list(_drop_others(location, tables))
                tables.put_file(segment.file_id, segment.entry())
                tables.put_head(head)
                tables.commit()
        except BaseException:
            with suppress(OSError):
                segment.path.unlink()
            raise
        finally:
            lock.note(_NOTHING)
            segment.close()
    environment.keep_slack()
    if follower is not None:
        follower.go_on_from(head)
    return replaced


def _fill(segment: Appender, tables: Tables, environment: Environment) -> Head:
    """Appends frames for everything; returns the head that the last of them is."""
    head = Head(tables.head().commit)
    with Scan(environment) as scan:  # of what was committed: only files have changed since
        for made in _gathered(all_changes(scan)):
            link = Link(head.commit + 1, time.time_ns(), head.segment, head.offset)
            head = Head(head.commit + 1, segment.file_id, append_frame(segment, link, made))
    segment.seal()
    segment.sync()
    return head


def _gathered(made: Iterator[Change]) -> Iterator[list[Change]]:
    """The changes in portions; one at least."""
    part: list[Change] = []
    size = 0
    for change in made:
        part.append(change)
        size += len(change[1]) if change[0] == changes.RECORD else 100
        if size >= _FRAME:
            yield part
            part, size = [], 0
    yield part


def _drop_others(location: Location, tables: Tables) -> Iterator[Path]:
    """Takes the other segments out of the index, but for those that somebody appends to."""
    for file_id, entry in list(tables.files()):
        if entry.kind != frames.LOG_SEGMENT:
            continue
        if entry.state == OPEN:
            mine = Appender.adopt(location, file_id, frames.LOG_SEGMENT)
            if mine is None and location.segment(file_id).exists():
                continue
            if mine is not None:
                mine.close()
        tables.drop_file(file_id, entry)
        yield location.segment(file_id)


# --- everything, as changes --------------------------------------------------------------------


def all_changes(scan: Scan) -> Iterator[Change]:
    """Changes that make the records, runs and pins of an empty index equal to these."""
    yield from _records(scan)
    yield from _runs(scan)
    for name, target in scan.pins():
        yield [changes.PIN, name, target]


def _records(scan: Scan) -> Iterator[Change]:
    """The superseded first: the last one that is made for a cell becomes its current one."""
    marked: dict[int, list[bytes]] = {}
    current = _current(scan)
    for head, rows in scan.slices(values.RECORDS):
        values.check(values.RECORDS, rows)
        named = current.members(head)
        for key, value in rows:
            if value[STATE_AT] != values.LIVE:
                marked.setdefault(value[STATE_AT], []).append(key)
            if key not in named or value[STATE_AT] == TOMBSTONED:
                yield from _superseded(scan, key, value[:STATE_AT])
    for head, rows in scan.slices(values.RECORDS):
        named = current.members(head)
        for key, value in rows:
            if key in named and value[STATE_AT] != TOMBSTONED:
                yield [changes.RECORD, value[:STATE_AT]]
    for digest, origin in scan.origins():
        yield [changes.ORIGIN, digest, *origin]
    for name, value in _rows(scan, values.BATCHES):
        signer, signed, batch = values.split_batch(values.body(values.BATCHES, name, value))
        if any(scan.has_record(digest) for digest in attest.records_in(batch)):
            yield [changes.ATTEST, signer, signed, batch]
    for state, keys in marked.items():
        yield [changes.MARK, state, b"".join(keys)]


def _superseded(scan: Scan, key: bytes, packed: bytes) -> Iterator[Change]:
    """A record that is current no more; `retire` where no other one took its place."""
    yield [changes.RECORD, packed]
    signature, replicate, _ = cell_of(packed)
    if scan.current(values.record_key(signature, replicate)) is None:
        yield [changes.RETIRE, key]


def _current(scan: Scan) -> Buckets:
    """The records that cells point at."""
    found = Buckets()
    for _, rows in scan.slices(values.CURRENT):
        values.check(values.CURRENT, rows)
        found.update(value[:SIZE] for _, value in rows)
    return found


def _runs(snapshot: Snapshot) -> Iterator[Change]:
    for name, _ in _rows(snapshot, values.EXPERIMENTS):
        experiment = name.decode("utf-8", "surrogateescape")
        yield [changes.NEXT_VERSION, experiment, snapshot.next_version(experiment)]
    for experiment, version in snapshot.run_keys():
        yield from _run(snapshot, experiment, version)


def _run(snapshot: Snapshot, experiment: str, version: int) -> Iterator[Change]:
    key = values.run_key(experiment, version)
    header = snapshot.run(key)
    if header is None:
        return
    info, started, finished, complete, level, _, _ = header
    yield [changes.BEGIN, experiment, version, info, started]
    for cells in snapshot.cells(key):
        yield [changes.CELLS, experiment, version, cells]
    if finished or complete:
        yield [changes.FINISH, experiment, version, {}, finished, complete]
    if level != "full":
        yield [changes.LEVEL, experiment, version, level]


def _rows(snapshot: Snapshot, table: str) -> Iterator[tuple[bytes, bytes]]:
    after: bytes | None = None
    while rows := snapshot.rows_after(table, after, _SLICE):
        yield from rows
        after = rows[-1][0]
