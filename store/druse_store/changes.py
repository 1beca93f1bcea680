"""Logical changes: what a log frame holds, and what each change does to the index.

The same functions apply a change when it is made and when the index is rebuilt, so that
index = f(packs, log). A log frame's payload is a msgpack list of changes; a change is a list that
begins with its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from druse_store import attest, packing, trash
from druse_store.digest import SIZE, Digest, trusted
from druse_store.errors import RecordDamaged
from druse_store.index import values
from druse_store.index.tables import Tables
from druse_store.index.values import LIVE, REVOKED, WITHDRAWN, Origin
from druse_store.records import Record, row_of

ATTEST = "attest"
ADOPT, ORIGIN, HIDE, WITHDRAW = "adopt", "origin", "hide", "withdraw"
RECORD, REMOVE_RECORD, RETIRE = "record", "remove_record", "retire"
BEGIN, CELLS, FINISH, REMOVE_RUN, LEVEL = "begin", "cells", "finish", "remove_run", "level"
PIN, UNPIN, MARK = "pin", "unpin", "mark"
ABANDON, NEXT_VERSION = "abandon", "next_version"

Change = list[Any]


def encode(changes: list[Change]) -> bytes:
    """A log frame's payload, before compression."""
    return packing.pack_any(changes)


def decode(data: bytes) -> list[Change]:
    """The changes of a log frame. Raises RecordDamaged."""
    changes = packing.unpack(data)
    if type(changes) is not list or not all(type(c) is list and c for c in changes):
        raise RecordDamaged("a log frame has another outline than format version 1")
    return changes


class RecordRows:
    """The rows of the index that records need, gathered so that they go in sorted, at once."""

    __slots__ = ("bases", "edges", "ends", "origins", "pointers", "records")

    def __init__(self) -> None:
        self.records: dict[Digest, bytes] = {}
        self.pointers: dict[bytes, Digest] = {}
        self.bases: dict[bytes, None] = {}
        self.edges: dict[Digest, dict[str, None]] = {}
        self.ends: dict[bytes, None] = {}  # nodes at which reading ends: one for most records
        self.origins: dict[Digest, Origin] = {}

    def add(self, record: Record, nodes: Sequence[Digest]) -> Digest:
        """Adds the rows of one record; `nodes` is its chain of reads. Returns its digest."""
        digest, packed = record.digest, record.encode()
        self.records[digest] = packed
        key, base, has_result = row_of(packed)
        self.pointers[key] = digest
        self.bases[base] = None
        if has_result:
            edges = self.edges
            for node, name in zip(nodes, record.names(), strict=False):
                known = edges.get(node)
                if known is None:
                    edges[node] = {name: None}
                else:
                    known[name] = None
            self.ends[key[:SIZE]] = None  # as bytes, which are not searched for cycles
        return digest

    def next_reads(self, node: Digest) -> tuple[str, ...]:
        """The keys that are read next at a node; "" is the end."""
        keys = tuple(self.edges.get(node, ()))
        return (*keys, "") if node in self.ends else keys

    def adopt(
        self, tables: Tables, record: Record, nodes: Sequence[Digest], origin: Origin
    ) -> bool:
        """Adds a record that others computed; false for one of a failure, or that is here already.

        It becomes current where its cell has no record yet, or a failed one. Its blobs need not be
        here: they come when they are needed, or it is computed again.
        """
        digest = record.digest
        known = tables.origin(digest)
        if record.status == "failed" or digest in self.records:
            return False
        if tables.has_record(digest) and (known is None or known.state == LIVE):
            return False
        key = values.record_key(record.signature, record.replicate)
        if key in self.pointers or _is_answered(tables, key):
            self.records[digest] = record.encode()
        else:
            self.add(record, nodes)
        self.origins[digest] = origin
        return True

    def leave_out(self, digests: set[Digest]) -> None:
        """Takes records out again: their rows are made anew from those that stay."""
        kept = [packed for digest, packed in self.records.items() if digest not in digests]
        everything = (self.records, self.pointers, self.bases, self.edges, self.ends, self.origins)
        for rows in everything:
            rows.clear()
        for packed in kept:
            record = Record.decode(packed)
            self.add(record, record.nodes())

    def write(self, tables: Tables) -> None:
        tables.add_records(self.records)
        self.write_leads(tables)
        if tables.count(values.ORIGINS):  # what is computed here, too, is nobody else's claim
            for digest in self.records:
                if digest not in self.origins:
                    tables.drop(values.ORIGINS, digest)
        for digest, origin in self.origins.items():
            tables.put_origin(digest, origin)

    def write_leads(self, tables: Tables) -> None:
        """What leads to the records, whose own rows are there."""
        tables.move_pointers(self.pointers)
        tables.add_bases(self.bases)
        tables.add_edges(self.edges)
        tables.add_ends(self.ends)


def _is_answered(tables: Tables, key: bytes) -> bool:
    """Whether a cell has a record that is none of a failure."""
    current = tables.current(key)
    packed = None if current is None else tables.record(current)
    return packed is not None and Record.decode(packed).status != "failed"


def apply_all(tables: Tables, changes: Iterable[Change]) -> None:
    """Does what the changes say, in their order."""
    rows = RecordRows()
    for change in changes:
        if change[0] == RECORD:
            record = Record.decode(change[1])
            rows.add(record, record.nodes())
        elif change[0] == ADOPT:
            record = Record.decode(change[1])
            rows.adopt(tables, record, record.nodes(), Origin(change[2], change[3]))
        else:
            rows.write(tables)
            rows = RecordRows()
            apply(tables, change)
    rows.write(tables)


