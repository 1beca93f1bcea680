"""Tuples, lists and dicts of plain values, arrays, numpy scalars, frames and tensors.

What most steps pass on: `(X, y)`, a dict of arrays, a state dict. The root blob is JSON; whatever
JSON cannot say is an object with the key `!`:

| `!` | further keys |
| --- | --- |
| `tuple` | `of`: its items |
| `dict` | `of`: pairs, in order: keys that are not str, or a key `!` |
| `ordered` | `of`: pairs, in order: an OrderedDict; `_metadata`: torch's note on a state dict |
| `bytes` | its memory |
| `float` | `hex`: the bits of a NaN or an infinity |
| `scalar` | `dtype`, `hex` |
| `numpy` | `dtype`, `shape`, `order`, and its memory |
| `torch` | `dtype`, `shape`, `grad`, `parameter`, and its memory |
| `table` `frame` `series` | `meaning`, and `of`: the memory of its pieces |

Memory is the next of the object's buffers, or, when small, base64 under `in`. A list, dict, array
or tensor that occurs twice is left to pickle: it would come back as two.
"""

from __future__ import annotations

import base64
import struct
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from druse_store.errors import ObjectDamaged
from druse_store.records import BlobRef, ObjectRef
from druse_store.serial import frames, plain, tensors
from druse_store.serial.access import Get, Put

if TYPE_CHECKING:
    from typing_extensions import Buffer

MAX_DEPTH: Final = 50  # each level is several calls, and the program has its own
_MIN_BUFFER: Final = 1024  # bytes; smaller memory costs less within the root than as a blob
_CONTAINERS: Final = (tuple, list, dict, OrderedDict)


class _NotATree(Exception):
    """Something in it has no encoding here."""


def dump(obj: Any, put: Put) -> ObjectRef | None:
    """None for what holds anything else, or holds something twice."""
    if type(obj) not in _CONTAINERS and not tensors.is_tensor(obj):
        return None
    writer = _Writer()
    try:
        text = plain.to_json(writer.node(obj, 0))
    except _NotATree:
        return None
    if text is None:
        return None
    buffers = tuple(put(memory, itemsize) for memory, itemsize in writer.buffers)
    return ObjectRef("tree", put(text, 1), buffers)


def load(ref: ObjectRef, get: Get, writable: bool) -> Any:
    reader = _Reader(iter(ref.buffers), get, writable)
    obj = reader.value(plain.from_json(bytes(get(ref.root, False))))
    if next(reader.buffers, None) is not None:
        raise ObjectDamaged("a tree has more buffers than leaves")
    return obj


@dataclass(slots=True)
class _Writer:
    buffers: list[tuple[Buffer, int]] = field(default_factory=list)
    _seen: set[int] = field(default_factory=set)

    def node(self, obj: Any, depth: int) -> Any:
        """`obj` as JSON can say it. Raises _NotATree."""
        if plain.is_atom(obj):
            return obj
        kind = type(obj)
        if kind is float:
            return {"!": "float", "hex": struct.pack(">d", obj).hex()}
        if kind is bytes:
            return {"!": "bytes", **self._memory(obj, 1)}
        if kind not in _CONTAINERS:
            return self._leaf(obj)
        if kind is not tuple:
            self._only_once(obj)
        if depth == MAX_DEPTH:
            raise _NotATree
        return self._container(obj, depth + 1)

    def _only_once(self, obj: Any) -> None:
        if id(obj) in self._seen:
            raise _NotATree
        self._seen.add(id(obj))

    def _container(self, obj: Any, depth: int) -> Any:
        kind = type(obj)
        if kind is list or kind is tuple:
            items = [self.node(item, depth) for item in obj]
            return items if kind is list else {"!": "tuple", "of": items}
        if kind is dict and all(type(key) is str for key in obj) and "!" not in obj:
            return {key: self.node(value, depth) for key, value in obj.items()}
        pairs = [[self.node(key, depth), self.node(value, depth)] for key, value in obj.items()]
        if kind is dict:
            return {"!": "dict", "of": pairs}
        extra = {name: self.node(value, depth) for name, value in vars(obj).items()}
        if extra.keys() - {"_metadata"}:
            raise _NotATree
        return {"!": "ordered", "of": pairs, **extra}

    def _leaf(self, obj: Any) -> dict[str, Any]:
        if type(obj).__module__ == "numpy":
            return self._numpy(obj)
        self._only_once(obj)
        if tensors.is_tensor(obj) and (meaning := tensors.describe(obj)) is not None:
            memory = self._memory(tensors.memory(obj), obj.element_size())
            return {"!": "torch", **meaning, **memory}
        if frames.is_frame(obj) and (described := frames.describe(obj)) is not None:
            encoding, meaning, pieces = described
            of = [self._memory(memoryview(piece), 1) for piece in pieces]
            return {"!": encoding, "meaning": meaning, "of": of}
        raise _NotATree

    def _numpy(self, obj: Any) -> dict[str, Any]:
        from druse_store.serial import arrays

        if (meaning := arrays.describe_scalar(obj)) is not None:
            return {"!": "scalar", **meaning}
        self._only_once(obj)
        if (meaning := arrays.describe(obj)) is None:
            raise _NotATree
        return {"!": "numpy", **meaning, **self._memory(arrays.memory(obj), obj.dtype.itemsize)}

    def _memory(self, memory: bytes | memoryview, itemsize: int) -> dict[str, str]:
        if len(memory) < _MIN_BUFFER:
            return {"in": base64.b64encode(memory).decode()}
        self.buffers.append((memory, itemsize))
        return {}


@dataclass(slots=True)
class _Reader:
    buffers: Iterator[BlobRef]
    get: Get
    writable: bool

    def value(self, node: Any) -> Any:
        """The object that `node` stands for. Raises whatever a wrong node provokes."""
        if type(node) is list:
            return [self.value(item) for item in node]
        if type(node) is not dict:
            return node
        if "!" not in node:
            return {key: self.value(item) for key, item in node.items()}
        tag = node["!"]
        if tag == "tuple":
            return tuple(self.value(item) for item in node["of"])
        return self._mapping(tag, node) if tag in ("dict", "ordered") else self._leaf(tag, node)

    def _mapping(self, tag: str, node: dict[str, Any]) -> dict[Any, Any]:
        pairs = ((self.value(key), self.value(item)) for key, item in node["of"])
        if tag == "dict":
            return dict(pairs)
        ordered = OrderedDict(pairs)
        if "_metadata" in node:
            ordered._metadata = self.value(node["_metadata"])  # type: ignore[attr-defined]
        return ordered

    def _leaf(self, tag: str, node: dict[str, Any]) -> Any:
        if tag == "float":
            return struct.unpack(">d", bytes.fromhex(node["hex"]))[0]
        if tag == "bytes":
            return bytes(self._memory(node, may_map=False))
        if tag in frames.ENCODINGS:
            pieces = [self._memory(piece, may_map=False) for piece in node["of"]]
            return frames.rebuild(tag, node["meaning"], pieces)
        if tag == "torch":
            return tensors.rebuild(node, self._memory(node, may_map=False))
        from druse_store.serial import arrays

        if tag == "scalar":
            return arrays.rebuild_scalar(node)
        if tag == "numpy":
            return arrays.rebuild(node, self._memory(node, may_map=True), self.writable)
        raise ObjectDamaged(f"a tree holds no {str(tag)[:40]!r}")

    def _memory(self, node: dict[str, Any], may_map: bool) -> Buffer:
        if "in" in node:
            return base64.b64decode(node["in"], validate=True)
        blob = next(self.buffers, None)
        if blob is None:
            raise ObjectDamaged("a tree has fewer buffers than leaves")
        return self.get(blob, may_map and not self.writable)
