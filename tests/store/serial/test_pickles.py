import os
import pickle

import numpy as np
import pytest

from druse_store import serial
from druse_store.errors import (
    ObjectDamaged,
    PickleRefused,
    StoreError,
    UnknownEncoding,
    Unserialisable,
)
from druse_store.records import ObjectRef
from support.processes import run_python
from support.serial import Blobs, Holder


def test_a_pickle_is_refused_without_leave_and_its_bytes_are_not_even_read():
    blobs = Blobs()
    ref = serial.dump(Holder(1), blobs.put)
    blobs.clear()
    with pytest.raises(PickleRefused, match="not trusted"):
        serial.load(ref, blobs.get, allow_pickle=False)


class Bait:
    """Whoever unpickles it leaves a file behind."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize(
    "encoding", ["bytes", "str", "json", "numpy", "tree", "table", "frame", "series"]
)
def test_no_other_encoding_unpickles(encoding, tmp_path):
    blobs = Blobs()
    bait = blobs.put(pickle.dumps(Bait(str(tmp_path / "caught"))), 1)
    metas = [
        '{"dtype":"|O","shape":[1],"order":"C"}',
        f'{{"dtype":"|V{bait.size}","shape":[1],"order":"C"}}',
        '{"at":[],"name":null}',
    ]
    for meta in metas:
        try:
            serial.load(ObjectRef(encoding, bait, (bait,), meta), blobs.get, allow_pickle=False)
        except StoreError:
            continue
    assert not (tmp_path / "caught").exists()


def test_what_not_even_pickle_takes_is_a_clear_error():
    with pytest.raises(Unserialisable, match=r"builtins\.generator cannot be stored"):
        serial.dump((i for i in range(3)), Blobs().put)


def test_a_failing_put_is_not_mistaken_for_a_failing_pickle():
    def full(data, itemsize):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        serial.dump(Holder(np.arange(1000)), full)


def test_a_function_and_a_class_of_main_load_in_another_process(tmp_path):
    program = """
import sys
from druse_store import serial
from druse_store.digest import Digest
from druse_store.records import BlobRef
class Model:
    def __init__(self, slope): self.slope = slope
    def predict(self, x): return helper(self.slope, x)
def helper(slope, x): return slope * x
def put(data, itemsize):
    open(sys.argv[1], "wb").write(data)
    return BlobRef(Digest.of(data), len(data), Digest.of(data))
serial.dump(Model(3), put)
"""
    out = tmp_path / "blob"
    run_python(program, str(out))
    blobs = Blobs()
    back = serial.load(ObjectRef("pickle", blobs.put(out.read_bytes(), 1)), blobs.get)
    assert back.predict(14) == 42


def test_a_pickle_whose_class_is_gone_is_a_clear_error():
    blobs = Blobs()
    gone = pickle.dumps(Holder(1), protocol=5).replace(b"Holder", b"Hilder")
    with pytest.raises(ObjectDamaged, match="Hilder"):
        serial.load(ObjectRef("pickle", blobs.put(gone, 1)), blobs.get)


def test_an_unknown_encoding_is_a_clear_error():
    blobs = Blobs()
    with pytest.raises(UnknownEncoding, match=r"'parquet'.*upgrade"):
        serial.load(ObjectRef("parquet", blobs.put(b"", 1)), blobs.get)
