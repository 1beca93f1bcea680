"""Records: what was computed under which key. Plain data, immutable, named by a digest of its own.

A record is encoded canonically (msgpack; fixed positions; maps sorted by key), so that equal
records have equal digests in every process. Decoding builds nothing but plain data, and is lazy:
`Record.decode` checks that the outline is one, and each group of fields becomes objects when first
asked for.

Reads form a chain that ends at the signature:
`node0 = start; node(i+1) = extend(node(i), key, value)`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

from blake3 import blake3

from druse_store import packing
from druse_store.digest import SIZE, Digest, trusted
from druse_store.errors import InvalidRecord, RecordDamaged

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"

VERSION = 1
_VERSION = bytes((VERSION,))
STATUSES = ("ok", "failed", "imported")
KINDS = ("cell", "step", "source")
_DOMAIN = b"druse:read:1\x00"


@lru_cache(maxsize=1 << 14)  # a record's chain is followed several times, cells share its beginning
def extend(node: Digest, key: str, value: Digest) -> Digest:
    """The node that follows `node` once `key` was read and had the value digest `value`."""
    name = key.encode("utf-8", "surrogatepass")
    parts = (_DOMAIN, node, len(name).to_bytes(4, "little"), name, value)
    return trusted(blake3(b"".join(parts)).digest())


@dataclass(frozen=True, slots=True)
class BlobRef:
    """A blob: its digest, its size in bytes, and the digest of its chunk list.

    `chunks` equals `digest` for a blob of one chunk. It is what random access rests on: a forged
    chunk list could otherwise lead to other, valid chunks.
    """

    digest: Digest
    size: int
    chunks: Digest


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """A stored Python value: its encoding, the root blob, and the buffers that it refers to."""

    encoding: str
    root: BlobRef
    buffers: tuple[BlobRef, ...] = ()
    meta: str = ""

    def blobs(self) -> tuple[BlobRef, ...]:
        """Every blob that is needed to load the object."""
        return (self.root, *self.buffers)


@dataclass(frozen=True, slots=True)
class ArtifactRef:
    """A named object that the step at position `step` wrote (-1: the datasource)."""

    name: str
    step: int
    ref: ObjectRef


@dataclass(frozen=True, slots=True)
class Read:
    """What was read: a key with its kind as prefix ("ctx:lr"), and its value's digest."""

    key: str
    value: Digest


