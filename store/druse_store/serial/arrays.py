"""numpy arrays as their bare memory: equal arrays are one blob, and a raw one can be mapped.

What the memory means (dtype, shape, order) is a small mapping beside it. Its dtype is spelt in a
grammar that is checked here: numpy's own parser accepts far more, and was not written for
hostile input.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from druse_store.errors import EngineMissing, ObjectDamaged
from druse_store.records import ObjectRef
from druse_store.serial import plain
from druse_store.serial.access import Get, Put

try:
    import numpy
    from numpy.lib.format import descr_to_dtype, dtype_to_descr
except ImportError as error:
    raise EngineMissing("this object holds numpy arrays: install numpy to load it") from error

if TYPE_CHECKING:
    from typing_extensions import Buffer

Array: TypeAlias = "numpy.ndarray[Any, numpy.dtype[Any]]"

_SIMPLE: Final = re.compile(r"[<>|=][biufcSUVmM]\d{1,9}(\[\d{0,9}[A-Za-z]{1,9}\])?")
_SCALARS: Final = frozenset("biufcmM")


def dump(obj: Any, put: Put) -> ObjectRef | None:
    """None for what is not exactly an array, or holds objects."""
    meaning = describe(obj)
    if meaning is None:
        return None
    text = plain.to_json(meaning)
    if text is None:
        return None
    return ObjectRef("numpy", put(memory(obj), obj.dtype.itemsize), meta=text.decode())


def load(ref: ObjectRef, get: Get, writable: bool) -> Array:
    meaning = plain.from_json(ref.meta.encode())
    return rebuild(meaning, get(ref.root, not writable), writable)


def describe(array: Any) -> dict[str, Any] | None:
    """What the memory of `array` means; None where only a pickle would give it back exactly."""
    if type(array) is not numpy.ndarray:
        return None
    descr = _describe_dtype(array.dtype)
    if descr is None:
        return None
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    return {"dtype": descr, "shape": list(array.shape), "order": order}


def memory(array: Array) -> memoryview:
    """The elements of `array` as bytes, in the order that `describe` names; a copy only if torn."""
    if array.size == 0:
        return memoryview(b"")
    if array.flags.f_contiguous and not array.flags.c_contiguous:
        array = array.T
    line: Array = numpy.ascontiguousarray(array).reshape(-1)
    return line.view("u1").data


def rebuild(meaning: Mapping[str, Any], data: Buffer, writable: bool) -> Array:
    """The array over `data`, or a private copy of it. Raises ObjectDamaged or ValueError."""
    dtype = _parse_dtype(meaning["dtype"])
    shape, order = meaning["shape"], meaning["order"]
    if order not in ("C", "F") or not all(type(size) is int and size >= 0 for size in shape):
        raise ObjectDamaged(f"an array cannot have the shape {str(shape)[:80]} in order {order!r}")
    view = memoryview(data)
    held, needed = view.nbytes, math.prod(shape) * dtype.itemsize
    if held != needed:
        raise ObjectDamaged(f"an array of {needed} bytes is stored in {held}")
    if needed == 0:
        return numpy.empty(shape, dtype, order)
    line: Array = numpy.frombuffer(bytearray(data) if writable and view.readonly else view, dtype)
    line.flags.writeable = writable
    return line.reshape(shape, order=order)


def describe_scalar(value: Any) -> dict[str, Any] | None:
    """A numpy number, date or bool as plain data; None for other scalars."""
    if not isinstance(value, numpy.generic) or value.dtype.kind not in _SCALARS:
        return None
    if type(value) is not value.dtype.type or _describe_dtype(value.dtype) is None:
        return None
    return {"dtype": value.dtype.str, "hex": value.tobytes().hex()}


def rebuild_scalar(meaning: Mapping[str, Any]) -> Any:
    """The scalar that `describe_scalar` described. Raises ValueError."""
    dtype = _parse_dtype(meaning["dtype"])
    return numpy.frombuffer(bytes.fromhex(meaning["hex"]), dtype, 1)[0]


def _describe_dtype(dtype: numpy.dtype[Any]) -> Any:
    """numpy's description, if it says all: not for objects, metadata, alignment or overlaps."""
    if dtype.hasobject or dtype.metadata or dtype.itemsize == 0:
        return None
    try:
        descr = dtype_to_descr(dtype)
        again = _parse_dtype(descr)
    except (ValueError, TypeError, ObjectDamaged):
        return None
    exact = again == dtype and again.isalignedstruct == dtype.isalignedstruct
    return descr if exact else None


def _parse_dtype(descr: Any) -> numpy.dtype[Any]:
    dtype = descr_to_dtype(_checked(descr))
    if dtype.hasobject or dtype.itemsize == 0:
        raise ObjectDamaged(f"no array is stored with the dtype {dtype}")
    return dtype


def _checked(descr: Any) -> Any:
    """`descr` as numpy spells it, with nothing in it but names, sizes and simple types."""
    if isinstance(descr, str):
        if not _SIMPLE.fullmatch(descr):
            raise ObjectDamaged(f"no array is stored with the dtype {descr[:40]!r}")
        return descr
    return [_checked_field(*field) for field in descr]


def _checked_field(name: Any, descr: Any, shape: Any = None) -> Any:
    name = name if isinstance(name, str) else tuple(map(str, name))
    if shape is None:
        return name, _checked(descr)
    return name, _checked(descr), tuple(map(int, shape))
