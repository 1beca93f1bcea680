"""Writing the index: the tables inside one write transaction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from druse_store import packing
from druse_store.digest import Digest, trusted
from druse_store.index import values
from druse_store.index.environment import Environment
from druse_store.index.snapshot import Snapshot, pack_edges
from druse_store.index.values import (
    ATTESTED,
    BASES,
    BATCHES,
    BLOBS,
    CELLS,
    CHUNKS,
    CLOCK,
    CURRENT,
    EDGES,
    EXPERIMENTS,
    LIVE,
    ORIGINS,
    PACKS,
    PINS,
    RECORDS,
    RUNS,
    SUSPECT,
    WRITERS,
    BlobEntry,
    ChunkEntry,
    FileEntry,
    Head,
    Origin,
)

if TYPE_CHECKING:
    from druse_store.writelock import WriteLock


class Tables(Snapshot):
    """A write transaction: a snapshot that can also be changed. Commits when the block ends well.

    Opened by whoever holds the writer's lock, and only to flush.
    """

    __slots__ = ()

    def __enter__(self) -> Tables:
        self._txn = self._environment.env.begin(write=True, buffers=True)
        return self

    def commit(self) -> None:
        self._txn.commit()

    # --- blobs ---------------------------------------------------------------------------------

    def add_chunks(self, entries: dict[Digest, ChunkEntry], commit: int) -> None:
        """Inserts chunks; one that is there already stays where it is, and becomes live.

        Unless it did not check there: then the new one takes its place.
        """
        items = values.pack_chunks(entries, commit)
        cursor = self._txn.cursor(db=self._dbs[CHUNKS])
        _, added = cursor.putmulti(items, overwrite=False)
        if added != len(entries):
            for key, entry in entries.items():
                known = self.chunk(key)
                if known is None or known.state == SUSPECT:
                    self.put_chunk(key, entry._replace(since=commit))
                elif known[:2] != entry[:2]:
                    self.freshen_chunk(key, commit)

    def put_chunk(self, key: bytes, entry: ChunkEntry) -> None:
        self._txn.put(key, values.pack_chunk(key, entry), db=self._dbs[CHUNKS])

    def put_blob(self, key: bytes, entry: BlobEntry) -> None:
        self._txn.put(key, values.pack_blob(key, entry), db=self._dbs[BLOBS])

    def freshen_chunk(self, digest: bytes, commit: int) -> bool:
        """Marks a chunk as relied upon now, tombstoned or not. False if it is not there, or bad."""
        entry = self.chunk(digest)
        if entry is None or entry.state == SUSPECT:
            return False
        self.put_chunk(digest, entry._replace(state=LIVE, since=commit))
        return True

    def suspect(self, digest: bytes, place: tuple[bytes, int] | None) -> None:
        """Marks what did not check: a chunk, if it still is at this place, or (no place) a blob."""
        chunk = self.chunk(digest) if place is not None else None
        if chunk is not None and chunk[:2] == place and chunk.state == LIVE:
            self.put_chunk(digest, chunk._replace(state=SUSPECT))
        blob = self.blob(digest) if place is None else None
        if blob is not None and blob.state == LIVE:
            self.put_blob(digest, blob._replace(state=SUSPECT))

    def drop(self, table: str, key: bytes) -> bool:
        """Removes one entry; whether there was one."""
        return bool(self._txn.delete(key, db=self._dbs[table]))

    # --- records -------------------------------------------------------------------------------

    def add_records(self, records: dict[Digest, bytes]) -> None:
        if records:
            since = self.head().commit + 1
            self._put_all(RECORDS, values.seal_records(records, since))

    def mark_records(self, digests: Iterable[bytes], state: int) -> None:
        """Gives those records that are there a state, as of this commit."""
        since = self.head().commit + 1
        db = self._dbs[RECORDS]
        for digest in digests:
            value = self._txn.get(digest, db=db)
            if value is not None:
                packed = values.body(RECORDS, digest, value)
                self._txn.put(digest, values.seal_record(digest, packed, state, since), db=db)

    def freshen_records(self, digests: Iterable[bytes], upto: int) -> None:
        """Notes that records were used now, unless they were behind the commit `upto`."""
        db = self._dbs[RECORDS]
        for digest in digests:
            value = self._txn.get(digest, db=db)
            if value is not None:
                state, since = values.record_state(value)
                if state != values.TOMBSTONED and since <= upto:
                    self.mark_records((digest,), state)

    def move_pointers(self, pointers: dict[bytes, Digest]) -> None:
        """(signature, replicate) points at a record from now on."""
        keys = sorted(pointers)
        self._put_all(CURRENT, values.seal_all(CURRENT, keys, [pointers[key] for key in keys]))

    def add_bases(self, keys: Iterable[bytes]) -> None:
        self._put_all(BASES, values.seal_keys(BASES, sorted(keys)))

    def add_edges(self, edges: dict[Digest, dict[str, None]]) -> None:
        """For each node, keys that are read next."""
        nodes, bodies = [], []
        get, db = self._txn.get, self._dbs[EDGES]
        for node in sorted(edges):
            keys = edges[node]
            known = () if get(node, None, db) is None else self.edges(node)
            fresh = tuple(key for key in keys if key not in known) if known else tuple(keys)
            if fresh:
                nodes.append(node)
                bodies.append(pack_edges(known + fresh))
        self._put_all(EDGES, values.seal_all(EDGES, nodes, bodies))

    def add_ends(self, nodes: Iterable[bytes]) -> None:
        """As `add_edges`, for nodes at which reading ends: most are new, and have no other key."""
        ordered = sorted(nodes)
        rows = values.seal_all(EDGES, ordered, [pack_edges(("",))] * len(ordered))
        cursor = self._txn.cursor(db=self._dbs[EDGES])
        _, added = cursor.putmulti(rows, overwrite=False)
        if added != len(ordered):
            self.add_edges({trusted(node): {"": None} for node in ordered})

    def put_batch(self, name: bytes, body: bytes, records: Iterable[bytes]) -> None:
        """Notes a signed batch, and that these records were committed in it."""
        self._txn.put(name, values.seal(BATCHES, name, body), db=self._dbs[BATCHES])
        keys = sorted(records)
        self._put_all(ATTESTED, values.seal_all(ATTESTED, keys, [name] * len(keys)))

    def put_origin(self, digest: bytes, origin: Origin) -> None:
        self._txn.put(digest, values.pack_origin(digest, origin), db=self._dbs[ORIGINS])

    def _put_all(self, table: str, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Rows in the order of their keys: neighbours lie in the same pages."""
        self._txn.cursor(db=self._dbs[table]).putmulti(rows)

    # --- runs and pins -------------------------------------------------------------------------

    def put_run(self, key: bytes, header: list[Any]) -> None:
        self._put_packed(RUNS, key, header)

    def put_cells(self, key: bytes, cells: list[Any]) -> None:
        self._put_packed(CELLS, key, cells)

    def put_next_version(self, experiment: str, version: int) -> None:
        self._put_packed(EXPERIMENTS, experiment.encode("utf-8", "surrogateescape"), version)

    def put_pin(self, name: str, target: list[Any]) -> None:
        self._put_packed(PINS, name.encode("utf-8", "surrogateescape"), target)

    def drop_under(self, table: str, prefix: bytes) -> int:
        """Removes every entry whose key begins with `prefix`; returns how many."""
        keys = [key for key, _ in self.rows_under(table, prefix)]
        for key in keys:
            self.drop(table, key)
        return len(keys)

    def _put_packed(self, table: str, key: bytes, value: Any) -> None:
        sealed = values.seal(table, key, packing.pack(value))
        self._txn.put(key, sealed, db=self._dbs[table])

    def put_row(self, table: str, key: bytes, body: bytes) -> None:
        """A row whose body is made already."""
        self._txn.put(key, values.seal(table, key, body), db=self._dbs[table])

    def tick(self, commit: int, time: int, every: int = values.TICK) -> None:
        """Notes when a commit happened (ns since 1970), unless one was noted just before."""
        cursor = self._txn.cursor(db=self._dbs[CLOCK])
        if cursor.last():
            last = int.from_bytes(cursor.value()[:8], "little")
            if last <= time < last + every:
                return
        self.put_row(CLOCK, values.clock_key(commit), time.to_bytes(8, "little"))

    # --- files ---------------------------------------------------------------------------------

    def put_file(self, file_id: bytes, entry: FileEntry) -> None:
        self._txn.put(file_id, values.pack_file(file_id, entry), db=self._dbs[PACKS])
        key = bytes((entry.kind,)) + file_id
        if entry.state == values.OPEN:
            self._txn.put(key, values.seal(WRITERS, key, b""), db=self._dbs[WRITERS])
        else:
            self.drop(WRITERS, key)

    def drop_file(self, file_id: bytes, entry: FileEntry) -> None:
        """Forgets a pack or segment: before it is unlinked, never after."""
        self.drop(PACKS, file_id)
        self.drop(WRITERS, bytes((entry.kind,)) + file_id)

    def put_head(self, head: Head) -> None:
        self._txn.put(values.HEAD_KEY, values.pack_head(head), db=self._dbs[values.HEAD])


def catch_up(environment: Environment, lock: WriteLock) -> None:
    """Has this process see the last commit, even of a writer that died within it.

    LMDB's readers go by a number in the lock file, which is set behind the commit; if its writer
    dies in between, the next one who writes sets it. Ask for this once a file is locked whose
    writer may be dead, and before its committed end is looked up.
    """
    with lock.held(), Tables(environment):
        pass  # beginning is enough: nothing is committed
