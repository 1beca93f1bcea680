"""Mending what a verify found, and giving up what cannot be mended, so that it is computed again.

In this order, each step durable before the next, so that it can be stopped anywhere and begun
again: copies of damaged chunks are looked for in all packs, then asked of `fetch`; records that
need what is lost are retired; lost blobs and chunks leave the index; what is good in damaged packs
moves to new ones; the damaged files go to `quarantine/`. A damaged log is written anew from the
index. A damaged index has to be made anew by `rebuild_index` before this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from druse_store import changes, checkpoint, codec, frames, salvage, verify
from druse_store.appender import Appender
from druse_store.digest import Digest, trusted
from druse_store.errors import IndexDamaged, StoreError
from druse_store.index import values
from druse_store.index.snapshot import Snapshot
from druse_store.index.tables import Tables, catch_up
from druse_store.index.values import OPEN, SUSPECT, BlobEntry, ChunkEntry
from druse_store.moving import Mover
from druse_store.quarantine import put_away
from druse_store.reader import Reader
from druse_store.records import Record
from druse_store.repaired import Fetch, Repaired
from druse_store.scan import FrameFile
from druse_store.verify import Progress, Report, Verify

if TYPE_CHECKING:
    from druse_store.session import Session
    from druse_store.writer import Writer

_SLICE = 5_000


class Repair:
    """One repair of a store that is open for writing."""

    def __init__(self, session: Session, writer: Writer, fetch: Fetch | None) -> None:
        self._session = session
        self._writer = writer
        self._fetch = fetch
        self._location = session.location
        self._environment = session.environment
        self._lock = session.write_lock
        self._reader = Reader(session.location, session.environment, None)
        self.done = Repaired()

    def run(self, progress: Callable[[Progress], None] | None) -> Repaired:
        """Verifies, then repairs. Raises IndexDamaged where the index has to be rebuilt first."""
        self._writer.leave_files()
        report = Verify(self._session, progress).run(quick=False, resume=False)
        _refuse_damaged_index(report)
        self.done.found = report.findings
        bad = self._bad_chunks(_names(report, verify.CHUNK))
        packs = {bytes.fromhex(name) for name in _names(report, verify.PACK)}
        packs |= {entry.pack for entry in bad.values()}
        lost = self._mend(bad)
        blobs = self._lost_blobs(_names(report, verify.BLOB))
        packs |= self._give_up({digest: bad[digest] for digest in lost}, blobs)
        self._clear_suspicion()
        for pack in sorted(packs):
            self._evacuate(pack)
        if _names(report, verify.LOG):
            self._rewrite_log()
        return self.done

    # --- mending -------------------------------------------------------------------------------

    def _bad_chunks(self, names: set[str]) -> dict[Digest, ChunkEntry]:
        with self._session.snapshot() as snapshot:
            found = {name: snapshot.chunk(name) for name in map(Digest.from_hex, names)}
        return {digest: entry for digest, entry in found.items() if entry is not None}

    def _mend(self, bad: dict[Digest, ChunkEntry]) -> list[Digest]:
        """Finds good copies of damaged chunks. Returns those of which there is none."""
        lost = dict.fromkeys(sorted(bad))
        if not bad:
            return []
        with self._session.snapshot() as snapshot:
            files = dict(snapshot.files())
        lists = {entry.chunks for _, entry in self._blobs()}
        mover = Mover(self._location, self._environment, self._lock)
        try:
            for digest, code, stored in salvage.copies(self._location, files, bad):
                mover.add_chunk(_kind(digest, lists), digest, code, stored, bad[digest])
                lost.pop(digest)
                self.done.healed += 1
            for digest, data in self._fetched(list(lost)):
                code, packed = codec.encode(data)
                mover.add_chunk(_kind(digest, lists), digest, int(code), packed, bad[digest])
                lost.pop(digest)
                self.done.fetched += 1
        except BaseException:
            mover.abandon()
            raise
        mover.finish()
        return list(lost)

    def _fetched(self, wanted: Sequence[Digest]) -> Iterator[tuple[Digest, bytes]]:
        """What `fetch` gives, where it is what it says."""
        if self._fetch is None or not wanted:
            return
        open_still = set(wanted)
        try:
            for digest, data in self._fetch(wanted):
                if digest in open_still and Digest.of(data) == digest:
                    open_still.discard(digest)
                    yield digest, data
        except StoreError as error:
            self.done.left.append(f"{len(open_still)} chunks were not fetched: {error}")

    def _clear_suspicion(self) -> None:
        """What could not be read once, and can be now, is known again."""
        chunks, blobs = self._suspects()
        for digest, entry in chunks:
            with suppress(StoreError):
                self._reader.read_chunk(digest)
                with self._lock.held(), Tables(self._environment) as tables:
                    if tables.chunk(digest) == entry:
                        tables.put_chunk(digest, entry._replace(state=values.LIVE))
                        self.done.healed += 1
                    tables.commit()
        for digest, blob in blobs:
            with suppress(StoreError):
                self._read_blob(digest)
                with self._lock.held(), Tables(self._environment) as tables:
                    if tables.blob(digest) == blob:
                        tables.put_blob(digest, blob._replace(state=values.LIVE))
                    tables.commit()

    def _suspects(self) -> tuple[list[tuple[Digest, ChunkEntry]], list[tuple[Digest, BlobEntry]]]:
        chunks = [
            (trusted(key), entry)
            for key, value in self._rows(values.CHUNKS)
            if (entry := values.unpack_chunk(key, value)).state == SUSPECT
        ]
        return chunks, [(key, entry) for key, entry in self._blobs() if entry.state == SUSPECT]

    # --- giving up -----------------------------------------------------------------------------

    def _lost_blobs(self, names: set[str]) -> dict[Digest, BlobEntry]:
        """Those of the blobs that are damaged still, now that chunks were mended."""
        lost = {}
        for digest in sorted(map(Digest.from_hex, names)):
            entry = self._reader.blob(digest)
            if entry is None:
                continue
            try:
                self._read_blob(digest)
            except StoreError:
                lost[digest] = entry
        return lost

    def _read_blob(self, digest: Digest) -> None:
        for _ in self._reader.pieces(self._reader.outline(digest)):
            pass

    def _give_up(
        self, chunks: dict[Digest, ChunkEntry], blobs: dict[Digest, BlobEntry]
    ) -> set[bytes]:
        """Retires the records that need what is lost, and forgets it. Returns the packs of the
        chunk lists, so that a rebuild finds none of them either."""
        lost = {*chunks, *blobs}
        if not lost:
            return set()
        packs = set()
        kept = {entry.chunks for digest, entry in self._blobs() if digest not in blobs}
        self._retire(lost)
        with self._lock.held(), Tables(self._environment) as tables:
            for digest, blob in blobs.items():
                outline = tables.chunk(blob.chunks)
                if outline is not None and blob.chunks not in kept:
                    packs.add(outline.pack)
                    tables.drop(values.CHUNKS, blob.chunks)
                tables.drop(values.BLOBS, digest)
            for digest, entry in chunks.items():
                now = tables.chunk(digest)
                if now is not None and now[:2] == entry[:2]:
                    tables.drop(values.CHUNKS, digest)
            tables.commit()
        self._retire(lost)  # those that were committed meanwhile
        self.done.lost = sorted(lost)
        with self._session.snapshot() as snapshot:
            pins = snapshot.pins()
        self.done.pins = [name for name, target in pins if target[-1] in lost]
        return packs

    def _retire(self, lost: set[Digest]) -> None:
        for _, value in self._rows(values.CURRENT):
            digest = trusted(value[:-4])
            with self._session.snapshot() as snapshot:
                packed = snapshot.record(digest)
            if packed is not None and lost.intersection(Record.decode(packed).blobs()):
                self._writer.change([changes.RETIRE, digest])
                self.done.retired.append(digest)
        self._writer.flush()
        self._writer.leave_files()

    # --- files ---------------------------------------------------------------------------------

    def _evacuate(self, pack: bytes) -> None:
        """Moves what is good in a pack elsewhere, and the pack to the quarantine."""
        path = self._location.pack(pack)
        mine = Appender.adopt(self._location, pack, frames.PACK)
        catch_up(self._environment, self._lock)
        with self._session.snapshot() as snapshot:
            entry = snapshot.file(pack)
        if mine is None and entry is not None and entry.state == OPEN and path.exists():
            self.done.left.append(f"pack {pack.hex()} is being written to: repair again later")
            return
        try:
            if entry is not None:
                mover = Mover(self._location, self._environment, self._lock)
                if path.exists():
                    with FrameFile(path, entry.end) as file:
                        salvage.evacuate(file, pack, mover, self._reader.indexed_chunk)
                mover.finish()
                self._forget(pack)
        finally:
            if mine is not None:
                mine.close()

    def _forget(self, pack: bytes) -> None:
        remaining = sum(value[:8] == pack for _, value in self._rows(values.CHUNKS))
        if remaining:
            self.done.left.append(f"{remaining} chunks of pack {pack.hex()} could not be moved")
            return
        with self._lock.held(), Tables(self._environment) as tables:
            entry = tables.file(pack)
            if entry is not None:
                tables.drop_file(pack, entry)
            tables.commit()
        self.done.quarantined += put_away(self._location, [self._location.pack(pack)])

    def _rewrite_log(self) -> None:
        replaced = checkpoint.write(self._location, self._environment, self._lock)
        self.done.quarantined += put_away(self._location, replaced)
        self.done.log_rewritten = True

    # --- the index -----------------------------------------------------------------------------

    def _blobs(self) -> Iterator[tuple[Digest, BlobEntry]]:
        for key, value in self._rows(values.BLOBS):
            yield trusted(key), values.unpack_blob(key, value)

    def _rows(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        after: bytes | None = None
        while True:
            with Snapshot(self._environment) as snapshot:
                rows = snapshot.rows_after(table, after, _SLICE)
            yield from rows
            if len(rows) < _SLICE:
                return
            after = rows[-1][0]


def _kind(digest: Digest, lists: set[Digest]) -> int:
    return frames.LIST if digest in lists else frames.CHUNK


def _names(report: Report, kind: str) -> set[str]:
    return {finding.name for finding in report.findings if finding.kind == kind}


def _refuse_damaged_index(report: Report) -> None:
    for finding in report.findings:
        if finding.kind == verify.INDEX:
            raise IndexDamaged(
                f"the index is damaged ({finding.what}), so that nothing can be repaired by it: "
                "make a new one from the packs first (`druse repair --rebuild-index`)"
            )
