import math
from collections import OrderedDict

import numpy as np
import pytest

from druse_store import serial
from druse_store.records import ObjectRef
from support.processes import run_python
from support.serial import Blobs, exact

GOLDEN = [
    ("bytes", b"druse", "", b"druse"),
    ("str", "d\u00e9\ud800".encode("utf-8", "surrogatepass"), "", "d\u00e9\ud800"),
    ("json", b'{"b":1,"a":[1.0,null,true,"\xc3\xa9"]}', "", {"b": 1, "a": [1.0, None, True, "é"]}),
    ("numpy", b"\0\1\0\2", '{"dtype":">i2","shape":[2],"order":"C"}', np.array([1, 2], ">i2")),
    (
        "tree",
        b'{"!":"tuple","of":[{"!":"dict","of":[[1,{"!":"bytes","in":"AQ=="}]]},'
        b'{"!":"float","hex":"7ff0000000000000"},{"!":"ordered","of":[]},'
        b'{"!":"numpy","dtype":"|u1","shape":[2],"order":"C","in":"AQI="},'
        b'{"!":"scalar","dtype":"<f4","hex":"0000803f"}]}',
        "",
        ({1: b"\1"}, math.inf, OrderedDict(), np.array([1, 2], "u1"), np.float32(1)),
    ),
]


@pytest.mark.parametrize(("encoding", "root", "meta", "value"), GOLDEN, ids=lambda v: str(v)[:10])
def test_objects_of_format_version_1_are_written_and_read_as_ever(encoding, root, meta, value):
    blobs = Blobs()
    ref = ObjectRef(encoding, blobs.put(root, 1), (), meta)
    assert exact(serial.load(ref, blobs.get, allow_pickle=False)) == exact(value)
    assert serial.dump(value, blobs.put) == ref


def test_plain_values_need_no_package_to_be_stored_and_loaded():
    program = """
import sys
from druse_store import serial
from druse_store.digest import Digest
from druse_store.records import BlobRef
blobs = {}
def put(data, itemsize):
    digest = Digest.of(data)
    blobs[digest] = bytes(data)
    return BlobRef(digest, len(data), digest)
for value in (b"b", "s", {"a": [1]}, ({1: (b"b", 2.5)},)):
    ref = serial.dump(value, put)
    assert serial.load(ref, lambda ref, may_map: blobs[ref.digest]) == value
print(sorted({"numpy", "pandas", "pyarrow", "torch", "cloudpickle"} & set(sys.modules)))
"""
    assert run_python(program) == "[]\n"


def test_an_array_without_numpy_names_what_to_install(tmp_path):
    (tmp_path / "numpy.py").write_text("raise ImportError('no numpy here')")
    program = """
from druse_store import serial
from druse_store.digest import Digest
from druse_store.errors import EngineMissing
from druse_store.records import BlobRef, ObjectRef
root = BlobRef(Digest.of(b""), 0, Digest.of(b""))
try:
    serial.load(ObjectRef("numpy", root, (), "{}"), lambda ref, may_map: b"")
except EngineMissing as error:
    print(error)
"""
    assert "install numpy" in run_python(program, path=tmp_path)
