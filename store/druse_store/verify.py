"""Reading everything again, to see whether it is still what was stored.

In order: the index, in a child process; the log, frame by frame along its chain; every pack, frame
by frame, on all cores; whole blobs of several chunks. `quick` stops after looking at the structure.
Beside writers: what was committed when it began is looked at. A verify that was interrupted goes on
where it was: which sealed packs and large blobs were found good is noted in `tmp/verify.json`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from druse_store import disk, frames, history, parallel
from druse_store.appender import path_of
from druse_store.digest import Digest
from druse_store.errors import BlobNotFound, FrameDamaged, IndexDamaged, StoreError
from druse_store.index import values
from druse_store.index.values import SEALED, FileEntry
from druse_store.reader import Reader
from druse_store.scan import FrameFile, Gap
from druse_store.walk import walk_in_child

if TYPE_CHECKING:
    from druse_store.session import Session

INDEX, LOG, PACK, CHUNK, BLOB = "index", "log", "pack", "chunk", "blob"
_SAVE_EVERY = 5.0  # seconds
_SLICE = 5_000

_Places = dict[Digest, tuple[tuple[int, ...], ...]]


class Finding(NamedTuple):
    """One thing that is wrong: what kind of thing, which one, and how."""

    kind: str
    name: str
    what: str


class Report(NamedTuple):
    """What a verify found. `lacking` records name blobs that are not here (pruned, or lost)."""

    findings: list[Finding]
    packs: int
    chunks: int
    blobs: int
    bytes: int
    lacking: int
    seconds: float

    @property
    def clean(self) -> bool:
        return not self.findings


class Progress(NamedTuple):
    """How far a verify is: bytes of packs and large blobs, and the seconds that remain."""

    done: int
    total: int
    eta: float


class _Checked(NamedTuple):
    """What reading one pack gave: its good chunks, with all the places where it has them."""

    file_id: bytes
    good: _Places
    findings: list[Finding]


class Verify:
    """One verify of an open store."""

    def __init__(self, session: Session, progress: Callable[[Progress], None] | None) -> None:
        self._session = session
        # Without the lock: it notes no damage, since a verify changes nothing.
        self._reader = Reader(session.location, session.environment, None)
        self._progress = progress
        self._began = time.monotonic()
        self._saved = self._began
        self._state = session.location.tmp / "verify.json"
        self._good_packs: set[str] = set()
        self._good_blobs = b""  # those up to this digest, in order
        self._skipped = self._done = self._total = 0
        self.findings: list[Finding] = []
        self.packs = self.chunks = self.blobs = 0

    def run(self, *, quick: bool, resume: bool) -> Report:
        """Looks at everything. Raises only what keeps it from looking, never what it finds."""
        walked = walk_in_child(self._session.location.index, locking=not self._session.immutable)
        self.findings += [Finding(INDEX, "", what) for what in walked.findings]
        try:
            self._look(quick=quick, resume=resume)
        except IndexDamaged as error:
            self.findings.append(Finding(INDEX, "", f"{error}; nothing further was looked at"))
        return Report(
            self.findings,
            self.packs,
            self.chunks,
            self.blobs,
            self._done,
            walked.lacking,
            time.monotonic() - self._began,
        )

    def _look(self, *, quick: bool, resume: bool) -> None:
        with self._session.snapshot() as snapshot:
            files = dict(snapshot.files())
            head = snapshot.head()
        packs = {i: entry for i, entry in files.items() if entry.kind == frames.PACK}
        self._structure(files)
        if quick:
            return
        self._load(resume)
        self._total = sum(entry.end for entry in packs.values()) + self._large_bytes()
        try:
            self._log(files, (head.segment, head.offset))
            self._packs(packs)
            self._blobs()
        except BaseException:
            self._save()
            raise
        self._forget_progress()

    # --- structure -----------------------------------------------------------------------------

    def _structure(self, files: dict[bytes, FileEntry]) -> None:
        """Every file is there, as long as committed, and begins and ends as it should."""
        for file_id, entry in files.items():
            if entry.state == values.QUARANTINED and entry.kind == frames.LOG_SEGMENT:
                continue  # nothing in it counts
            path = path_of(self._session.location, entry.kind, file_id)
            kind = PACK if entry.kind == frames.PACK else LOG
            try:
                with FrameFile(path, entry.end) as file:
                    if file.size < entry.end:
                        raise FrameDamaged(f"{file.size} bytes of {entry.end} are there")
                    if file.header().file_id != file_id:
                        raise FrameDamaged("the file is another one than its name says")
                    file.last_frame(entry.last, entry.end)
            except StoreError as error:
                self.findings.append(Finding(kind, file_id.hex(), str(error)))

    def _log(self, files: dict[bytes, FileEntry], head: tuple[bytes, int]) -> None:
        ends = {i: e.end for i, e in files.items() if e.kind == frames.LOG_SEGMENT}
        paths = [(i, self._session.location.segment(i)) for i in ends]
        there = [(i, path) for i, path in paths if path.exists()]
        past = history.read(there, head, ends)
        self.findings += [Finding(LOG, "", what) for what in past.damage]
        for entry, made in past.changes():
            if made is None:
                what = f"{entry.path}: the changes of commit {entry.link.commit} are damaged"
                self.findings.append(Finding(LOG, entry.segment.hex(), what))

    # --- packs ---------------------------------------------------------------------------------

    def _packs(self, packs: dict[bytes, FileEntry]) -> None:
        expected = self._expected()
        todo = []
        for file_id, entry in packs.items():
            if file_id.hex() in self._good_packs:
                self._skipped += entry.end
                self._advance(entry.end)
            elif self._session.location.pack(file_id).exists():
                todo.append((file_id, entry))
            else:
                self._compare(file_id, {})
        # Packs are mapped: of their weight only the names of their chunks are in memory.
        for checked in parallel.ordered(self._check_pack, todo, lambda _: parallel.WINDOW // 4):
            before = len(self.findings)
            self.findings += checked.findings
            self.packs += 1
            self.chunks += len(checked.good)
            if self._matching(checked) < expected.get(checked.file_id, 0):
                self._compare(checked.file_id, checked.good)
            if len(self.findings) == before and packs[checked.file_id].state == SEALED:
                self._good_packs.add(checked.file_id.hex())
            self._advance(packs[checked.file_id].end)

    def _expected(self) -> dict[bytes, int]:
        """How many chunks the index says that each pack has."""
        counts: dict[bytes, int] = {}
        for rows in self._slices(values.CHUNKS):
            for _, value in rows:
                pack = value[:8]
                counts[pack] = counts.get(pack, 0) + 1
        return counts

    def _matching(self, checked: _Checked) -> int:
        """How many of a pack's good chunks the index has, exactly where they were found."""
        matching = 0
        with self._session.snapshot() as snapshot:
            for digest, places in checked.good.items():
                entry = snapshot.chunk(digest)
                if entry is not None and entry.pack == checked.file_id:
                    matching += entry[1:5] in places
        return matching

    def _compare(self, file_id: bytes, good: _Places) -> None:
        """Names the chunks that the index has in a pack, and that are not good there."""
        for rows in self._slices(values.CHUNKS):
            for key, value in rows:
                if value[:8] != file_id or _place(key, value) in good.get(Digest(key), ()):
                    continue
                with self._session.snapshot() as snapshot:  # it may have moved meanwhile
                    now = snapshot.chunk(key)
                if now is not None and now.pack == file_id:
                    what = f"the index has it in pack {file_id.hex()}, where it is not good"
                    self.findings.append(Finding(CHUNK, key.hex(), what))

    def _check_pack(self, named: tuple[bytes, FileEntry]) -> _Checked:
        file_id, entry = named
        path = self._session.location.pack(file_id)
        good: _Places = {}
        found: list[Finding] = []
        try:
            with FrameFile(path, entry.end) as file:
                for frame in file.frames():
                    if isinstance(frame, Gap):
                        what = f"bytes {frame.offset} to {frame.end}: {frame.reason}"
                        found.append(Finding(PACK, file_id.hex(), what))
                    elif frame.kind in frames.HOLDING_CHUNKS:
                        _check_chunks(file, frame, file_id, good, found)
        except StoreError as error:
            found.append(Finding(PACK, file_id.hex(), str(error)))
        return _Checked(file_id, good, found)

    # --- blobs ---------------------------------------------------------------------------------

    def _blobs(self) -> None:
        found = len(self.findings)
        for rows in self._slices(values.BLOBS, self._good_blobs or None):
            for key, _ in rows:
                digest = Digest(key)
                try:
                    outline = self._reader.outline(digest)
                    for piece in self._reader.pieces(outline):
                        self._advance(len(piece))
                except BlobNotFound as error:
                    if self._reader.blob(digest) is not None:
                        self.findings.append(Finding(BLOB, str(digest), str(error)))
                except StoreError as error:
                    self.findings.append(Finding(BLOB, str(digest), str(error)))
                self.blobs += 1
                if len(self.findings) == found:
                    self._good_blobs = key

    def _large_bytes(self) -> int:
        """The bytes of all large blobs. Those that are known to be good count as done."""
        total = 0
        for rows in self._slices(values.BLOBS):
            for key, value in rows:
                try:
                    size = values.unpack_blob(key, value).size
                except StoreError:
                    continue  # the walk has named it
                total += size
                if key <= self._good_blobs:
                    self._skipped += size
                    self._done += size
        return total

    def _slices(
        self, table: str, after: bytes | None = None
    ) -> Iterator[list[tuple[bytes, bytes]]]:
        while True:
            with self._session.snapshot() as snapshot:
                rows = snapshot.rows_after(table, after, _SLICE)
            yield rows
            if len(rows) < _SLICE:
                return
            after = rows[-1][0]

    # --- progress ------------------------------------------------------------------------------

    def _advance(self, size: int) -> None:
        self._done += size
        now = time.monotonic()
        if now - self._saved > _SAVE_EVERY:
            self._saved = now
            self._save()
        if self._progress is not None:
            read = self._done - self._skipped
            rate = read / max(now - self._began, 1e-6)
            left = max(self._total - self._done, 0)
            self._progress(Progress(self._done, self._total, left / rate if rate else 0.0))

    def _save(self) -> None:
        good = {"packs": sorted(self._good_packs), "blobs": self._good_blobs.hex()}
        text = json.dumps(good)
        if not self._session.read_only:
            with disk.translated("noting progress in", self._state):
                disk.write_file(self._state, text.encode(), self._session.location.file_mode)

    def _forget_progress(self) -> None:
        if not self._session.read_only:
            self._state.unlink(missing_ok=True)

    def _load(self, resume: bool) -> None:
        if not resume:
            return
        try:
            good = json.loads(self._state.read_text())
            self._good_packs = set(good["packs"])
            self._good_blobs = bytes.fromhex(good["blobs"])
        except (OSError, ValueError, KeyError, TypeError):
            self._good_packs, self._good_blobs = set(), b""


def _place(key: bytes, value: bytes) -> tuple[int, ...] | None:
    try:
        return values.unpack_chunk(key, value)[1:5]
    except StoreError:
        return None


def _check_chunks(
    file: FrameFile,
    frame: frames.Frame,
    file_id: bytes,
    good: _Places,
    found: list[Finding],
) -> None:
    try:
        chunks = file.chunks(frame)
    except FrameDamaged as error:
        found.append(Finding(PACK, file_id.hex(), str(error)))
        return
    for chunk in chunks:
        if chunk.checks:
            # A pack has a chunk twice that was dead when it was put again, and so came to life.
            good[chunk.digest] = (*good.get(chunk.digest, ()), chunk[1:5])
        else:
            what = f"the chunk {chunk.digest} at byte {chunk.offset} is damaged"
            found.append(Finding(PACK, file_id.hex(), what))
