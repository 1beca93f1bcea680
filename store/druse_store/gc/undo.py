"""Bringing back what was removed, as long as it is still there: during the grace.

Tombstones are taken away first, then the log is told: an undo that is killed in between has done
nothing but keep some garbage. Everything is a change like any other, so that a rebuild knows it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from druse_store import changes, trash
from druse_store.changes import Change
from druse_store.commit import Committer
from druse_store.digest import SIZE
from druse_store.errors import RunNotFound
from druse_store.index import values
from druse_store.index.bulk import Bulk, Scan, state_of, with_state
from druse_store.index.values import BLOBS, CHUNKS, EVICTED, LIVE, RECORDS, TOMBSTONED
from druse_store.retention import RANK
from druse_store.run import RunName
from druse_store.trash import RemovedRun, Trash

if TYPE_CHECKING:
    from druse_store.session import Session

_SLICE = 10_000
_FRAME = 4_000  # records named by one change


@dataclass(slots=True)
class Undone:
    """What came back: runs that were removed, those whose level was lowered, records, chunks."""

    runs: list[RunName]
    levels: list[RunName]
    records: int
    chunks: int


class Undo:
    """One undo, by whoever holds the collector's lock."""

    def __init__(self, session: Session) -> None:
        self._environment = session.environment
        self._committer: Committer = session.writer.committer

    def run(self, only: Collection[RunName] | None) -> Undone:
        """Brings everything back, or these runs. Raises RunNotFound."""
        with Scan(self._environment) as scan:
            found = _whole(scan, trash.look(scan))
        if only is not None:
            found = _chosen(found, only)
        self._revive(BLOBS)
        chunks = self._revive(CHUNKS)
        wanted = None if only is None else self._named(found)
        records = self._recall(wanted)
        runs, levels = self._restore(found, everything=only is None)
        return Undone(runs, levels, records, chunks)

    # --- bytes ---------------------------------------------------------------------------------

    def _revive(self, table: str) -> int:
        """Takes all tombstones away; what is not needed gets one again at the next collection."""
        for part in self._slices(table, {TOMBSTONED}):

            def work(tables: Bulk, part: list[bytes] = part) -> list[Change]:
                commit = tables.head().commit + 1
                rows = [
                    (key, with_state(table, key, value, LIVE, commit))
                    for key, value in tables.rows(table, part)
                    if state_of(value)[0] == TOMBSTONED
                ]
                tables.put_rows(table, rows)
                return []

            self._committer.transact(work, Bulk)
        return self._count

    def _slices(self, table: str, states: set[int]) -> Iterator[list[bytes]]:
        """The keys of entries in these states, all found before the first is handed out."""
        keys = bytearray()
        with Scan(self._environment) as scan:
            for _, rows in scan.slices(table):
                for key, value in rows:
                    if state_of(value)[0] in states:
                        keys += key
        self._count = len(keys) // SIZE
        size = _FRAME if table == RECORDS else _SLICE
        for start in range(0, self._count, size):
            stop = min(start + size, self._count)
            yield [bytes(keys[at * SIZE : at * SIZE + SIZE]) for at in range(start, stop)]

    # --- records -------------------------------------------------------------------------------

    def _recall(self, wanted: set[bytes] | None) -> int:
        """Records that were removed or evicted are as they were."""
        states = {TOMBSTONED, EVICTED} if wanted is None else {TOMBSTONED}
        recalled = 0
        for part in self._slices(RECORDS, states):
            chosen = part if wanted is None else [key for key in part if key in wanted]
            if not chosen:
                continue
            recalled += len(chosen)

            def work(tables: Bulk, chosen: list[bytes] = chosen) -> list[Change]:
                tables.mark_records(chosen, LIVE)
                return [[changes.MARK, LIVE, b"".join(chosen)]]

            self._committer.transact(work, Bulk)
        return recalled

    def _named(self, found: Trash) -> set[bytes]:
        """The records that these runs name."""
        named = {cell[2] for run in found.runs.values() for piece in run.pieces for cell in piece}
        with Scan(self._environment) as scan:
            for name in found.levels:
                for cells in scan.cells(values.run_key(*name)):
                    named.update(cell[2] for cell in cells)
        return {digest for digest in named if type(digest) is bytes}

    # --- runs ----------------------------------------------------------------------------------

    def _restore(self, found: Trash, *, everything: bool) -> tuple[list[RunName], list[RunName]]:
        runs: list[RunName] = []
        levels: list[RunName] = []

        def work(tables: Bulk) -> list[Change]:
            made: list[Change] = []
            for name, removed in found.runs.items():
                if tables.run(values.run_key(*name)) is None:
                    made += _begun_again(name, removed, found.levels.get(name))
                    runs.append(name)
            for name, level in found.levels.items():
                header = tables.run(values.run_key(*name))
                if header is not None and RANK.get(header[4], 0) < RANK.get(level, 0):
                    made.append([changes.LEVEL, *name, level])
                    levels.append(name)
            for change in made:
                changes.apply(tables, change)
            trash.forget(tables, None if everything else {*found.runs, *found.levels})
            return made

        self._committer.transact(work, Bulk)
        return runs, levels


def _begun_again(name: RunName, removed: RemovedRun, level: str | None) -> Iterator[Change]:
    info, started, finished, complete, had, _, _ = removed.header
    yield [changes.BEGIN, *name, info, started]
    for piece in removed.pieces:
        yield [changes.CELLS, *name, piece]
    if finished or complete:
        yield [changes.FINISH, *name, {}, finished, complete]
    if (level or had) != "full":
        yield [changes.LEVEL, *name, level or had]


def _whole(scan: Scan, found: Trash) -> Trash:
    """Without the runs of which records were swept already: to bring back a part is no undo."""
    runs = {}
    for name, run in found.runs.items():
        named = sorted({c[2] for piece in run.pieces for c in piece if type(c[2]) is bytes})
        if len(scan.rows(RECORDS, named)) == len(named):
            runs[name] = run
    return found._replace(runs=runs)


def _chosen(found: Trash, only: Collection[RunName]) -> Trash:
    missing = [str(name) for name in only if name not in found.runs and name not in found.levels]
    if missing:
        raise RunNotFound(
            f"{', '.join(missing)} cannot be brought back: not removed, or longer ago than the "
            "grace"
        )
    return Trash(
        {name: run for name, run in found.runs.items() if name in only},
        {name: level for name, level in found.levels.items() if name in only},
    )
