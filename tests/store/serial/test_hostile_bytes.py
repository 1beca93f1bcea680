import contextlib
import math
from collections import OrderedDict

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from druse_store import serial
from druse_store.errors import (
    ObjectDamaged,
    StoreError,
)
from druse_store.records import ObjectRef
from support.serial import Blobs

SAMPLES = [
    b"bytes",
    "text",
    {"a": [1, 2.5, None]},
    np.arange(6.0).reshape(2, 3),
    np.array([(1, 2.5)], dtype=[("a", "i2"), ("b", ">f8", (2,))]),
    (np.arange(500), {"k": np.zeros(3)}, b"b", math.nan, OrderedDict(a=np.float32(1))),
    pa.table({"a": list(range(300)), "s": [str(i) for i in range(300)]}),
    pd.DataFrame({"a": range(300), "s": [str(i) for i in range(300)]}),
    pd.Series([1.5] * 300, name="x"),
]


def flips(data: bytes):
    return st.tuples(st.integers(0, max(len(data) - 1, 0)), st.integers(1, 255))


@given(data=st.data(), sample=st.sampled_from(SAMPLES))
def test_flipped_bytes_decode_to_something_or_raise_a_store_error(data, sample):
    """The store verifies bytes by digest; a forger makes digests that fit."""
    blobs = Blobs()
    ref = serial.dump(sample, blobs.put)
    meta = bytearray(ref.meta.encode())
    for blob in ref.blobs():
        stored = bytearray(blobs[blob.digest])
        if stored and data.draw(st.booleans()):
            position, mask = data.draw(flips(stored))
            stored[position] ^= mask
        cut = data.draw(st.integers(max(len(stored) - 3, 0), len(stored)))
        blobs[blob.digest] = bytes(stored[:cut])
    if meta and data.draw(st.booleans()):
        position, mask = data.draw(flips(meta))
        meta[position] ^= mask
    forged = ObjectRef(ref.encoding, ref.root, ref.buffers, meta.decode("utf-8", "replace"))
    with contextlib.suppress(StoreError):
        serial.load(forged, blobs.get, allow_pickle=False)


DTYPE_SPELLINGS = [
    "O",
    "|O8",
    "f8,f8",
    "(1000000,1000000)f8",
    "<f8" * 500,
    "V0",
    "<f",
    "<i999999999",
]
NUMPY_METAS = [
    *(f'{{"dtype":"{spelling}","shape":[1],"order":"C"}}' for spelling in DTYPE_SPELLINGS),
    '{"dtype":[["a","<f8",[1099511627776]]],"shape":[1],"order":"C"}',
    '{"dtype":"<f8","shape":[-1,-1],"order":"C"}',
    '{"dtype":"<f8","shape":[1.0],"order":"C"}',
    '{"dtype":"<f8","shape":[0,18446744073709551616],"order":"C"}',
    '{"dtype":"<f8","shape":[1],"order":"K"}',
    '{"dtype":' + "[" * 900 + "]" * 900 + ',"shape":[1],"order":"C"}',
    "[" * 100_000,
    '{"dtype":NaN}',
    "{}",
    "",
]


@pytest.mark.parametrize("meta", NUMPY_METAS, ids=lambda meta: meta[:40])
def test_a_forged_array_is_refused_in_bounded_memory(meta):
    blobs = Blobs()
    ref = ObjectRef("numpy", blobs.put(bytes(8), 1), (), meta)
    with pytest.raises(ObjectDamaged):
        serial.load(ref, blobs.get)


TREE_ROOTS = [
    b'{"!":"numpy","dtype":"<f8","shape":[1],"order":"C"}',
    b'{"!":"numpy","dtype":"<f8","shape":[1],"order":"C","in":"!!"}',
    b'{"!":"dict","of":[[[],1]]}',
    b'{"!":"dict","of":[1]}',
    b'{"!":"exec"}',
    b'{"!":{}}',
    b'{"!":"float","hex":"00"}',
    b'{"!":"scalar","dtype":"|O","hex":"0000000000000000"}',
    b'{"!":"torch","dtype":"load","shape":[],"grad":false,"parameter":false,"in":""}',
    b"[" * 100_000,
    b"1" * 10_000,
    b"\xff",
    b"",
    b"NaN",
]


@pytest.mark.parametrize("root", TREE_ROOTS, ids=lambda root: repr(root[:40]))
def test_a_forged_tree_is_refused(root):
    blobs = Blobs()
    with pytest.raises(StoreError):
        serial.load(ObjectRef("tree", blobs.put(root, 1)), blobs.get)


def test_a_tree_may_not_leave_buffers_unused_nor_use_one_twice():
    blobs = Blobs()
    ref = serial.dump((np.arange(500),), blobs.put)
    for buffers in ((), ref.buffers * 2):
        with pytest.raises(ObjectDamaged, match="buffers than leaves"):
            serial.load(ObjectRef("tree", ref.root, buffers), blobs.get)
