"""Marking: from the roots, what of the index is needed, what is not, and what can leave at once.

All of it from one read transaction. What was made, freshened or tombstoned at a commit behind
`limit` (the oldest live hold, or the grace) is left as it is. Digests are kept as raw bytes, 32
each, and looked at one first byte at a time, so that a store of any size costs little memory.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from druse_store import packing
from druse_store.digest import Digest, trusted
from druse_store.errors import BlobNotFound, Damaged, IndexDamaged
from druse_store.frames import HEADER_SIZE
from druse_store.gc import references
from druse_store.gc.buckets import COUNT, Buckets
from druse_store.gc.places import PACK, SIZE, Places
from druse_store.gc.roots import BARE, KEEP_ALL, Roots
from druse_store.index import values
from druse_store.index.bulk import Row, Scan, state_of
from druse_store.index.values import (
    BLOBS,
    CHUNKS,
    EVICTED,
    LIVE,
    RECORD_TAIL,
    RECORDS,
    SINCE_AT,
    STATE_AT,
    TOMBSTONED,
)
from druse_store.records import KIND_AT, fields_at

_CHUNK = struct.Struct(f"<{PACK}s{SIZE}s")
_STORED = slice(16, 20)  # where a chunk's row says how many bytes it takes
_DAMAGED = (
    "an entry of the index's table 'chunks' has another length than all; `druse repair "
    "--rebuild-index` makes a new index from the packs"
)
_BATCH = 2_000  # records that are decoded at once

ReadList = Callable[[Digest, Digest, int], list[Digest]]
Advance = Callable[[str, int, int], None]
Observe = Callable[[bytes, bytes, int, int], None]


@dataclass(slots=True)
class Doomed:
    """Digests, in order: what gets a tombstone, what leaves the index now, what lives again."""

    fresh: bytearray = field(default_factory=bytearray)
    due: bytearray = field(default_factory=bytearray)
    revived: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class Marked:
    """What marking found."""

    records: Doomed = field(default_factory=Doomed)
    blobs: Doomed = field(default_factory=Doomed)
    chunks: Doomed = field(default_factory=Doomed)
    places: Places = field(default_factory=Places)  # of the chunks that stay
    later: int = 0  # bytes of chunks that will be due when the grace is over
    problems: list[str] = field(default_factory=list)


class Marker:
    """One marking. `immediate`: there is no grace, what gets a tombstone leaves at once."""

    def __init__(
        self,
        scan: Scan,
        roots: Roots,
        limit: int,
        *,
        immediate: bool,
        evicted: frozenset[bytes],
        read_list: ReadList,
        advance: Advance,
        observe: Observe | None = None,
    ) -> None:
        """`observe(digest, encoded, since, grade)` is told of every record that is kept."""
        self._scan = scan
        self._roots = roots
        self._limit = limit
        self._immediate = immediate
        self._evicted = evicted
        self._read_list = read_list
        self._advance = advance
        self._observe = observe
        self._live = Buckets()
        self._live.update(roots.digests)
        self.marked = Marked()

    def run(self) -> Marked:
        self._records()
        self._blobs()
        self._chunks()
        return self.marked

    # --- records -------------------------------------------------------------------------------

    def _records(self) -> None:
        grades = self._roots.grades
        waiting: dict[int, list[bytes]] = {}
        for head, rows in self._scan.slices(RECORDS):
            self._advance("records", head, COUNT)
            members = [(grade, part.members(head)) for grade, part in grades.items()]
            full = members[0][1] if members and members[0][0] == KEEP_ALL else frozenset()
            for key, value in rows:
                grade = KEEP_ALL
                if key not in full or value[STATE_AT] != LIVE or self._evicted:
                    found = self._grade(key, value, members)
                    if found is None:
                        continue
                    grade = found
                packed = values.body(RECORDS, key, value)
                if self._observe is not None:
                    self._observe(key, packed, state_of(value)[1], grade)
                bodies = waiting.setdefault(grade, [])
                bodies.append(packed[fields_at(packed) :])
                if len(bodies) == _BATCH:
                    references.collect(bodies, grade, self._live.parts)
                    bodies.clear()
            for part in grades.values():
                part.release(head)
        for grade, bodies in waiting.items():
            references.collect(bodies, grade, self._live.parts)

    def _grade(
        self, key: bytes, value: bytes, members: list[tuple[int, frozenset[bytes]]]
    ) -> int | None:
        """The grade in which a record is kept; None if it is not, which is noted."""
        state, since = state_of(value)
        found = None
        for grade, part in members:
            if key in part:
                found = grade
                break
        evicted = key in self._evicted
        cached = value[KIND_AT] != 0 or key in self._roots.pulled
        if found != KEEP_ALL and (
            key in self._roots.digests
            or (cached and state != TOMBSTONED and self._is_of_use(value, since))
        ):
            found = KEEP_ALL
        if cached and evicted:
            found = None
        doomed = self.marked.records
        if state == TOMBSTONED:
            if found is not None:
                doomed.revived += key
            elif since <= self._limit:
                doomed.due += key
        elif found is None:
            if since > self._limit and not evicted:
                found = KEEP_ALL  # young: what it is for may come yet
            else:
                doomed.fresh += key
        if found is None:
            return None
        return BARE if evicted or state == EVICTED else found

    def _is_of_use(self, value: bytes, since: int) -> bool:
        """Whether a cached step (or source) was made or used lately enough."""
        horizons = self._roots.horizons
        if len(horizons) > 1:
            fields = packing.unpack(value[fields_at(value) : -RECORD_TAIL - 4])
            experiment = fields[3].get("experiment")
            if type(experiment) is str:
                return since > horizons.get(experiment, horizons[None])
        return since > horizons[None]

    # --- blobs of several chunks ---------------------------------------------------------------

    def _blobs(self) -> None:
        for head, rows in self._scan.slices(BLOBS):
            self._advance("blobs", head, COUNT)
            members = self._live.members(head)
            for key, value in rows:
                if self._keeps(key, value, key in members, self.marked.blobs):
                    self._keep_chunks(key, value)

    def _keeps(self, key: bytes, value: bytes, needed: bool, doomed: Doomed) -> bool:
        """Whether an entry and what it needs stays as it is; notes what happens to it if not."""
        state, since = state_of(value)
        if state == TOMBSTONED:
            if needed:
                doomed.revived += key
            elif since <= self._limit:
                doomed.due += key
            return needed
        if needed or since > self._limit:
            return True
        doomed.fresh += key
        return False

    def _keep_chunks(self, key: bytes, value: bytes) -> None:
        entry = values.unpack_blob(key, value)
        self._live.add(entry.chunks)
        try:
            self._live.update(self._read_list(trusted(key), entry.chunks, entry.size))
        except (Damaged, BlobNotFound) as error:
            self.marked.problems.append(
                f"the chunks of blob {key.hex()[:12]} are not known, so none can be removed: "
                f"{error}"
            )

    # --- chunks --------------------------------------------------------------------------------

    def _chunks(self) -> None:
        for head, rows in self._scan.slices(CHUNKS):
            self._advance("chunks", head, COUNT)
            members = self._live.members(head)
            self._live.release(head)
            try:
                self._slice(rows, members)
            except struct.error as error:
                raise IndexDamaged(_DAMAGED) from error
            self.marked.places.added(len(rows))

    def _slice(self, rows: list[Row], members: frozenset[bytes]) -> None:
        """The rows of chunks with one first byte. Everything in one loop: there may be millions.

        They are not checked here: each is before it gets a tombstone, or is moved.
        """
        by_pack, limit, immediate = self.marked.places.by_pack, self._limit, self._immediate
        split, number, doomed = _CHUNK.unpack, int.from_bytes, self.marked.chunks
        for key, value in rows:
            if key in members:
                if value[STATE_AT] == TOMBSTONED:
                    doomed.revived += key
            elif number(value[SINCE_AT], "little") <= limit:
                if value[STATE_AT] == TOMBSTONED:
                    doomed.due += key
                    continue
                doomed.fresh += key
                if immediate:
                    continue
                self.marked.later += number(value[_STORED], "little") + HEADER_SIZE
            pack, place = split(value)
            by_pack[pack] += place
