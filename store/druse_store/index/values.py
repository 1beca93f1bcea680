"""The index's values as bytes. LMDB has no checksums, so that each value carries its own.

Every value is `body | crc32 of (table number, key, body)`: a value that moved to another key or
table does not check either. Fixed bodies, little-endian:

chunks   digest      -> pack 8 | offset 8 | stored 4 | size 4 | codec 1 | state 1 | since 8
blobs    digest      -> list 32 | size 8 | parts 4 | state 1 | since 8   (blobs of several chunks)
current  signature, replicate (4, big-endian) -> record 32
bases    base, signature, replicate           -> nothing
packs    file id     -> kind 1 | state 1 | committed end 8 | last frame 8 | uid 4
writers  kind, file id                        -> nothing      (the files that are not sealed)
records  digest      -> the encoded record | state 1 | since 8
head     "head"      -> commit 8 | log segment 8 | offset 8   (of the last log frame)
clock    commit (8, big-endian) -> time 8, in ns since 1970   (of some commits, 10 s apart)
trash    commit (8, big-endian), kind, key -> what was there   (see `trash`)
origins  record      -> signer's key 32 | remote 16 | state 1     (records that others computed)
attested record      -> batch 32                                  (in shared stores, see `attest`)
batches  batch       -> key 32 | signature 64 | the batch

`offset` is that of the payload; `since` is the commit that made or last freshened the entry, or
tombstoned it. What is SUSPECT did not check when it was read: it may be read again, but is not
known, so that the next put stores it anew. A record that is EVICTED is there without its artifacts.
Bodies of variable length are msgpack, except `edges` (see `snapshot.pack_edges`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from operator import add
from typing import NamedTuple
from zlib import crc32

from druse_store import packing
from druse_store.digest import SIZE, Digest, trusted
from druse_store.errors import IndexDamaged

CHUNKS, BLOBS = "chunks", "blobs"
RECORDS, CURRENT, BASES, EDGES = "records", "current", "bases", "edges"
EXPERIMENTS, RUNS, CELLS, PINS = "experiments", "runs", "cells", "pins"
PACKS, WRITERS, HEAD = "packs", "writers", "head"
CLOCK, TRASH, ORIGINS = "clock", "trash", "origins"
ATTESTED, BATCHES = "attested", "batches"
# In the order of their numbers, which are part of the format.
TABLES = (
    *(CHUNKS, BLOBS, RECORDS, CURRENT, BASES, EDGES),
    *(EXPERIMENTS, RUNS, CELLS, PINS, PACKS, WRITERS, HEAD, CLOCK, TRASH),
    *(ORIGINS, ATTESTED, BATCHES),
)
SEEDS = {name: number for number, name in enumerate(TABLES, 1)}
_RECORDS_SEED, _CURRENT_SEED = SEEDS[RECORDS], SEEDS[CURRENT]

REVOKED, WITHDRAWN = 1, 2  # of origins
LIVE, TOMBSTONED, SUSPECT, EVICTED = 0, 1, 2, 3
OPEN, SEALED, QUARANTINED = 0, 1, 2
TICK = 10_000_000_000  # ns between commits whose time is noted

RESIDUE = 0x2144DF1C  # the crc32 of whatever ends with its own crc32: so a check is one call
_CHUNK = struct.Struct("<8sQIIBBQ")
_BLOB = struct.Struct("<32sQIBQ")
PLACE = 16  # bytes of a chunk's row that say where it is: pack and offset
CHUNK_ROW = _CHUNK.size + 4  # bytes of a chunk's row
_FILE = struct.Struct("<BBQQI")
_HEAD = struct.Struct("<Q8sQ")
_ORIGIN = struct.Struct("<32s16sB")
_RECORD_TAIL = struct.Struct("<BQ")
RECORD_TAIL = _RECORD_TAIL.size
BODY_END = {name: -4 - RECORD_TAIL * (name == RECORDS) for name in TABLES}
STATE_AT = -RECORD_TAIL - 4  # where the state stands in a row with one, from its end
_NUMBER = struct.Struct(">Q")
_REPLICATE = struct.Struct(">I")
_CHECK = struct.Struct("<I")
HEAD_KEY = b"head"
MAX_VALUE = packing.MAX_SIZE + 64


class ChunkEntry(NamedTuple):
    """Where a chunk lies: `stored` bytes at `offset` of a pack give `size` bytes by `codec`."""

    pack: bytes
    offset: int
    stored: int
    size: int
    codec: int
    state: int = LIVE
    since: int = 0


class BlobEntry(NamedTuple):
    """A blob of several chunks: the digest of its chunk list, its size, how many chunks."""

    chunks: Digest
    size: int
    parts: int
    state: int = LIVE
    since: int = 0


class FileEntry(NamedTuple):
    """A pack or log segment: what of it is committed, and who may append to it."""

    kind: int
    state: int
    end: int
    last: int
    uid: int


class Head(NamedTuple):
    """The last commit, and where the last log frame lies."""

    commit: int = 0
    segment: bytes = bytes(8)
    offset: int = 0


class Origin(NamedTuple):
    """Who computed a record elsewhere, and through which remote it came here.

    One that is REVOKED, since its key is trusted no more, or that its signer has WITHDRAWN, is
    nobody's current one.
    """

    signer: bytes
    remote: bytes
    state: int = LIVE


def seal(table: str, key: bytes, body: bytes) -> bytes:
    """The value that is stored for `body` under `key`."""
    return body + crc32(body, crc32(key, SEEDS[table])).to_bytes(4, "little")


def seal_all(
    table: str, keys: Sequence[bytes], bodies: Sequence[bytes]
) -> Iterator[tuple[bytes, bytes]]:
    """The rows of a table from keys and bodies: `seal` for many, and no step of it in Python."""
    checks = map(_CHECK.pack, map(crc32, bodies, map(crc32, keys, repeat(SEEDS[table]))))
    return zip(keys, map(add, bodies, checks), strict=True)


def seal_keys(table: str, keys: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """As `seal_all`, of a table whose rows have no bodies."""
    return zip(keys, map(_CHECK.pack, map(crc32, keys, repeat(SEEDS[table]))), strict=True)


def body(table: str, key: bytes, value: memoryview | bytes, size: int | None = None) -> bytes:
    """The body of a stored value. Raises IndexDamaged where it does not check."""
    if size is not None and len(value) != size + 4:
        raise damaged(table, key)
    data = bytes(value) if len(value) <= MAX_VALUE else b""  # a damaged length is not followed
    if len(data) < 4 or crc32(data, crc32(key, SEEDS[table])) != RESIDUE:
        raise damaged(table, key)
    return data[: BODY_END[table]]


def record_row(digest: bytes, value: memoryview | bytes) -> bytes | None:
    """The encoded record of a row, None if it was removed: `body` for most of what is read."""
    if len(value) > MAX_VALUE:  # a damaged length is not followed
        raise damaged(RECORDS, digest)
    data = bytes(value)
    check = int.from_bytes(data[-4:], "little")
    if len(data) < -STATE_AT or crc32(data[:-4], crc32(digest, _RECORDS_SEED)) != check:
        raise damaged(RECORDS, digest)
    return None if data[STATE_AT] == TOMBSTONED else data[:STATE_AT]


def current_row(key: bytes, value: memoryview | bytes) -> Digest:
    """The record that a row of `current` names: `body` for most of what is read."""
    if len(value) != SIZE + 4:
        raise damaged(CURRENT, key)
    data = bytes(value)
    digest = data[:SIZE]
    if crc32(digest, crc32(key, _CURRENT_SEED)) != int.from_bytes(data[SIZE:], "little"):
        raise damaged(CURRENT, key)
    return trusted(digest)


def check(table: str, rows: Sequence[tuple[bytes, bytes]]) -> None:
    """Raises IndexDamaged where a stored value does not check: `body` for many."""
    if rows:
        check_columns(table, *zip(*rows, strict=True))


def check_columns(table: str, keys: Sequence[bytes], found: Sequence[bytes]) -> None:
    """The same for keys and their values."""
    seed = SEEDS[table]
    if set(map(crc32, found, map(crc32, keys, repeat(seed)))) != {RESIDUE}:
        rows = zip(keys, found, strict=True)
        raise damaged(
            table, next(k for k, value in rows if crc32(value, crc32(k, seed)) != RESIDUE)
        )


def damaged(table: str, key: bytes) -> IndexDamaged:
    return IndexDamaged(
        f"the entry {bytes(key)[:40].hex()} of the index's table {table!r} does not check; "
        "`druse repair --rebuild-index` makes a new index from the packs"
    )


def seal_record(key: bytes, packed: bytes, state: int, since: int) -> bytes:
    """The row of a record."""
    return seal(RECORDS, key, packed + _RECORD_TAIL.pack(state, since))


def seal_records(records: Mapping[Digest, bytes], since: int) -> Iterator[tuple[bytes, bytes]]:
    """The rows of new records, in the order of their keys."""
    keys = sorted(records)
    tail = _RECORD_TAIL.pack(LIVE, since)
    return seal_all(RECORDS, keys, list(map(add, map(records.__getitem__, keys), repeat(tail))))


def record_state(value: memoryview | bytes) -> tuple[int, int]:
    """State and since of a record's row, unchecked."""
    state, since = _RECORD_TAIL.unpack_from(value, len(value) - RECORD_TAIL - 4)
    return state, since