def apply(tables: Tables, change: Change) -> None:
    """Does what one change other than RECORD and ADOPT says."""
    act = _ACTS.get(change[0])
    if act is None:
        raise RecordDamaged(f"the log names a change {change[0]!r} that this version does not know")
    act(tables, *change[1:])


def _begin(tables: Tables, experiment: str, version: int, info: Any, started: int) -> None:
    key = values.run_key(experiment, version)
    tables.put_run(key, [info, started, 0, False, "full", 0, 0])
    tables.put_next_version(experiment, max(version + 1, tables.next_version(experiment)))


def _cells(tables: Tables, experiment: str, version: int, cells: list[Any]) -> None:
    key = values.run_key(experiment, version)
    header = tables.run(key)
    if header is None:
        return  # the run was removed meanwhile
    info, started, finished, complete, level, count, pieces = header
    tables.put_cells(key + pieces.to_bytes(4, "big"), cells)
    tables.put_run(key, [info, started, finished, complete, level, count + len(cells), pieces + 1])


def _finish(
    tables: Tables, experiment: str, version: int, info: Any, finished: int, complete: bool
) -> None:
    key = values.run_key(experiment, version)
    header = tables.run(key)
    if header is not None:
        merged = packing.sorted_map({**header[0], **info})
        tables.put_run(key, [merged, header[1], finished, complete, *header[4:]])


def _remove_run(tables: Tables, experiment: str, version: int) -> None:
    trash.throw_run(tables, values.run_key(experiment, version))


def _abandon(tables: Tables, experiment: str, version: int) -> None:
    """Removes a run that nobody shall bring back."""
    key = values.run_key(experiment, version)
    tables.drop(values.RUNS, key)
    tables.drop_under(values.CELLS, key)


def _next_version(tables: Tables, experiment: str, version: int) -> None:
    tables.put_next_version(experiment, max(version, tables.next_version(experiment)))


def _level(tables: Tables, experiment: str, version: int, level: str) -> None:
    key = values.run_key(experiment, version)
    header = tables.run(key)
    if header is not None:
        trash.throw_level(tables, key, header[4])
        tables.put_run(key, [*header[:4], level, *header[5:]])


def _remove_record(tables: Tables, digest: bytes) -> None:
    _retire(tables, digest)
    for table in (values.RECORDS, values.ORIGINS, values.ATTESTED):
        tables.drop(table, digest)


def _retire(tables: Tables, digest: bytes) -> None:
    """The cell has no record now, so that it is computed again; runs keep the one they had."""
    packed = tables.record(digest)
    if packed is not None:
        record = Record.decode(packed)
        key = values.record_key(record.signature, record.replicate)
        if tables.current(key) == digest:
            tables.drop(values.CURRENT, key)
            tables.drop(values.BASES, record.base + key)


def _mark(tables: Tables, state: int, digests: bytes) -> None:
    """Gives records a state: removed (until that is final), evicted, or neither any more."""
    keys = (digests[start : start + SIZE] for start in range(0, len(digests), SIZE))
    tables.mark_records(keys, state)


def _origin(tables: Tables, digest: bytes, signer: bytes, remote: bytes, state: int) -> None:
    """A record that is there was computed elsewhere."""
    if tables.has_record(digest):
        tables.put_origin(digest, Origin(signer, remote, state))


def _attest(tables: Tables, key: bytes, signature: bytes, batch: bytes) -> None:
    """A user of a shared store has signed the records of a commit."""
    name = attest.batch_name(key, signature, batch)
    tables.put_batch(name, key + signature + batch, attest.records_in(batch))


def _hide(tables: Tables, signer: bytes, hidden: bool) -> None:
    """Records that rest on this key are nobody's current ones from now on, or may be again."""
    before, after = (LIVE, REVOKED) if hidden else (REVOKED, LIVE)
    for digest, origin in list(tables.origins()):
        if origin.signer == signer and origin.state == before:
            _set_origin(tables, digest, origin._replace(state=after))


def _withdraw(tables: Tables, digest: bytes) -> None:
    """Its signer took this record back."""
    origin = tables.origin(digest)
    if origin is not None:
        _set_origin(tables, trusted(digest), origin._replace(state=WITHDRAWN))


def _set_origin(tables: Tables, digest: Digest, origin: Origin) -> None:
    packed = tables.record(digest)
    if packed is None:
        return
    record = Record.decode(packed, digest)
    key = values.record_key(record.signature, record.replicate)
    current = tables.current(key)
    tables.put_origin(digest, origin)
    if origin.state != LIVE and current == digest:
        tables.drop(values.CURRENT, key)
        tables.drop(values.BASES, record.base + key)
    elif origin.state == LIVE and current is None:
        tables.move_pointers({key: digest})
        tables.add_bases([record.base + key])


def _pin(tables: Tables, name: str, target: list[Any]) -> None:
    tables.put_pin(name, target)


def _unpin(tables: Tables, name: str) -> None:
    tables.drop(values.PINS, name.encode("utf-8", "surrogateescape"))


_ACTS: dict[str, Callable[..., None]] = {
    BEGIN: _begin,
    CELLS: _cells,
    FINISH: _finish,
    REMOVE_RUN: _remove_run,
    LEVEL: _level,
    REMOVE_RECORD: _remove_record,
    ORIGIN: _origin,
    ATTEST: _attest,
    HIDE: _hide,
    WITHDRAW: _withdraw,
    RETIRE: _retire,
    PIN: _pin,
    UNPIN: _unpin,
    MARK: _mark,
    ABANDON: _abandon,
    NEXT_VERSION: _next_version,
}
