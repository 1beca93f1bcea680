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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeAlias

from blake3 import blake3

from druse_store import packing
from druse_store.digest import SIZE, Digest, trusted
from druse_store.errors import InvalidRecord, RecordDamaged

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"

VERSION = 1
STATUSES = ("ok", "failed", "imported")
KINDS = ("cell", "step", "source")
_DOMAIN = b"druse:read:1\x00"


def follow(node: Digest, key: str, value: Digest) -> Digest:
    """The node that follows `node` once `key` was read and had the value digest `value`."""
    return trusted(blake3(b"".join((_DOMAIN, node, _framed(key), value))).digest())


# A record's chain is followed several times, cells share its beginning.
extend = lru_cache(maxsize=1 << 14)(follow)


@lru_cache(maxsize=1 << 12)
def _framed(key: str) -> bytes:
    name = key.encode("utf-8", "surrogatepass")
    return len(name).to_bytes(4, "little") + name


# Named tuples, as records hold many and packing takes them as they are.


class BlobRef(NamedTuple):
    """A blob: its digest, its size in bytes, and the digest of its chunk list.

    `chunks` equals `digest` for a blob of one chunk. It is what random access rests on: a forged
    chunk list could otherwise lead to other, valid chunks.
    """

    digest: Digest
    size: int
    chunks: Digest


class ObjectRef(NamedTuple):
    """A stored Python value: its encoding, the root blob, and the buffers that it refers to."""

    encoding: str
    root: BlobRef
    buffers: tuple[BlobRef, ...] = ()
    meta: str = ""

    def blobs(self) -> tuple[BlobRef, ...]:
        """Every blob that is needed to load the object."""
        return (self.root, *self.buffers)


class ArtifactRef(NamedTuple):
    """A named object that the step at position `step` wrote (-1: the datasource)."""

    name: str
    step: int
    ref: ObjectRef


class Read(NamedTuple):
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
    _names: tuple[str, ...] | None = field(default=None, init=False, repr=False, compare=False)
    _needs: list[Digest] | None = field(default=None, init=False, repr=False, compare=False)

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
        if (
            len(packed) < _METRICS_AT
            or packed[0] != VERSION
            or packed[1] >= len(STATUSES)
            or packed[KIND_AT] >= len(KINDS)
        ):
            raise RecordDamaged("a stored record has another outline than format version 1")
        record = _NEW(Record)
        _SET_PACKED(record, packed)
        _SET_DIGEST(record, digest)
        _SET_RAW(record, None)
        _SET_NODES(record, None)
        _SET_NAMES(record, None)
        _SET_NEEDS(record, None)
        return record

    def packed(self) -> Record:
        """The same record as its bytes and its metrics alone: all that it is made of is much."""
        if self._names is not None:  # made by a form: that is all it has, and what is let go here
            _SET_NODES(self, None)
            _SET_NAMES(self, None)
            _SET_NEEDS(self, None)
            _DROP_SIGNATURE(self)
            return self
        record = Record.decode(self.encode(), self.digest)
        _SET_METRICS(record, packing.sorted_map(self.metrics))  # as it is decoded
        return record

    def names(self) -> tuple[str, ...]:
        """The keys of the reads, in their order."""
        names = self._names
        return tuple(read.key for read in self.reads) if names is None else names

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

    def checked_nodes(self) -> list[Digest]:
        """As `nodes`. Raises InvalidRecord if they do not end at the signature."""
        nodes = self._nodes or self.nodes()
        if nodes[-1] != self.signature:
            raise InvalidRecord(
                f"the reads of a record lead to {nodes[-1]}, and not to its signature "
                f"{self.signature}"
            )
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
        if self._needs is not None:
            return self._needs
        found = [ref.digest for ref in self.refs()]
        if self.manifest is not None:
            found.append(self.manifest)
        found += self.needs
        return found

    def __getattr__(self, name: str) -> Any:
        # Reached only where a slot is empty: a decoded record fills its groups when asked.
        packed = self._packed
        if packed is None or name not in _DECODED:
            raise AttributeError(name)
        try:
            if name == "metrics":
                metrics = _map(packing.unpack(packed[_METRICS_AT : fields_at(packed)]))
                _SET_METRICS(self, metrics)
                return metrics
            fill = _LAZY.get(name)
            if fill is None:
                _fill_outline(self, packed)
                return getattr(self, name)
            raw = self._raw
            if raw is None:
                raw = _raw_fields(packed)
                _SET_RAW(self, raw)
            value = fill(raw)
        except (TypeError, ValueError, IndexError) as error:
            raise RecordDamaged(f"a stored record's {name} cannot be decoded") from error
        object.__setattr__(self, name, value)
        return value

    def __reduce__(self) -> tuple[Callable[[bytes], Record], tuple[bytes]]:
        return Record.decode, (self.encode(),)


# --- encoding --------------------------------------------------------------------------------


# version 1 | status 1 | kind 1 | replicate 4 | signature 32 | base 32 | start 32 | size 4, then
# msgpack: the metrics, of that size, and [reads, artifacts, output, provenance, manifest, needs].
# The metrics stand apart, since a run of many cells reads these and nothing else of each.
_OUTLINE = struct.Struct("<BBBI32s32s32sI")
_STATUS_AT = 1  # where the status stands, as its place in STATUSES
KIND_AT = 2  # where the kind stands, as its place in KINDS
_CELL = struct.Struct("<3xI32s32s")
_FIELDS = 6
outlined = partial(_OUTLINE.pack, VERSION)
_METRICS_AT = _OUTLINE.size
_REPLICATE_AT, _SIGNATURE_AT, _BASE_AT = slice(6, 2, -1), slice(7, 39), slice(39, 71)
_SIZE_AT = slice(_METRICS_AT - 4, _METRICS_AT)


