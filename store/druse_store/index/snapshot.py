"""Reading the index: one consistent state of it, for as short as it is needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from types import TracebackType
from typing import Any

from druse_store import packing
from druse_store.digest import Digest, trusted
from druse_store.errors import IndexDamaged
from druse_store.index import values
from druse_store.index.environment import Environment, Error, translate
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
    ORIGINS,
    PACKS,
    PINS,
    RECORDS,
    RUNS,
    TRASH,
    WRITERS,
    BlobEntry,
    ChunkEntry,
    FileEntry,
    Head,
    Origin,
)


class Snapshot:
    """A read transaction. `with index.snapshot() as snapshot:`; user code never runs inside."""

    __slots__ = ("_currents", "_dbs", "_environment", "_records", "_txn")

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._dbs = environment.dbs
        self._records, self._currents = self._dbs[RECORDS], self._dbs[CURRENT]

    def __enter__(self) -> Snapshot:
        try:
            self._txn: Any = self._environment.env.begin(buffers=True)
        except Error as error:
            raise translate(error, self._environment.folder) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._txn.abort()
        if isinstance(error, Error):
            raise translate(error, self._environment.folder) from error

    # --- blobs ---------------------------------------------------------------------------------

    def chunk(self, digest: bytes) -> ChunkEntry | None:
        value = self._txn.get(digest, db=self._dbs[CHUNKS])
        return None if value is None else values.unpack_chunk(digest, value)

    def blob(self, digest: bytes) -> BlobEntry | None:
        value = self._txn.get(digest, db=self._dbs[BLOBS])
        return None if value is None else values.unpack_blob(digest, value)

    def live_chunks(self, digests: Iterable[bytes]) -> set[Digest]:
        """Those of these digests, in order, that live chunks have."""
        found = self._txn.cursor(db=self._dbs[CHUNKS]).getmulti(digests)
        keys = ((trusted(bytes(key)), value) for key, value in found)
        return {k for k, value in keys if values.unpack_chunk(k, value).state == values.LIVE}

    def is_known(self, digest: bytes) -> bool:
        """Whether a live chunk or blob has this digest."""
        entry = self.chunk(digest) or self.blob(digest)
        return entry is not None and entry.state == values.LIVE

    def digests(self, table: str, low: bytes, high: bytes) -> Iterator[Digest]:
        """The keys of `chunks`, `blobs` or `records` from `low` to `high`."""
        cursor = self._txn.cursor(db=self._dbs[table])
        if cursor.set_range(low):
            for key in cursor.iternext(values=False):
                digest = trusted(bytes(key))
                if digest > high:
                    return
                yield digest

    # --- records -------------------------------------------------------------------------------

    def record(self, digest: bytes) -> bytes | None:
        """The encoded record, unless it was removed."""
        value = self._txn.get(digest, None, self._records)
        return None if value is None else values.record_row(digest, value)

    def has_record(self, digest: bytes) -> bool:
        value = self._txn.get(digest, None, self._records)
        return value is not None and value[values.STATE_AT] != values.TOMBSTONED

    def is_removed(self, digest: bytes) -> bool:
        """Whether a record was removed, and could still be brought back."""
        value = self._txn.get(digest, db=self._dbs[RECORDS])
        return value is not None and bool(value[values.STATE_AT] == values.TOMBSTONED)

    def origin(self, digest: bytes) -> Origin | None:
        """Where a record came from, unless it was computed here."""
        value = self._txn.get(digest, db=self._dbs[ORIGINS])
        return None if value is None else values.unpack_origin(digest, value)

    def attested(self, digest: bytes) -> bytes | None:
        """The batch that a record of a shared store was committed in."""
        value = self._txn.get(digest, db=self._dbs[ATTESTED])
        return None if value is None else values.body(ATTESTED, digest, value, 32)

    def batch(self, name: bytes) -> tuple[bytes, bytes, bytes] | None:
        """Key, signature and entries of a batch."""
        value = self._txn.get(name, db=self._dbs[BATCHES])
        return None if value is None else values.split_batch(values.body(BATCHES, name, value))

    def origins(self) -> Iterator[tuple[Digest, Origin]]:
        """All records that were computed elsewhere."""
        for key, value in self._txn.cursor(db=self._dbs[ORIGINS]):
            digest = trusted(bytes(key))
            yield digest, values.unpack_origin(digest, value)

    def current(self, key: bytes) -> Digest | None:
        value = self._txn.get(key, None, self._currents)
        return None if value is None else values.current_row(key, value)

    def currents(self, signature: bytes) -> list[tuple[int, Digest]]:
        """(replicate, record) for every replicate of a signature, in order."""
        found = self.rows_under(CURRENT, signature)
        return [(values.replicate_of(key), trusted(digest)) for key, digest in found]

    def under_base(self, base: bytes) -> list[bytes]:
        """The keys of `current` that stand under a base signature."""
        return [key[32:] for key, _ in self.rows_under(BASES, base)]

    def edges(self, node: bytes) -> tuple[str, ...]:
        value = self._txn.get(node, db=self._dbs[EDGES])
        return () if value is None else unpack_edges(values.body(EDGES, node, value))

    # --- runs and pins -------------------------------------------------------------------------

    def run(self, key: bytes) -> list[Any] | None:
        header: list[Any] | None = self._unpacked(RUNS, key)
        return header

    def run_keys(self, experiment: str | None = None) -> list[tuple[str, int]]:
        prefix = b"" if experiment is None else values.run_key(experiment, 0)[:-4]
        return [values.split_run_key(key) for key, _ in self.rows_under(RUNS, prefix)]

    def last_version(self, experiment: str) -> int | None:
        versions = self.run_keys(experiment)
        return versions[-1][1] if versions else None

    def cells(self, run_key: bytes) -> list[list[Any]]:
        """The pieces of a run's cells, in order."""
        return [packing.unpack(data) for _, data in self.rows_under(CELLS, run_key)]

    def next_version(self, experiment: str) -> int:
        key = experiment.encode("utf-8", "surrogateescape")
        value = self._unpacked(EXPERIMENTS, key)
        return 0 if value is None else int(value)

    def pins(self) -> list[tuple[str, Any]]:
        return [
            (key.decode("utf-8", "surrogateescape"), packing.unpack(data))
            for key, data in self.rows_under(PINS, b"")
        ]

    def pin(self, name: str) -> Any:
        return self._unpacked(PINS, name.encode("utf-8", "surrogateescape"))

    # --- files ---------------------------------------------------------------------------------

    def file(self, file_id: bytes) -> FileEntry | None:
        value = self._txn.get(file_id, db=self._dbs[PACKS])
        return None if value is None else values.unpack_file(file_id, value)

    def files(self) -> Iterator[tuple[bytes, FileEntry]]:
        for key, value in self._txn.cursor(db=self._dbs[PACKS]):
            file_id = bytes(key)
            yield file_id, values.unpack_file(file_id, value)

    def open_files(self, kind: int) -> list[bytes]:
        """The ids of the packs or segments that are not sealed."""
        return [key[1:] for key, _ in self.rows_under(WRITERS, bytes((kind,)))]

    def head(self) -> Head:
        return values.unpack_head(self._txn.get(values.HEAD_KEY, db=self._dbs[values.HEAD]))

    def clock(self) -> list[tuple[int, int]]:
        """(commit, time in ns) of some commits, in order."""
        found = self.rows_under(CLOCK, b"")
        return [(int.from_bytes(k, "big"), int.from_bytes(time, "little")) for k, time in found]

    def commit_at(self, time: int) -> int:
        """The latest commit known to have happened by this time (ns since 1970), or 0."""
        upto = self.head().commit
        cursor = self._txn.cursor(db=self._dbs[CLOCK])
        for key, value in cursor.iterprev():
            name = bytes(key)
            noted = int.from_bytes(values.body(CLOCK, name, value, 8), "little")
            if noted + values.TICK <= time:
                return upto  # what came later would have been noted, until the next one was
            if noted <= time:
                return int.from_bytes(name, "big")
            upto = int.from_bytes(name, "big") - 1
        return 0

    def trash(self, after: int = 0) -> list[tuple[bytes, bytes]]:
        """What was thrown away at a commit behind `after`, see `trash`."""
        return [row for row in self.rows_under(TRASH, b"") if row[0] >= values.clock_key(after + 1)]

    def count(self, table: str) -> int:
        return int(self._txn.stat(self._dbs[table])["entries"])

    # --- all of them ---------------------------------------------------------------------------

    def rows_after(self, table: str, after: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        """At most `limit` keys and unchecked values of a table, in order, behind a key."""
        rows: list[tuple[bytes, bytes]] = []
        cursor = self._txn.cursor(db=self._dbs[table])
        if not (cursor.first() if after is None else cursor.set_range(after)):
            return rows
        for key, value in cursor.iternext():
            name = bytes(key)
            if name != after:
                rows.append((name, bytes(value) if len(value) <= values.MAX_VALUE else b""))
            if len(rows) == limit:
                break
        return rows

    def rows_under(self, table: str, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """Keys that begin with `prefix`, and their checked bodies."""
        found = []
        cursor = self._txn.cursor(db=self._dbs[table])
        if cursor.set_range(prefix):
            for key, value in cursor.iternext():
                name = bytes(key)
                if not name.startswith(prefix):
                    break
                found.append((name, values.body(table, name, value)))
        return found

    def _unpacked(self, table: str, key: bytes) -> Any:
        value = self._txn.get(key, db=self._dbs[table])
        return None if value is None else packing.unpack(values.body(table, key, value))


@lru_cache(1024)
def pack_edges(keys: tuple[str, ...]) -> bytes:
    """Usually one short key: length-prefixed text, without a parser to start."""
    parts: list[bytes] = []
    for key in keys:
        name = key.encode("utf-8", "surrogatepass")
        parts += (len(name).to_bytes(4, "little"), name)
    return b"".join(parts)


def unpack_edges(data: bytes) -> tuple[str, ...]:
    keys = []
    at = 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        if end > len(data):
            raise IndexDamaged("the keys that are read next cannot be decoded")
        keys.append(data[at + 4 : end].decode("utf-8", "surrogatepass"))
        at = end
    return tuple(keys)
