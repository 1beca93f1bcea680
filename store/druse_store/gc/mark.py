"""Marking: from the roots, what of the index is needed, what is not, and what can leave at once.

All of it from one read transaction. What was made, freshened or tombstoned at a commit behind
`limit` (the oldest live hold, or the grace) is left as it is. Digests are kept as raw bytes, 32
each, and looked at one first byte at a time, so that a store of any size costs little memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import compress, repeat
from operator import itemgetter, not_

from druse_store import packing
from druse_store.digest import Digest, trusted
from druse_store.errors import BlobNotFound, Damaged, IndexDamaged
from druse_store.frames import HEADER_SIZE
from druse_store.gc import references
from druse_store.gc.buckets import COUNT, Buckets
from druse_store.gc.places import Places
from druse_store.gc.roots import BARE, KEEP_ALL, Roots
from druse_store.index import values
from druse_store.index.bulk import Row, Scan, state_of, states_of
from druse_store.index.values import (
    BLOBS,
    CHUNK_ROW,
    CHUNKS,
    EVICTED,
    LIVE,
    RECORD_TAIL,
    RECORDS,
    STATE_AT,
    TOMBSTONED,
)
from druse_store.records import KIND_AT, fields_at

_STORED = itemgetter(slice(16, 20))  # where a chunk's row says how many bytes it takes
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
            for grade, kept in self._graded(rows, members).items():
                values.check(RECORDS, kept)
                if self._observe is not None:
                    for key, value in kept:
                        self._observe(key, value[:STATE_AT], state_of(value)[1], grade)
                bodies = waiting.setdefault(grade, [])
                bodies += [value[fields_at(value) : STATE_AT] for _, value in kept]
                if len(bodies) >= _BATCH:
                    references.collect(bodies, grade, self._live.parts)
                    bodies.clear()
            for part in grades.values():
                part.release(head)
        for grade, bodies in waiting.items():
            references.collect(bodies, grade, self._live.parts)

    def _graded(
        self, rows: list[Row], members: list[tuple[int, frozenset[bytes]]]
    ) -> dict[int, list[Row]]:
        """The records that are kept, by their grades; of the others it is noted."""
        kept: dict[int, list[Row]] = {}
        if members and members[0][0] == KEEP_ALL and not self._evicted:
            # Most are kept in full, or are cells that nothing names: not a call for each of them.
            full = members[0][1]
            kept[KEEP_ALL] = [row for row in rows if row[0] in full and row[1][STATE_AT] == LIVE]
            if len(kept[KEEP_ALL]) == len(rows):
                return kept
            rows = [row for row in rows if row[0] not in full or row[1][STATE_AT] != LIVE]
            if self._are_unnamed(rows, members):
                self.marked.records.fresh += b"".join([key for key, _ in rows])
                return kept
        for key, value in rows:
            grade = self._grade(key, value, members)
            if grade is not None:
                kept.setdefault(grade, []).append((key, value))
        return kept

    def _are_unnamed(self, rows: list[Row], members: list[tuple[int, frozenset[bytes]]]) -> bool:
        """Whether all of these are cells that were there already, and that nothing names."""
        keys, found = zip(*rows, strict=True)
        return (
            all(s == LIVE and since <= self._limit for s, since in states_of(found))
            and not any(value[KIND_AT] for value in found)
            and self._roots.digests.isdisjoint(keys)
            and self._roots.pulled.isdisjoint(keys)
            and all(part.isdisjoint(keys) for _, part in members)
        )

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
            if rows:
                self._slice(rows, members)

    def _slice(self, rows: list[Row], members: frozenset[bytes]) -> None:
        """The rows of chunks with one first byte. In columns: there may be millions.

        They are not checked here: each is before it gets a tombstone, or is moved.
        """
        keys, found = zip(*rows, strict=True)
        if set(map(len, found)) != {CHUNK_ROW}:
            raise IndexDamaged(_DAMAGED)
        needed = list(map(members.__contains__, keys))
        if not self._are_settled(found):
            stay = self._settle(rows, needed)
        else:
            gone = list(map(not_, needed))
            self.marked.chunks.fresh += b"".join(compress(keys, gone))
            stay = list(compress(found, needed)) if self._immediate else list(found)
            if not self._immediate:
                self.marked.later += _sizes(compress(found, gone))
        self.marked.places.add(stay)

    def _are_settled(self, found: Iterable[bytes]) -> bool:
        """Whether none of these has a tombstone, or is young."""
        return all(
            state != TOMBSTONED and since <= self._limit for state, since in states_of(found)
        )

    def _settle(self, rows: list[Row], needed: list[bool]) -> list[bytes]:
        """The same, one by one, where some have a tombstone, or are young. Returns what stays."""
        doomed, stay, later = self.marked.chunks, [], []
        for (key, value), is_needed in zip(rows, needed, strict=True):
            state, since = state_of(value)
            if is_needed:
                if state == TOMBSTONED:
                    doomed.revived += key
            elif since <= self._limit:
                if state == TOMBSTONED:
                    doomed.due += key
                    continue
                doomed.fresh += key
                if self._immediate:
                    continue
                later.append(value)
            stay.append(value)
        self.marked.later += _sizes(later)
        return stay


def _sizes(found: Iterable[bytes]) -> int:
    """The bytes that chunks take with their headers."""
    number: Callable[..., int] = int.from_bytes
    stored = list(map(_STORED, found))
    return sum(map(number, stored, repeat("little"))) + HEADER_SIZE * len(stored)
