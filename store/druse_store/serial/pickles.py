"""Everything else: pickle protocol 5, by cloudpickle, with arrays as blobs of their own.

The only place that unpickles. Loading a pickle runs code that its writer chose, so `serial.load`
asks for leave before it comes here, and the bytes are private and verified by then.
"""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any, Final

import cloudpickle

from druse_store.errors import Unserialisable
from druse_store.records import ObjectRef
from druse_store.serial import tensors
from druse_store.serial.access import Get, Put

if TYPE_CHECKING:
    from typing_extensions import Buffer

_MIN_BUFFER: Final = 1024  # bytes; a smaller array costs less within the pickle than as a blob


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """cloudpickle, but torch tensors leave their memory as buffers too."""

    def reducer_override(self, obj: Any) -> Any:
        reduced = tensors.reduce(obj) if tensors.is_tensor(obj) else None
        return super().reducer_override(obj) if reduced is None else reduced


def dump(obj: Any, put: Put) -> ObjectRef:
    """Raises Unserialisable."""
    buffers: list[pickle.PickleBuffer] = []

    def keep_inside(buffer: pickle.PickleBuffer) -> bool:
        inside = memoryview(buffer).nbytes < _MIN_BUFFER or not _is_flat(buffer)
        if not inside:
            buffers.append(buffer)
        return inside

    stream = io.BytesIO()
    try:
        _Pickler(stream, protocol=5, buffer_callback=keep_inside).dump(obj)
    except Exception as error:  # user classes take part, so anything can be raised
        kind = f"{type(obj).__module__}.{type(obj).__qualname__}"
        raise Unserialisable(
            f"a value of type {kind} cannot be stored: {error}; return or save something that "
            "pickle can take"
        ) from error
    root = put(stream.getbuffer(), 1)
    refs = tuple(put(buffer.raw(), memoryview(buffer).itemsize) for buffer in buffers)
    return ObjectRef("pickle", root, refs)


def load(ref: ObjectRef, get: Get, writable: bool) -> Any:
    buffers = (_buffer(get(blob, not writable), writable) for blob in ref.buffers)
    return pickle.loads(get(ref.root, False), buffers=buffers)  # noqa: S301, TID251 (see above)


def _buffer(data: Buffer, writable: bool) -> Buffer:
    view = memoryview(data)
    if not writable:
        return view.toreadonly()
    return bytearray(view) if view.readonly else view


def _is_flat(buffer: pickle.PickleBuffer) -> bool:
    view = memoryview(buffer)
    return view.c_contiguous or view.f_contiguous