def pack_chunk(key: bytes, entry: ChunkEntry) -> bytes:
    return seal(CHUNKS, key, _CHUNK.pack(*entry))


def pack_chunks(entries: Mapping[Digest, ChunkEntry], commit: int) -> Iterator[tuple[bytes, bytes]]:
    """The rows of new chunks, in the order of their keys."""
    keys = sorted(entries)
    places = map(entries.__getitem__, keys)
    packs, offsets, stored, sizes, codecs, _, _ = zip(*places, strict=True) if keys else ((),) * 7
    since = repeat(commit)
    rows = map(_CHUNK.pack, packs, offsets, stored, sizes, codecs, repeat(LIVE), since)
    return seal_all(CHUNKS, keys, list(rows))


def unpack_chunk(key: bytes, value: memoryview | bytes) -> ChunkEntry:
    return ChunkEntry._make(_CHUNK.unpack(body(CHUNKS, key, value, _CHUNK.size)))


def moved_chunk(key: bytes, value: bytes, place: bytes) -> bytes:
    """The row of a chunk that lies in another place: pack and offset. Raises IndexDamaged."""
    begun = crc32(key, SEEDS[CHUNKS])
    if crc32(value, begun) != RESIDUE:
        raise damaged(CHUNKS, key)
    data = place + value[PLACE:-4]
    return data + crc32(data, begun).to_bytes(4, "little")


