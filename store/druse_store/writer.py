"""Writing: frames into this process's own pack, and commits of what is pending.

Several threads may write at once. They share the pack, and the commit that is being gathered:
while one commit is under way the next one fills, and whoever needs durability waits for the one
that its own writes are in (so that concurrent puts share their fdatasync and transaction).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import compress
from typing import TYPE_CHECKING, Any, TypeAlias

from druse_store import frames, small
from druse_store.appender import SMALL, Appender
from druse_store.attest import Attester
from druse_store.changes import Change
from druse_store.codec import Level
from druse_store.commit import Committer
from druse_store.digest import Digest
from druse_store.errors import (
    BlobVanished,
    FrameDamaged,
    StorageFailed,
    StoreError,
)
from druse_store.index.environment import Environment
from druse_store.index.snapshot import Snapshot
from druse_store.index.tables import catch_up
from druse_store.index.values import OPEN, QUARANTINED, SEALED, BlobEntry, ChunkEntry, Origin
from druse_store.location import Location
from druse_store.logwriter import LogWriter
from druse_store.pending import Beginning, Pending
from druse_store.records import Record
from druse_store.small import SmallBlobs
from druse_store.writelock import WriteLock

if TYPE_CHECKING:
    from typing_extensions import Buffer

ReadInto: TypeAlias = "Callable[[memoryview, int], None]"  # fills it from this byte on

PACK_SIZE = 64 << 20
_MAX_OPERATIONS = 8192  # of one commit: keeps the write transaction below 50 ms
_MAX_BYTES = 256 << 20


class Writer:
    """What one open store writes with. Thread-safe."""

    def __init__(
        self, location: Location, environment: Environment, lock: WriteLock, level: Level
    ) -> None:
        self._location = location
        self._environment = environment
        attester = Attester(location.store_id) if location.shared else None
        self.committer = Committer(environment, lock, LogWriter(location), attester)
        self._lock = threading.RLock()
        self._flushing = threading.Lock()
        self.failures = 0  # commits that did not happen, or not whole
        self._failure: StoreError | None = None
        self._pending = Pending()
        self._committing: Pending | None = None
        self._small = SmallBlobs(level)  # of `_pending`
        self._pack: Appender | None = None
        self._touched: dict[bytes, Appender] = {}
        self._used: set[Digest] = set()

    # --- what waits ----------------------------------------------------------------------------

    def waiting(self) -> Sequence[Pending]:
        """What is not committed yet, newest first."""
        pending, committing = self._pending, self._committing
        if committing is not None:
            return (pending, committing)
        return (pending,) if pending.operations else ()

    def chunk(self, digest: Digest) -> ChunkEntry | None:
        """A chunk that waits for its commit, readable in its pack."""
        if digest in self._pending.small:
            with self._lock:
                self._append_small()
        for pending in self.waiting():
            entry = pending.chunks.get(digest)
            if entry is not None:
                with self._lock:
                    for appender in self._touched.values():
                        appender.write_out()
                return entry
        return None

    def blob(self, digest: Digest) -> BlobEntry | None:
        for pending in self.waiting():
            entry = pending.blobs.get(digest)
            if entry is not None:
                return entry
        return None

    def has_blob(self, digest: Digest) -> bool:
        return self._pending.has_blob(digest) or self._is_being_committed(digest)

    def _is_being_committed(self, digest: Digest) -> bool:
        committing = self._committing
        return committing is not None and committing.has_blob(digest)

    # --- blobs ---------------------------------------------------------------------------------

    def add_chunk(
        self, digest: Digest, size: int, codec: int, stored: Buffer, kind: int = frames.CHUNK
    ) -> Pending:
        """Appends a chunk, unless it waits already. Returns the commit that it will be in."""
        with self._lock:
            pending = self._pending
            if digest not in pending.chunks:
                length = memoryview(stored).nbytes
                pack = self._open_pack()
                head = frames.header(kind, codec, digest, size, length)
                if length <= SMALL:
                    place = pack.append_small(head, stored, length) + frames.HEADER_SIZE
                else:
                    place = pack.append(head, stored) + frames.HEADER_SIZE
                pending.chunks[digest] = ChunkEntry(pack.file_id, place, length, size, codec)
                self._appended(pending, pack, length)
        return pending

    def add_small(self, digest: Digest, data: bytes) -> None:
        """Adds a blob of one chunk, unless it waits already.

        With others, it is looked up later: one that the index has is relied upon; another one is
        encoded while more come in, and appended with its commit at the latest.
        """
        with self._lock:
            pending = self._pending
            if pending.has_blob(digest) or self._is_being_committed(digest):
                return
            pending.operations += 1
            pending.bytes += len(data)
            is_group = self._small.add(digest, data)
            pending.small.add(digest)  # behind what it says: it may be interrupted in between
            if is_group:
                self._rely_on_known()
                self._small.start()
                if self._small.is_crowded:
                    self._append_oldest()

    def _rely_on_known(self) -> None:
        """Takes out of the newest small blobs those that the index has."""
        newest = self._small.newest()
        with Snapshot(self._environment) as snapshot:
            known = snapshot.live_chunks(sorted(newest))
        pending = self._pending
        pending.relied.update(known)
        pending.small.difference_update(known)
        self._small.leave_out(known)

    def _append_small(self) -> None:
        if self._small:
            self._rely_on_known()
        while self._small:
            self._append_oldest()

    def _append_oldest(self) -> None:
        """Appends some of what is small; if that fails, all of it still waits."""
        chunks = self._pending.chunks
        items, encoded = self._small.oldest()
        fresh = [digest not in chunks for digest in items]
        if any(fresh):
            pack = self._open_pack()
            digests, plain = list(compress(items, fresh)), list(compress(items.values(), fresh))
            chunks.update(small.append(pack, digests, plain, list(compress(encoded, fresh))))
            self._seal_if_full(pack)
        self._pending.small.difference_update(items)
        self._small.drop_oldest()

    def add_chunks(self, chunks: Sequence[tuple[Digest, int, int, Sequence[Buffer]]]) -> None:
        """As `add_chunk`, for several (digest, size, codec, what is stored, in parts) in one go."""
        with self._lock:
            pending = self._pending
            fresh = {c[0]: c for c in chunks if c[0] not in pending.chunks}
            if not fresh:
                return
            lengths = [sum(memoryview(p).nbytes for p in parts) for *_, parts in fresh.values()]
            pack = self._open_pack()
            offsets = pack.append_many(
                [
                    [frames.header(frames.CHUNK, codec, digest, size, length), *parts]
                    for (digest, size, codec, parts), length in zip(
                        fresh.values(), lengths, strict=True
                    )
                ]
            )
            for (digest, size, codec, _), at, length in zip(
                fresh.values(), offsets, lengths, strict=True
            ):
                place = at + frames.HEADER_SIZE
                pending.chunks[digest] = ChunkEntry(pack.file_id, place, length, size, codec)
            pending.operations += len(fresh) - 1
            self._appended(pending, pack, sum(lengths))

    def add_extent(
        self,
        chunks: list[tuple[Digest, int]],
        data: memoryview,
        check: Callable[[ReadInto], None] | None = None,
    ) -> Pending:
        """Appends chunks raw and side by side, aligned, so that they can be mapped as one.

        `check` is given what reads the written bytes again; what it raises takes them back.
        """
        table = frames.table(chunks)
        with self._lock:
            pending = self._pending
            pack = self._open_pack()
            pad = frames.padding(pack.end + frames.HEADER_SIZE + len(table))
            head = frames.header(
                frames.EXTENT, frames.RAW, Digest.of(table), len(data), len(data), len(chunks), pad
            )
            with pack.taken_back():
                place = pack.append(head, table, bytes(pad), data)
                place += frames.HEADER_SIZE + len(table) + pad
                if check is not None:
                    pack.write_out()
                    check(partial(pack.read_into, place))
            for digest, size in chunks:
                entry = ChunkEntry(pack.file_id, place, size, size, frames.RAW)
                pending.chunks.setdefault(digest, entry)
                place += size
            self._appended(pending, pack, len(data))
        return pending

    def add_blob(
        self, digest: Digest, entry: BlobEntry, chunks: tuple[tuple[Digest, int], ...]
    ) -> Pending:
        """Adds a blob of several chunks, each of which waits, or was relied upon."""
        with self._lock:
            pending = self._pending
            for part in (entry.chunks, *(chunk for chunk, _ in chunks)):
                if part not in pending.chunks:
                    pending.relied.add(part)
            pending.blobs[digest] = entry
            pending.lists[digest] = chunks
            pending.operations += 1
        return pending

    def rely(self, digest: Digest) -> Pending:
        """Says that something will rest on a blob or chunk that the index has."""
        with self._lock:
            pending = self._pending
            if not pending.has_blob(digest):
                pending.relied.add(digest)
                pending.operations += 1
        return pending

    def _appended(self, pending: Pending, pack: Appender, length: int) -> None:
        pending.operations += 1
        pending.bytes += length
        self._seal_if_full(pack)

    def _seal_if_full(self, pack: Appender) -> None:
        if pack.end >= PACK_SIZE:
            pack.seal()
            pack.start_sync()
            self._pack = None

    def _open_pack(self) -> Appender:
        pack = self._pack
        if pack is None or pack.failed:
            pack = self._adopt() or Appender.create(self._location, frames.PACK)
            self._pack = pack
        if pack.file_id not in self._touched:
            self._touched[pack.file_id] = pack
        return pack

    def _adopt(self) -> Appender | None:
        """Continues a pack that its writer left unsealed."""
        with Snapshot(self._environment) as snapshot:
            left = snapshot.open_files(frames.PACK)
        for file_id in left:
            if file_id in self._pending.packs:
                continue  # it is given up
            pack = Appender.adopt(self._location, file_id, frames.PACK)
            if pack is None:
                continue
            catch_up(self._environment, self.committer.lock)
            with Snapshot(self._environment) as snapshot:  # again, now that it is locked
                entry = snapshot.file(file_id)
            if entry is not None and entry.state == OPEN:
                try:
                    pack.resume(entry)
                except FrameDamaged:
                    self._pending.packs[file_id] = entry._replace(state=QUARANTINED)
                    self._pending.operations += 1
                else:
                    return pack
            pack.close()
        return None

    # --- records, runs, pins -------------------------------------------------------------------

    def add_record(self, record: Record, is_known: Callable[[Digest], bool]) -> Pending:
        """Adds a record whose blobs all wait or are known. Raises InvalidRecord, BlobVanished."""
        nodes = record.checked_nodes()
        needs = record.blobs()
        seen = self._pending
        relied = seen.lacks(needs)
        for blob in relied:
            if not (self.has_blob(blob) or is_known(blob)):
                raise BlobVanished(
                    f"blob {blob} is not in the store, so the record of {record.signature.short} "
                    f"replicate {record.replicate} cannot be committed: compute it again"
                )
        with self._lock:
            pending = self._pending
            if pending is not seen:  # whose commit has begun, and may fail
                relied = pending.lacks(needs)
            if relied:
                pending.relied.update(blob for blob in relied if blob not in pending.chunks)
            pending.rows.add(record, nodes)  # behind what it needs: it may be interrupted
            pending.operations += 1
        return pending

    def adopt(self, record: Record, origin: Origin) -> Pending:
        """Adds a record that others computed, blobs or not. Raises InvalidRecord."""
        nodes = record.checked_nodes()
        with self._lock:
            self._pending.adoptions[record.digest] = (record, nodes, origin)
            self._pending.operations += 1
            return self._pending

    def add_cell(self, experiment: str, version: int, cell: tuple[Any, ...]) -> Pending:
        with self._lock:
            pending = self._pending
            cells = pending.cells.get((experiment, version))
            if cells is None:
                cells = pending.cells[experiment, version] = []
            cells.append(cell)
            pending.operations += 1
        return pending

    def change(self, change: Change) -> Pending:
        """Adds a logical change; it happens after all records of the same commit."""
        with self._lock:
            self._pending.changes.append(change)
            self._pending.operations += 1
            return self._pending

    def begin(self, beginning: Beginning) -> Pending:
        with self._lock:
            self._pending.beginnings.append(beginning)
            self._pending.operations += 1
            return self._pending

    def touch(self, records: Iterable[Digest]) -> None:
        """Says that records are used now: noted with the next commit."""
        with self._lock:
            self._used.update(records)

    # --- commits -------------------------------------------------------------------------------

    def is_full(self) -> bool:
        """Whether what waits is so much that it had better be committed."""
        pending = self._pending
        return pending.operations >= _MAX_OPERATIONS or pending.bytes >= _MAX_BYTES

    def flush(self, mine: Pending | None = None, since: int | None = None) -> None:
        """Commits what waits, or waits for the commit that `mine` is. Raises its error.

        `since` is what `failures` was: if others ended since then, their errors are raised too,
        since threads share commits, and what the caller wrote may have been in one of those.
        """
        if mine is None:
            mine = self._pending
        with self._flushing:
            if not mine.done:
                self._flush()
        if mine.error is not None:
            raise mine.error
        if since is not None and since != self.failures and self._failure is not None:
            raise type(self._failure)(*self._failure.args) from self._failure

    def _flush(self) -> None:
        pending: Pending | None = None
        touched: dict[bytes, Appender] = {}
        try:
            with self._lock:
                self._append_all_small()
                if self._pending.is_empty():
                    return
                pending, touched = self._begin_anew()
                for pack in touched.values():
                    pack.write_out()
            for pack in touched.values():  # others append meanwhile, to the last of them
                pack.sync_written()
            pending.error = self.committer.commit(pending)
        except BaseException as error:
            if pending is None:
                raise
            self._abandon(touched)
            if isinstance(error, StoreError):
                pending.error = error
            else:
                pending.error = StorageFailed(f"a commit was interrupted: {error!r}")
                raise
        finally:
            if pending is not None:
                if pending.error is not None:
                    self._note(pending.error)
                pending.done = True
                self._committing = None
                self._close_sealed(touched)

    def _append_all_small(self) -> None:
        try:
            self._append_small()
        except StoreError:
            self._abandon(self._touched)
            raise

    def _begin_anew(self) -> tuple[Pending, dict[bytes, Appender]]:
        """Has what waits be what is committed, and something new wait; with the packs that it is
        in."""
        pending, touched = self._pending, self._touched
        pending.packs.update((pack.file_id, pack.entry()) for pack in touched.values())
        pending.used = self._used
        fresh, used = Pending(), set[Digest]()
        # From here on without a call, behind which an interrupt could come. In this order: a reader
        # that sees the new one shall see the old one too.
        self._committing = pending
        self._pending, self._touched, self._used = fresh, {}, used
        return pending, touched

    def _note(self, failure: StoreError) -> None:
        self._failure = failure
        self.failures += 1

    def _close_sealed(self, touched: dict[bytes, Appender]) -> None:
        """Closes what is complete, and holds nothing that waits for the next commit."""
        with self._lock:
            over = [p for p in touched.values() if p.sealed and p.file_id not in self._touched]
        for pack in over:
            pack.close()

    def recover(self) -> None:
        """After an error: gives up a pack that failed, with what waits in it."""
        with self._flushing:
            self._abandon(self._touched)

    def _abandon(self, touched: dict[bytes, Appender]) -> None:
        """Gives up packs that failed. Nothing that waits in the same packs is trusted either."""
        with self._lock:
            failed = {file_id: pack for file_id, pack in touched.items() if pack.failed}
            if not failed:
                return
            if self._pack is not None and self._pack.file_id in failed:
                self._pack = None
            waiting = self._pending
            if waiting.small or any(entry.pack in failed for entry in waiting.chunks.values()):
                self._small.clear()
                waiting.error = StorageFailed("the pack of these writes was abandoned: write again")
                waiting.done = True
                self._note(waiting.error)
                self._pending = Pending()
            for file_id, pack in failed.items():
                self._touched.pop(file_id, None)
                self._give_up(pack)

    def _give_up(self, pack: Appender) -> None:
        """Where pages may be lost, nobody appends again: the pack ends where it was committed."""
        pack.close()
        if not pack.doubtful:
            return
        with Snapshot(self._environment) as snapshot:
            entry = snapshot.file(pack.file_id)
        if entry is not None:
            self._pending.packs[pack.file_id] = entry._replace(state=SEALED)
            self._pending.operations += 1

    def leave_files(self) -> None:
        """Gives up the pack and the log segment, which others may continue, and so may this one."""
        self.flush()
        with self._flushing:
            self.committer.log.close()
            with self._lock:
                if self._pack is not None and self._pack.file_id not in self._touched:
                    self._pack.close()
                    self._pack = None

    def close(self) -> None:
        """Commits what waits, then gives up the pack and the log segment."""
        try:
            self._pending.operations += bool(self._used)
            self.flush()
        finally:
            with self._lock:
                if self._pack is not None:
                    self._pack.close()
                self._pack = None
            self.committer.log.close()
