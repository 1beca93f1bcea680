"""One opening of a store: its parts, their life, and what reads and writes have in common."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, cast

from druse_store import location as locations
from druse_store import reserve
from druse_store.attest import Judge
from druse_store.codec import Level
from druse_store.digest import MIN_PREFIX, Digest, prefix_bounds, trusted
from druse_store.errors import (
    AccessDenied,
    AmbiguousPrefix,
    DiskFull,
    ForkedStore,
    NotFound,
    ReadOnlyStore,
    StoreClosed,
    StoreError,
)
from druse_store.holds import Holds
from druse_store.index import creation, values
from druse_store.index import environment as environments
from druse_store.index.snapshot import Snapshot
from druse_store.index.values import Origin
from druse_store.leases import Lease
from druse_store.location import Location
from druse_store.reader import BlobFile, Reader
from druse_store.records import BlobRef, Record
from druse_store.run import RunName
from druse_store.users import Users
from druse_store.view import View
from druse_store.writelock import WriteLock

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from druse_store.frames import ChunkList
    from druse_store.ingest import Ingest
    from druse_store.offers import Offers
    from druse_store.writer import Writer

_BUFFER = 256 << 10


class Writing:
    """What a write works with; as a context, one write inside a batch."""

    __slots__ = ("_session", "ingest", "writer")

    def __init__(self, session: Session, writer: Writer, ingest: Ingest) -> None:
        self._session = session
        self.writer = writer
        self.ingest = ingest

    def __enter__(self) -> Writing:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.writer.recover()
        elif self.writer.is_full():
            self.writer.flush()
        elif not self._session.in_batch:  # another thread's, which ended meanwhile
            self.writer.flush(since=self._session.batch_failures)


class Session:
    """The parts of one open store. Thread-safe, except for `close`."""

    def __init__(
        self, location: Location, *, read_only: bool, immutable: bool, level: Level
    ) -> None:
        self.location = location
        self.read_only = read_only
        self.immutable = immutable
        self._pid = os.getpid()
        self._closed = False
        self._depth = 0
        self._batch_hold: int | None = None
        self.batch_failures = 0  # of the writer, when the batch began
        self._guard = threading.RLock()
        self._gate = threading.RLock()
        self._lock: WriteLock | None = None
        self._writing: Writing | None = None
        self._holds: Holds | None = None
        self._offered: Offers | None = None
        self.judge = Judge(location.store_id) if location.shared else None
        self._left = ExitStack()  # what is to be closed, the last one first
        try:
            self._open(read_only=read_only, immutable=immutable, level=level)
        except BaseException:
            self._left.close()
            raise

    def _open(self, *, read_only: bool, immutable: bool, level: Level) -> None:
        location, mode = self.location, self.location.file_mode
        if location.read_only_mount and not immutable:
            locations.refuse_mount(location, read_only)
        if not immutable:
            self.users = Users(location, writable=not read_only)
            self._left.callback(self.users.close)
        if not read_only:
            reserve.set_aside(location)
            creation.prepare(location.index, location.tmp, mode)
            self._lock = WriteLock(location.holds / "writer.lock", mode)
            self._left.callback(self._lock.close)
            creation.create(location, self._lock)
        self.environment = environments.acquire(
            location.index, self._lock, locking=not immutable, mode=mode
        )
        self._left.callback(environments.release, self.environment)
        self.reader = Reader(location, self.environment, self._lock)
        self._left.callback(self.reader.close)
        self._level = level
        if self._lock is not None:
            self._holds = Holds(location.holds, mode)
            self._left.callback(self._holds.close)

    @property
    def write_lock(self) -> WriteLock:
        """The lock that stands before the write transaction. Raises ReadOnlyStore."""
        self._usable_writing()
        assert self._lock is not None
        return self._lock

    def lease(self, digests: Iterable[Digest], runs: Iterable[RunName]) -> Lease:
        """Keeps records, blobs and runs from any collection, until it is closed. Under the write
        lock: a collection sees it, or has removed what it names before (`missing`)."""
        from druse_store.index.tables import Tables

        named = list(digests)
        with self.write_lock.held():
            lease = Lease(self.location.holds, self.location.file_mode, named, runs)
            with Tables(self.environment) as snapshot:  # sees what a killed collection removed
                lease.missing = frozenset(
                    digest
                    for digest in named
                    if not (snapshot.has_record(digest) or snapshot.is_known(digest))
                )
        self._left.callback(lease.close)
        return lease

    # --- writing -------------------------------------------------------------------------------

    def writing(self) -> AbstractContextManager[Writing]:
        """A write: durable at the end of the block, or of the batch around it."""
        writing = self._usable_writing()
        return writing if self._depth else self._alone(writing)

    @contextmanager
    def _alone(self, writing: Writing) -> Iterator[Writing]:
        token, failures = self._take_hold(), writing.writer.failures
        try:
            yield writing
            writing.writer.flush(since=failures)
        except StoreError:
            writing.writer.recover()
            raise
        except Exception:  # the user's: what was found to be here is relied on while it is held
            with suppress(StoreError):
                writing.writer.flush()
            raise
        finally:
            self._give_back(token)

    @contextmanager
    def batch(self) -> Iterator[None]:
        writing = self._usable_writing()
        with self._guard:
            self._depth += 1
            if self._depth == 1:
                self._batch_hold = self._take_hold()
                self.batch_failures = writing.writer.failures
        try:
            yield
        finally:
            with self._guard:
                self._depth -= 1
                token = self._batch_hold if self._depth == 0 else None
            if token is not None:
                try:
                    writing.writer.flush(since=self.batch_failures)
                finally:
                    self._give_back(token)

    @property
    def in_batch(self) -> bool:
        return self._depth > 0

    def flush(self) -> None:
        self._check_usable()
        if self._writing is not None:
            self._writing.writer.flush(since=self.batch_failures if self._depth else None)

    @property
    def writer(self) -> Writer:
        """What this store writes with. Raises ReadOnlyStore."""
        return self._usable_writing().writer

    def _usable_writing(self) -> Writing:
        self._check_usable()
        writing = self._writing
        return writing if writing is not None else self._begin_to_write()

    def _begin_to_write(self) -> Writing:
        """Makes what writing needs when somebody first writes: to read does not cost it."""
        if self._lock is None:
            locations.refuse_writing(self.location)
        from druse_store.ingest import Ingest
        from druse_store.writer import Writer

        with self._guard:
            if self._writing is None:
                writer = Writer(self.location, self.environment, self._lock, self._level)
                ingest = Ingest(writer, self.reader, self._level)
                self.reader.see(writer)
                self._writing = Writing(self, writer, ingest)
            return self._writing

    def _take_hold(self) -> int | None:
        holds = self._holds
        if holds is None:
            holds = self._reader_holds()
        if holds is None:
            return None
        with self._gate:
            with Snapshot(self.environment) as snapshot:
                commit = snapshot.head().commit
            return holds.take(commit)

    def _reader_holds(self) -> Holds | None:
        """One who may only read holds what it reads, if it may say so here."""
        if self.immutable:
            return None
        with self._guard, suppress(AccessDenied, ReadOnlyStore, DiskFull):
            if self._holds is None:
                self._holds = Holds(self.location.holds, self.location.file_mode)
                self._left.callback(self._holds.close)
        return self._holds

    def no_new_holds(self) -> AbstractContextManager[bool]:
        """For the block, other threads of this process wait before they write or open a blob."""
        return self._gate

    def _give_back(self, token: int | None) -> None:
        if token is not None and self._holds is not None:
            self._holds.give_back(token)

    # --- reading -------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The index as it is now, with everything that waited."""
        self.flush_for_reading()
        return Snapshot(self.environment)

    def flush_for_reading(self) -> None:
        """Commits what waits, so that a scan of the index sees it."""
        self._check_usable()
        if self._writing is not None and self._writing.writer.waiting():
            self._writing.writer.flush()

    def reading(self) -> View:
        """The index as it is now, and what waits."""
        self._check_usable()
        writing = self._writing
        waiting = writing.writer.waiting() if writing is not None else ()
        return View(self.environment, waiting, self._offered, self.judge)

    def _adopt(self, record: Record, origin: Origin) -> None:
        self._usable_writing().writer.adopt(record, origin)

    def offers(self) -> Offers:
        """What others offer to this store's lookups, in this process."""
        if self._offered is None:
            from druse_store.offers import Offers

            self._offered = Offers(None if self.read_only else self._adopt)
        return self._offered

    def read(self, digest: Digest) -> bytes:
        self._check_usable()
        return self.reader.read(digest)

    def outline(self, digest: Digest) -> ChunkList:
        """The chunks that a blob is made of."""
        self._check_usable()
        return self.reader.outline(digest)

    def open_blob(self, blob: Digest | BlobRef) -> BinaryIO:
        self._check_usable()
        token = self._take_hold()
        try:
            if isinstance(blob, BlobRef):
                outline = self.reader.chunk_list(blob.digest, blob.chunks, blob.size)
            else:
                outline = self.outline(blob)
                self.reader.verify(outline)
            read = partial(self.reader.read_part, outline.blob)
            raw = BlobFile(outline, read, lambda: self._give_back(token))
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

    def records(self, signature: Digest) -> Iterator[Record]:
        """The current records of all replicates of a signature."""
        self.flush_for_reading()
        with self.reading() as view:
            replicates = [replicate for replicate, _ in view.currents(signature)]
            found = [view.record_at(signature, replicate) for replicate in replicates]
        return iter([record for record in found if record is not None])

    def records_of_base(self, base: Digest) -> Iterator[Record]:
        """The current records under a base signature, one lookup each: there may be many."""
        with self.snapshot() as snapshot:
            keys = snapshot.under_base(base)
        for key in keys:
            with self.reading() as view:
                record = view.record_at(trusted(key[:32]), values.replicate_of(key))
            if record is not None:
                yield record

    def record_digests(self) -> list[Digest]:
        """Every record, current or not."""
        with self.snapshot() as snapshot:
            return list(snapshot.digests(values.RECORDS, bytes(32), b"\xff" * 32))

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
            self._left.close()
