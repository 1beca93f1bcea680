"""What was removed and can still be brought back: rows of runs, and levels that were lowered.

The trash belongs to the index alone: what happened is in the log, bringing back is a change like
any other, and an index that was made anew has as much in its trash as the log still tells. A key
is the commit that threw the row away (8, big-endian), then its kind, then the key that it had:

r, c   the header of a run, or a piece of its cells: as they were
l      the level that a run had
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from druse_store import packing
from druse_store.index import values
from druse_store.index.snapshot import Snapshot
from druse_store.index.tables import Tables
from druse_store.run import RunName

_RUN, _CELLS, _LEVEL = b"r", b"c", b"l"


class Thrown(NamedTuple):
    """A row in the trash: the commit that threw it away, its kind, the key and what it held."""

    commit: int
    kind: bytes
    key: bytes
    body: bytes


class RemovedRun(NamedTuple):
    """A run that was removed: its header and the pieces of its cells."""

    commit: int
    header: list[Any]
    pieces: list[list[list[Any]]]


class Trash(NamedTuple):
    """What can be brought back, by run."""

    runs: dict[RunName, RemovedRun]
    levels: dict[RunName, str]


def throw_run(tables: Tables, key: bytes) -> None:
    """Removes a run and its cells into the trash."""
    for table, kind in ((values.RUNS, _RUN), (values.CELLS, _CELLS)):
        for row, body in tables.rows_under(table, key):
            _put(tables, kind + row, body)
            tables.drop(table, row)


def throw_level(tables: Tables, key: bytes, level: str) -> None:
    """Notes the level that a run had."""
    _put(tables, _LEVEL + key, packing.pack(level))


def look(snapshot: Snapshot, after: int = 0) -> Trash:
    """What was thrown away behind the commit `after`. Of a run, the oldest level counts."""
    trash = Trash({}, {})
    for commit, kind, key, body in (_thrown(*row) for row in snapshot.trash(after)):
        value = packing.unpack(body)
        if kind == _RUN:
            trash.runs[RunName(*values.split_run_key(key))] = RemovedRun(commit, value, [])
        elif kind == _LEVEL:
            trash.levels.setdefault(RunName(*values.split_run_key(key)), value)
    for commit, kind, key, body in (_thrown(*row) for row in snapshot.trash(after)):
        name = RunName(*values.split_run_key(key[:-4])) if kind == _CELLS else None
        if name in trash.runs and trash.runs[name].commit == commit:
            trash.runs[name].pieces.append(packing.unpack(body))
    return trash


def empty(tables: Tables, upto: int) -> int:
    """Forgets what was thrown away at `upto` or before; returns how many rows that were.

    `upto` is negative where a hold may be older than every commit.
    """
    if upto < 0:
        return 0
    keys = [key for key, _ in tables.trash() if key[:8] <= values.clock_key(upto)]
    for key in keys:
        tables.drop(values.TRASH, key)
    return len(keys)


def forget(tables: Tables, names: Collection[RunName] | None = None) -> None:
    """Forgets what was thrown away of these runs, or all."""
    for key, _ in tables.trash():
        kind, row = key[8:9], key[9:]
        run = values.split_run_key(row[:-4] if kind == _CELLS else row)
        if names is None or run in names:
            tables.drop(values.TRASH, key)


def _put(tables: Tables, name: bytes, body: bytes) -> None:
    key = values.clock_key(tables.head().commit + 1) + name
    tables.put_row(values.TRASH, key, body)


def _thrown(key: bytes, body: bytes) -> Thrown:
    return Thrown(int.from_bytes(key[:8], "big"), key[8:9], key[9:], body)