@dataclass(frozen=True, slots=True)
class Record:
    """One computed cell, step or source."""

    signature: Digest
    replicate: int
    status: str
    base: Digest
    start: Digest
    reads: tuple[Read, ...]
    metrics: Mapping[str, JSON]
    artifacts: tuple[ArtifactRef, ...]
    output: ObjectRef | None
    provenance: Mapping[str, JSON]
    manifest: Digest | None
    needs: tuple[Digest, ...] = ()
    kind: str = "cell"
    _packed: bytes | None = field(default=None, init=False, repr=False, compare=False)
    _digest: Digest | None = field(default=None, init=False, repr=False, compare=False)
    _raw: list[Any] | None = field(default=None, init=False, repr=False, compare=False)
    _nodes: list[Digest] | None = field(default=None, init=False, repr=False, compare=False)

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def digest(self) -> Digest:
        """The digest of the canonical encoding."""
        known = self._digest
        if known is None:
            known = Digest.of(self.encode())
            object.__setattr__(self, "_digest", known)
        return known

    def encode(self) -> bytes:
        """The canonical encoding. Raises InvalidRecord for fields that are not plain data."""
        packed = self._packed
        if packed is None:
            packed = _encode(self)
            object.__setattr__(self, "_packed", packed)
        return packed

    @staticmethod
    def decode(packed: bytes, digest: Digest | None = None) -> Record:
        """The record that `packed` encodes; `digest`, where the caller has just checked it.

        Raises RecordDamaged.
        """
        return _decode(packed, digest)

    def packed(self) -> Record:
        """The same record as its bytes and its metrics alone: all that it is made of is much."""
        record = _decode(self.encode(), self.digest)
        _SET_METRICS(record, packing.sorted_map(self.metrics))  # as it is decoded
        return record

    def nodes(self) -> list[Digest]:
        """The nodes of the chain of reads, from `start` to the signature (one more than reads)."""
        nodes = self._nodes
        if nodes is None:
            node = self.start
            nodes = [node]
            for read in self.reads:
                node = extend(node, read.key, read.value)
                nodes.append(node)
            object.__setattr__(self, "_nodes", nodes)
        return nodes

    def refs(self) -> list[BlobRef]:
        """Every blob that outputs and artifacts name."""
        found: list[BlobRef] = []
        if self.output is not None:
            found += self.output.blobs()
        for artifact in self.artifacts:
            found += artifact.ref.blobs()
        return found

    def blobs(self) -> list[Digest]:
        """The digest of every blob that has to be present for this record to be served."""
        found = [ref.digest for ref in self.refs()]
        if self.manifest is not None:
            found.append(self.manifest)
        found += self.needs
        return found

    def __getattr__(self, name: str) -> Any:
        # Reached only where a slot is empty: a decoded record fills its groups when asked.
        fill = _LAZY.get(name)
        if fill is None:
            if name not in _OUTLINE_FIELDS or self._packed is None:
                raise AttributeError(name)
            _fill_outline(self, self._packed)
            return getattr(self, name)
        try:
            raw = self._raw
            if raw is None:
                raw = _raw_fields(self._packed or b"")
                _SET_RAW(self, raw)
            value = fill(raw)
        except (TypeError, ValueError, IndexError) as error:
            raise RecordDamaged(f"a stored record's {name} cannot be decoded") from error
        object.__setattr__(self, name, value)
        return value

    def __reduce__(self) -> tuple[Callable[[bytes], Record], tuple[bytes]]:
        return Record.decode, (self.encode(),)


# --- encoding --------------------------------------------------------------------------------


def _pack_blob(ref: BlobRef) -> tuple[bytes, int, bytes]:
    return ref.digest, ref.size, ref.chunks


def pack_object(ref: ObjectRef) -> tuple[Any, ...]:
    """An ObjectRef as plain data."""
    return ref.encoding, _pack_blob(ref.root), [_pack_blob(b) for b in ref.buffers], ref.meta


# version 1 | status 1 | kind 1 | replicate 4 | signature 32 | base 32 | start 32, then msgpack:
# [reads, metrics, artifacts, output, provenance, manifest, needs]
_OUTLINE = struct.Struct("<BBBI32s32s32s")
OUTLINE_SIZE = _OUTLINE.size
KIND_AT = 2  # where the kind stands, as its place in KINDS
_FIELDS = 7


def _encode(record: Record) -> bytes:
    _check(record)
    output = record.output
    outline = _OUTLINE.pack(
        VERSION,
        STATUSES.index(record.status),
        KINDS.index(record.kind),
        record.replicate,
        record.signature,
        record.base,
        record.start,
    )
    fields = (
        [(read.key, read.value) for read in record.reads],
        packing.sorted_map(record.metrics),
        [(a.name, a.step, pack_object(a.ref)) for a in record.artifacts],
        None if output is None else pack_object(output),
        packing.sorted_map(record.provenance),
        record.manifest,
        record.needs,
    )
    return outline + packing.pack(fields)


def _check(record: Record) -> None:
    if record.status not in STATUSES or record.kind not in KINDS:
        raise InvalidRecord(
            f"a record's status is one of {STATUSES} and its kind one of {KINDS}, "
            f"not {record.status!r} and {record.kind!r}"
        )
    if not 0 <= record.replicate < 2**32:
        raise InvalidRecord(f"a replicate is a number from 0 to 2**32 - 1: {record.replicate!r}")
    if not len(record.signature) == len(record.base) == len(record.start) == SIZE:
        raise InvalidRecord(f"a record's signature, base and start are digests of {SIZE} bytes")


# --- decoding --------------------------------------------------------------------------------


def _digest_of(value: Any) -> Digest:
    if type(value) is not bytes or len(value) != SIZE:
        raise ValueError("not a digest")
    return trusted(value)


