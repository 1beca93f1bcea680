"""Where the store would be for an encoding: digests to bytes; and an equality that sees all."""

import struct

import numpy as np
from hypothesis import strategies as st

from druse_store import serial
from druse_store.digest import Digest
from druse_store.records import BlobRef


class Blobs(dict):
    """Blobs by digest, in memory; notes which ones were handed out as maps."""

    def __init__(self) -> None:
        super().__init__()
        self.mapped = []
        self.itemsizes = {}

    def put(self, data, itemsize: int) -> BlobRef:
        data = memoryview(data).tobytes()
        digest = Digest.of(data)
        self[digest] = data
        self.itemsizes[digest] = itemsize
        return BlobRef(digest, len(data), digest)

    def get(self, ref: BlobRef, may_map: bool):
        if may_map:
            self.mapped.append(ref.digest)
            return memoryview(self[ref.digest])
        return self[ref.digest]


def round_trip(obj, *, encoding: str, blobs: Blobs | None = None, writable: bool = False):
    blobs = Blobs() if blobs is None else blobs
    ref = serial.dump(obj, blobs.put)
    assert ref.encoding == encoding
    assert all(blob.digest in blobs for blob in ref.blobs())
    allow_pickle = encoding == "pickle"
    return serial.load(ref, blobs.get, allow_pickle=allow_pickle, writable=writable)


def exact(value):
    """A form of `value` in which all that `==` passes over shows: types, order, signs, NaN."""
    if isinstance(value, float):
        return (type(value), struct.pack(">d", value))
    if isinstance(value, list | tuple):
        return (type(value), [exact(item) for item in value])
    if isinstance(value, dict):
        return (type(value), [(exact(k), exact(v)) for k, v in value.items()])
    if isinstance(value, np.ndarray | np.generic):
        return (type(value), value.dtype.descr, value.shape, value.tobytes())
    return (type(value), value)


def digest_of(array: np.ndarray) -> Digest:
    return Digest.of(array.tobytes())


class Holder:
    def __init__(self, held) -> None:
        self.held = held


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip
