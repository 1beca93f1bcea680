"""Python objects <-> blobs.

`dump` picks the plainest encoding that gives exactly the same object back:

- `bytes`, `str`, `json`: exactly these types, and JSON only where nothing is lost on the way;
- `numpy`: an array without object elements; the root blob is the array's memory;
- `table`, `frame`, `series`: a pyarrow table, a pandas frame or series, as Arrow columns;
- `tree`: tuples, lists and dicts of plain values and the above, numpy scalars, torch tensors;
- `pickle`: everything else, by protocol 5 and cloudpickle.

Every array or column of some size is a blob of its own, so equal ones are stored once wherever
they occur. What is decoded is decoded from private memory, except raw array memory, which may be
a map. Only `pickle` can run code, and only where the reader allows it; every other decoder takes
hostile bytes, answers `ObjectDamaged`, and allocates no more than a small multiple of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from druse_store.errors import ObjectDamaged, PickleRefused, StoreError, UnknownEncoding
from druse_store.records import ObjectRef
from druse_store.serial import frames, plain, trees
from druse_store.serial.access import Get, Put

__all__ = ["Get", "Put", "dump", "load"]


def dump(obj: Any, put: Put) -> ObjectRef:
    """Store `obj` through `put`. Raises Unserialisable for what even pickle cannot take."""
    for encode in (plain.dump, _dump_array, _dump_frame, trees.dump):
        ref = encode(obj, put)
        if ref is not None:
            return ref
    from druse_store.serial import pickles

    return pickles.dump(obj, put)


def load(ref: ObjectRef, get: Get, *, allow_pickle: bool = True, writable: bool = False) -> Any:
    """The object that `dump` stored as `ref`.

    Arrays come back read-only, mapped where possible; with `writable`, as private copies. Raises
    ObjectDamaged, UnknownEncoding, EngineMissing (a package is not installed) and, for a pickle
    without `allow_pickle`, PickleRefused.
    """
    if ref.encoding == "pickle" and not allow_pickle:
        raise PickleRefused(
            f"object {ref.root.digest.short} is a pickle, which can run code when it is loaded, "
            "and its source is not trusted; add the key that signed it if you trust it"
        )
    decode = _DECODERS.get(ref.encoding)
    if decode is None:
        raise UnknownEncoding(
            f"object {ref.root.digest.short} has the encoding {ref.encoding[:40]!r}, which this "
            "version of druse does not know; a newer version wrote it: upgrade druse to read it"
        )
    try:
        return decode(ref, get, writable)
    except (StoreError, MemoryError):
        raise
    except Exception as error:  # whatever hostile bytes, or a changed class, provoke
        raise ObjectDamaged(
            f"object {ref.root.digest.short} ({ref.encoding}) cannot be decoded: "
            f"{type(error).__name__}: {error}"
        ) from error


def _dump_array(obj: Any, put: Put) -> ObjectRef | None:
    if type(obj).__module__ != "numpy":
        return None
    from druse_store.serial import arrays

    return arrays.dump(obj, put)


def _dump_frame(obj: Any, put: Put) -> ObjectRef | None:
    return frames.dump(obj, put) if frames.is_frame(obj) else None


def _load_array(ref: ObjectRef, get: Get, writable: bool) -> Any:
    from druse_store.serial import arrays

    return arrays.load(ref, get, writable)


def _load_pickle(ref: ObjectRef, get: Get, writable: bool) -> Any:
    from druse_store.serial import pickles

    return pickles.load(ref, get, writable)


_DECODERS: Final[dict[str, Callable[[ObjectRef, Get, bool], Any]]] = {
    "bytes": plain.load_bytes,
    "str": plain.load_str,
    "json": plain.load_json,
    "numpy": _load_array,
    "tree": trees.load,
    "table": frames.load,
    "frame": frames.load,
    "series": frames.load,
    "pickle": _load_pickle,
}
