"""One opening of a store: its parts, their life, and what reads and writes have in common."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

from druse_store import location as locations
from druse_store.codec import Level
from druse_store.digest import MIN_PREFIX, Digest, prefix_bounds, trusted
from druse_store.errors import (
    AmbiguousPrefix,
    ForkedStore,
    IndexDamaged,
    NotFound,
    StoreClosed,
)
from druse_store.holds import Holds
from druse_store.index import environment as environments
from druse_store.index import values
from druse_store.index.snapshot import Snapshot
from druse_store.ingest import Ingest
from druse_store.location import Location
from druse_store.reader import BlobFile, Reader
from druse_store.records import BlobRef, Record
from druse_store.writelock import WriteLock
from druse_store.writer import Writer

if TYPE_CHECKING:
    from typing_extensions import Buffer

_BUFFER = 256 << 10


@dataclass(frozen=True, slots=True)
class Writing:
    """What a write works with."""

    writer: Writer
    ingest: Ingest


class Session:
    """The parts of one open store. Thread-safe, except for `close`."""

    def __init__(
        self, location: Location, *, read_only: bool, immutable: bool, level: Level
    ) -> None:
        self.location = location
        self.read_only = read_only
        self._pid = os.getpid()
        self._closed = False
        self._depth = 0
        self._batch_hold: int | None = None
        self._guard = threading.RLock()
        self._lock: WriteLock | None = None
        if not read_only:
            if location.read_only_mount:
                locations.refuse_writing(location, asked_read_only=False)
            environments.prepare(location.index, location.tmp, location.file_mode)
            self._lock = WriteLock(location.holds / "writer.lock", location.file_mode)
        self.environment = environments.acquire(
            location.index, self._lock, locking=not immutable, mode=location.file_mode
        )
        self._writing: Writing | None = None
        self._holds: Holds | None = None
        writer: Writer | None = None
        if self._lock is not None:
            self._holds = Holds(location.holds, location.file_mode)
            writer = Writer(location, self.environment, self._lock)
        self.reader = Reader(location, self.environment, writer)
        if writer is not None:
            self._writing = Writing(writer, Ingest(writer, self.reader, level))

    # --- writing -------------------------------------------------------------------------------

    @contextmanager
    def writing(self) -> Iterator[Writing]:
        """A write: durable at the end of the block, or of the batch around it."""
        writing = self._usable_writing()
        if self._depth:
            yield writing
            if writing.writer.is_full():
                writing.writer.flush()
            return
        token = self._take_hold()
        try:
            yield writing
            writing.writer.flush()
        finally:
            self._give_back(token)

    @contextmanager
    def batch(self) -> Iterator[None]:
        writing = self._usable_writing()
        with self._guard:
            self._depth += 1
            if self._depth == 1:
                self._batch_hold = self._take_hold()
        try:
            yield
        finally:
            with self._guard:
                self._depth -= 1
                token = self._batch_hold if self._depth == 0 else None
            if token is not None:
                try:
                    writing.writer.flush()
                finally:
                    self._give_back(token)

    def flush(self) -> None:
        if not self.read_only:
            self._usable_writing().writer.flush()

    def _usable_writing(self) -> Writing:
        self._check_usable()
        if self._writing is None:
            locations.refuse_writing(self.location, asked_read_only=True)
            raise AssertionError
        return self._writing

    def _take_hold(self) -> int | None:
        if self._holds is None:
            return None
        with Snapshot(self.environment) as snapshot:
            commit = snapshot.head().commit
        return self._holds.take(commit)

    def _give_back(self, token: int | None) -> None:
        if token is not None and self._holds is not None:
            self._holds.give_back(token)

    # --- reading -------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The index as it is now, with everything that waited."""
        self._check_usable()
        if self._writing is not None and self._writing.writer.is_waiting():
            self._writing.writer.flush()
        return Snapshot(self.environment)

    def has_blob(self, digest: bytes) -> bool:
        self._check_usable()
        name = trusted(digest)
        if self._writing is not None and self._writing.writer.has_blob(name):
            return True
        return self.reader.is_known(name)

    def read(self, digest: Digest) -> bytes:
        self._check_usable()
        return self.reader.read(digest)

    def open_blob(self, blob: Digest | BlobRef) -> BinaryIO:
        self._check_usable()
        token = self._take_hold()
        try:
            if isinstance(blob, BlobRef):
                outline = self.reader.chunk_list(blob.digest, blob.chunks, blob.size)
            else:
                outline = self.reader.outline(blob)
                self.reader.verify(outline)
            raw = BlobFile(outline, self.reader.read_chunk, lambda: self._give_back(token))
        except BaseException:
            self._give_back(token)
            raise
        return cast("BinaryIO", io.BufferedReader(raw, _BUFFER))

    def read_ref(self, ref: BlobRef, may_map: bool) -> Buffer:
        self._check_usable()
        return self.reader.read_ref(ref, may_map)

    def resolve(self, prefix: str) -> Digest:
        low, high = prefix_bounds(prefix)
        found: set[Digest] = set()
        with self.snapshot() as snapshot:
            for table in (values.RECORDS, values.BLOBS, values.CHUNKS):
                for digest in snapshot.digests(table, low, high):
                    found.add(digest)
                    if len(found) > 1:
                        raise AmbiguousPrefix(
                            f"several digests begin with {prefix}: give more than "
                            f"{max(len(prefix), MIN_PREFIX)} digits"
                        )
        if not found:
            raise NotFound(f"no blob or record in this store begins with {prefix}")
        return found.pop()

    # --- records -------------------------------------------------------------------------------

    def record(self, key: bytes) -> Record | None:
        self._check_usable()
        if self._writing is not None:
            for pending in self._writing.writer.pending():
                digest = pending.rows.pointers.get(key)
                if digest is not None:
                    return Record.decode(pending.rows.records[digest], digest)
        with Snapshot(self.environment) as snapshot:
            digest = snapshot.current(key)
            return None if digest is None else _load(snapshot, digest)

    def record_by_digest(self, digest: Digest) -> Record | None:
        self._check_usable()
        if self._writing is not None:
            for pending in self._writing.writer.pending():
                packed = pending.rows.records.get(digest)
                if packed is not None:
                    return Record.decode(packed, digest)
        with Snapshot(self.environment) as snapshot:
            packed = snapshot.record(digest)
        return None if packed is None else Record.decode(packed, digest)

    def records(self, signature: Digest) -> Iterator[Record]:
        with self.snapshot() as snapshot:
            found = [_load(snapshot, digest) for _, digest in snapshot.currents(signature)]
        return iter(found)

    def records_of_base(self, base: Digest) -> Iterator[Record]:
        with self.snapshot() as snapshot:
            keys = snapshot.under_base(base)
        for key in keys:
            record = self.record(key)
            if record is not None:
                yield record

    def next_reads(self, node: Digest) -> tuple[str, ...]:
        self._check_usable()
        with Snapshot(self.environment) as snapshot:
            keys = snapshot.edges(node)
        if self._writing is not None:
            for pending in self._writing.writer.pending():
                fresh = pending.rows.edges.get(node)
                if fresh:
                    keys += tuple(key for key in fresh if key not in keys)
        return keys

    # --- its life ------------------------------------------------------------------------------

    def _check_usable(self) -> None:
        if self._closed:
            raise StoreClosed(f"the store at {self.location.root} has been closed")
        if self._pid != os.getpid():
            raise ForkedStore(
                f"the store at {self.location.root} was opened before a fork: open it again in "
                "the child process"
            )

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._pid != os.getpid():
            return
        try:
            if self._writing is not None:
                self._writing.writer.close()
        finally:
            if self._lock is not None:
                self._lock.close()
            if self._holds is not None:
                self._holds.close()
            self.reader.close()
            environments.release(self.environment)


def _load(snapshot: Snapshot, digest: Digest) -> Record:
    packed = snapshot.record(digest)
    if packed is None:
        raise IndexDamaged(
            f"the current record {digest} of a cell is missing; "
            "`druse repair --rebuild-index` makes a new index from the packs"
        )
    return Record.decode(packed, digest)