def pack_blob(key: bytes, entry: BlobEntry) -> bytes:
    return seal(BLOBS, key, _BLOB.pack(*entry))


def unpack_blob(key: bytes, value: memoryview | bytes) -> BlobEntry:
    chunks, *rest = _BLOB.unpack(body(BLOBS, key, value, _BLOB.size))
    return BlobEntry(trusted(chunks), *rest)


def pack_file(key: bytes, entry: FileEntry) -> bytes:
    return seal(PACKS, key, _FILE.pack(*entry))


def unpack_file(key: bytes, value: memoryview | bytes) -> FileEntry:
    return FileEntry._make(_FILE.unpack(body(PACKS, key, value, _FILE.size)))


def pack_head(head: Head) -> bytes:
    return seal(HEAD, HEAD_KEY, _HEAD.pack(*head))


def unpack_head(value: memoryview | bytes | None) -> Head:
    if value is None:
        return Head()
    return Head._make(_HEAD.unpack(body(HEAD, HEAD_KEY, value, _HEAD.size)))


def pack_origin(key: bytes, origin: Origin) -> bytes:
    return seal(ORIGINS, key, _ORIGIN.pack(*origin))


def unpack_origin(key: bytes, value: memoryview | bytes) -> Origin:
    return Origin._make(_ORIGIN.unpack(body(ORIGINS, key, value, _ORIGIN.size)))


def split_batch(body: bytes) -> tuple[bytes, bytes, bytes]:
    """Key, signature and entries of a batch's body."""
    return body[:32], body[32:96], body[96:]


def clock_key(commit: int) -> bytes:
    """The key of `clock`, and the beginning of a key of `trash`."""
    return _NUMBER.pack(commit)


def record_key(signature: bytes, replicate: int) -> bytes:
    """The key of `current` for a cell."""
    return signature + _REPLICATE.pack(replicate)


def replicate_of(key: bytes) -> int:
    """The replicate at the end of a key of `current` or `bases`."""
    (replicate,) = _REPLICATE.unpack(key[-4:])
    return int(replicate)


def run_key(experiment: str, version: int) -> bytes:
    """The key of `runs`; with four more bytes, that of a piece of its cells."""
    return experiment.encode("utf-8", "surrogateescape") + b"\0" + _REPLICATE.pack(version)


def split_run_key(key: bytes) -> tuple[str, int]:
    """Experiment and version of a key of `runs`."""
    return key[:-5].decode("utf-8", "surrogateescape"), replicate_of(key)