def _blob(value: Any) -> BlobRef:
    digest, size, chunks = value
    if type(size) is not int or size < 0:
        raise ValueError("not a size")
    return BlobRef(_digest_of(digest), size, _digest_of(chunks))


def unpack_object(value: Any) -> ObjectRef:
    """The ObjectRef that `pack_object` made. Raises ValueError or TypeError for anything else."""
    encoding, root, buffers, meta = value
    if type(encoding) is not str or type(meta) is not str:
        raise ValueError("not text")
    return ObjectRef(encoding, _blob(root), tuple(map(_blob, buffers)), meta)


def _read(value: Any) -> Read:
    key, digest = value
    if type(key) is not str:
        raise ValueError("not a key")
    return Read(key, _digest_of(digest))


def _artifact(value: Any) -> ArtifactRef:
    name, step, ref = value
    if type(name) is not str or type(step) is not int:
        raise ValueError("not an artifact")
    return ArtifactRef(name, step, unpack_object(ref))


def _map(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise ValueError("not a map")
    return value


_LAZY: dict[str, Callable[[list[Any]], Any]] = {
    "reads": lambda raw: tuple(map(_read, raw[0])),
    "metrics": lambda raw: _map(raw[1]),
    "artifacts": lambda raw: tuple(map(_artifact, raw[2])),
    "output": lambda raw: None if raw[3] is None else unpack_object(raw[3]),
    "provenance": lambda raw: _map(raw[4]),
    "manifest": lambda raw: None if raw[5] is None else _digest_of(raw[5]),
    "needs": lambda raw: tuple(map(_digest_of, raw[6])),
}


def _raw_fields(packed: bytes) -> list[Any]:
    raw = packing.unpack(memoryview(packed)[_OUTLINE.size :])
    if type(raw) is not list or len(raw) != _FIELDS:
        raise ValueError("not the fields of a record")
    return raw


def _slot(name: str) -> Callable[[Record, Any], None]:
    setter: Callable[[Record, Any], None] = getattr(Record, name).__set__
    return setter


_OUTLINE_FIELDS = ("status", "kind", "replicate", "signature", "base", "start")
# Setting slots through their descriptors: three times faster than object.__setattr__ by name.
_SET_STATUS, _SET_KIND, _SET_REPLICATE = map(_slot, ("status", "kind", "replicate"))
_SET_SIGNATURE, _SET_BASE, _SET_START = map(_slot, ("signature", "base", "start"))
_SET_PACKED, _SET_DIGEST, _SET_RAW = map(_slot, ("_packed", "_digest", "_raw"))
_SET_NODES = _slot("_nodes")
_SET_METRICS = _slot("metrics")
_NEW = Record.__new__


def _decode(packed: bytes, digest: Digest | None) -> Record:
    try:
        version, status, kind = packed[:3]
        known = version == VERSION and status < len(STATUSES) and kind < len(KINDS)
    except ValueError:
        known = False
    if not known or len(packed) < _OUTLINE.size:
        raise RecordDamaged("a stored record has another outline than format version 1")
    record = _NEW(Record)
    _SET_PACKED(record, packed)
    _SET_DIGEST(record, digest)
    _SET_RAW(record, None)
    _SET_NODES(record, None)
    return record


def cell_of(packed: bytes) -> tuple[bytes, int, bytes]:
    """Signature, replicate and base of an encoded record: all of it takes ten times as long.

    Raises RecordDamaged.
    """
    if packed[:1] != _VERSION or len(packed) < OUTLINE_SIZE:
        raise RecordDamaged("a stored record has another outline than format version 1")
    _, _, _, replicate, signature, base, _ = _OUTLINE.unpack_from(packed)
    return signature, replicate, base


def _fill_outline(record: Record, packed: bytes) -> None:
    _, status, kind, replicate, signature, base, start = _OUTLINE.unpack_from(packed)
    _SET_STATUS(record, STATUSES[status])
    _SET_KIND(record, KINDS[kind])
    _SET_REPLICATE(record, replicate)
    _SET_SIGNATURE(record, trusted(signature))
    _SET_BASE(record, trusted(base))
    _SET_START(record, trusted(start))