def fields_at(packed: bytes) -> int:
    """Where the fields behind the metrics begin in an encoded record."""
    return _METRICS_AT + int.from_bytes(packed[_SIZE_AT], "little")


def _encode(record: Record) -> bytes:
    _check(record)
    metrics = packing.pack_any(packing.sorted_map(record.metrics))
    outline = outlined(
        STATUSES.index(record.status),
        KINDS.index(record.kind),
        record.replicate,
        record.signature,
        record.base,
        record.start,
        len(metrics),
    )
    fields = packing.pack_any(
        (
            record.reads,
            record.artifacts,
            record.output,
            packing.sorted_map(record.provenance),
            record.manifest,
            record.needs,
        )
    )
    return packing.bounded(outline + metrics + fields)


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
    """The ObjectRef that was packed. Raises ValueError or TypeError for anything else."""
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
    "artifacts": lambda raw: tuple(map(_artifact, raw[1])),
    "output": lambda raw: None if raw[2] is None else unpack_object(raw[2]),
    "provenance": lambda raw: _map(raw[3]),
    "manifest": lambda raw: None if raw[4] is None else _digest_of(raw[4]),
    "needs": lambda raw: tuple(map(_digest_of, raw[5])),
}


def _raw_fields(packed: bytes) -> list[Any]:
    raw = packing.unpack(memoryview(packed)[fields_at(packed) :])
    if type(raw) is not list or len(raw) != _FIELDS:
        raise ValueError("not the fields of a record")
    return raw


def _slot(name: str) -> Callable[[Record, Any], None]:
    setter: Callable[[Record, Any], None] = getattr(Record, name).__set__
    return setter


_OUTLINE_FIELDS = ("status", "kind", "replicate", "signature", "base", "start")
_DECODED = frozenset(("metrics", *_OUTLINE_FIELDS, *_LAZY))
# Setting slots through their descriptors: three times faster than object.__setattr__ by name.
_SET_STATUS, _SET_KIND, _SET_REPLICATE = map(_slot, ("status", "kind", "replicate"))
_SET_SIGNATURE, _SET_BASE, _SET_START = map(_slot, ("signature", "base", "start"))
_SET_PACKED, _SET_DIGEST, _SET_RAW = map(_slot, ("_packed", "_digest", "_raw"))
_SET_NODES, _SET_NAMES, _SET_NEEDS = map(_slot, ("_nodes", "_names", "_needs"))
_SET_METRICS = _slot("metrics")
_DROP_SIGNATURE = Record.__dict__["signature"].__delete__  # its bytes have it, too
_NEW = Record.__new__


def made(
    packed: bytes,
    nodes: list[Digest],
    names: tuple[str, ...],
    needs: list[Digest],
    metrics: Mapping[str, JSON],
) -> Record:
    """The record of a cell's result from its encoding, with what else is known of it already."""
    record = _NEW(Record)
    _SET_PACKED(record, packed)
    _SET_DIGEST(record, Digest.of(packed))
    _SET_RAW(record, None)
    _SET_NODES(record, nodes)
    _SET_NAMES(record, names)
    _SET_NEEDS(record, needs)
    _SET_SIGNATURE(record, nodes[-1])
    _SET_METRICS(record, metrics)
    return record


def row_of(packed: bytes) -> tuple[bytes, bytes, bool]:
    """Of an encoded record: its key in `current`, that in `bases`, and whether it has a result.

    A key has the signature and the replicate, which stands with its highest byte first there.
    """
    key = packed[_SIGNATURE_AT] + packed[_REPLICATE_AT]
    return key, packed[_BASE_AT] + key, packed[_STATUS_AT] == 0


def cell_of(packed: bytes) -> tuple[bytes, int, bytes]:
    """Signature, replicate and base of an encoded record: all of it takes ten times as long.

    Raises RecordDamaged.
    """
    if len(packed) < _METRICS_AT or packed[0] != VERSION:
        raise RecordDamaged("a stored record has another outline than format version 1")
    _, _, _, replicate, signature, base, _, _ = _OUTLINE.unpack_from(packed)
    return signature, replicate, base


def cells_of(found: Sequence[bytes]) -> list[tuple[int, bytes, bytes]]:
    """As `cell_of`, for many, whatever follows them: replicate, signature and base of each.

    Raises RecordDamaged.
    """
    if found and (min(map(len, found)) < _METRICS_AT or {each[0] for each in found} != {VERSION}):
        raise RecordDamaged("a stored record has another outline than format version 1")
    return list(map(_CELL.unpack_from, found))


def _fill_outline(record: Record, packed: bytes) -> None:
    _, status, kind, replicate, signature, base, start, _ = _OUTLINE.unpack_from(packed)
    _SET_STATUS(record, STATUSES[status])
    _SET_KIND(record, KINDS[kind])
    _SET_REPLICATE(record, replicate)
    _SET_SIGNATURE(record, trusted(signature))
    _SET_BASE(record, trusted(base))
    _SET_START(record, trusted(start))
