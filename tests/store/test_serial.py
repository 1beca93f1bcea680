"""Round trips through every encoding. `Blobs` stands where the store does: digests to bytes."""

import contextlib
import math
import os
import pickle
import struct
import subprocess
import sys
from collections import OrderedDict, namedtuple
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.testing import assert_array_equal

from druse_store import serial
from druse_store.digest import Digest
from druse_store.errors import (
    ObjectDamaged,
    PickleRefused,
    StoreError,
    UnknownEncoding,
    Unserialisable,
)
from druse_store.records import BlobRef, ObjectRef


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


# --- plain values ---------------------------------------------------------------------------


@given(st.binary())
def test_bytes_come_back(data):
    assert round_trip(data, encoding="bytes") == data


@given(st.text(st.characters(codec=None)))
def test_a_str_comes_back_even_with_lone_surrogates(text):
    assert round_trip(text, encoding="str") == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip


@given(st.lists(JSON) | st.dictionaries(st.text(), JSON))
def test_json_values_come_back_exactly(value):
    assert exact(round_trip(value, encoding="json")) == exact(value)


@pytest.mark.parametrize(
    "value",
    [None, True, 0, 1.0, -0.0, 1e300, 2**64, {"b": 1, "a": [1, 1.0, True]}, {"": {}}, [[]]],
    ids=repr,
)
def test_the_types_that_json_tells_apart_stay_apart(value):
    assert exact(round_trip(value, encoding="json")) == exact(value)


@pytest.mark.parametrize(
    ("value", "encoding"),
    [
        ((1, 2), "tree"),
        ([(1, 2)], "tree"),
        ({1: "a", "1": "b"}, "tree"),
        ({True: 1, None: 2, 2.5: 3, (1, "x"): 4}, "tree"),
        (math.nan, "pickle"),
        ([math.nan, math.inf, -math.inf], "tree"),
        ({"!": (1,)}, "tree"),
        ({"raw": b"bytes", "long": b"bytes" * 1000}, "tree"),
        (OrderedDict(b=1, a=2), "tree"),
        (["\ud83d\ude00"], "pickle"),
        (10**2000, "pickle"),
        ({1, 2}, "pickle"),
        ([{1, 2}], "pickle"),
        (1j, "pickle"),
        (bytearray(b"x"), "pickle"),
        (True, "json"),
    ],
    ids=repr,
)
def test_what_json_would_change_comes_back_exactly_by_other_means(value, encoding):
    if encoding == "json":
        value = {"flag": value}
    assert exact(round_trip(value, encoding=encoding)) == exact(value)


class Text(str):
    __slots__ = ()


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize("value", [Text("x"), [Text("x")], Point(1, 2), np.float64(1.5)], ids=repr)
def test_a_subclass_stays_what_it_is(value):
    assert exact(round_trip(value, encoding="pickle")) == exact(value)


def test_an_object_that_occurs_twice_is_still_one_object():
    shared = [1]
    back = round_trip([shared, shared], encoding="pickle")
    assert back[0] is back[1]
    array = np.arange(5)
    back = round_trip({"a": array, "b": array}, encoding="pickle")
    assert back["a"] is back["b"]


def test_a_cycle_comes_back():
    loop = [1]
    loop.append(loop)
    back = round_trip(loop, encoding="pickle")
    assert back[1] is back


@pytest.mark.parametrize("depth", [49, 99, 100, 101, 300])
@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: (v,)], ids=["list", "tuple"])
def test_deep_nesting_comes_back(depth, wrap):
    value = 1
    for _ in range(depth):
        value = wrap(value)
    blobs = Blobs()
    assert serial.load(serial.dump(value, blobs.put), blobs.get) == value


# --- arrays ---------------------------------------------------------------------------------

DTYPES = (
    npst.scalar_dtypes()
    | npst.nested_dtypes(max_itemsize=64, subtype_strategy=npst.scalar_dtypes())
    | npst.array_dtypes(subtype_strategy=npst.scalar_dtypes(), max_size=3)
).filter(lambda dtype: dtype.itemsize > 0)


@given(npst.arrays(DTYPES, npst.array_shapes(min_dims=0, min_side=0, max_side=4)))
def test_arrays_come_back_exactly(array):
    blobs = Blobs()
    back = serial.load(serial.dump(array, blobs.put), blobs.get)
    assert exact(back) == exact(array)


@pytest.mark.parametrize(
    "array",
    [
        np.array(3.5),
        np.arange(12.0).reshape(3, 4),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
        np.arange(20)[::3],
        np.arange(5, dtype=">i4"),
        np.array(["2020-01-01", "NaT"], dtype="M8[ns]"),
        np.array([1, 2], dtype="m8[25s]"),
        np.array(["abc", "d"]),
        np.array([b"abc\0", b""]),
        np.array([(1, 2.5)], dtype=[("a", "i2"), ("b", ">f8", (2,))]),
        np.empty((0, 3), dtype="f4"),
        np.array([np.nan, -0.0, np.inf]),
        np.broadcast_to(np.float32(1), (1000, 10)),
    ],
    ids=lambda a: f"{a.dtype.str}{a.shape}",
)
def test_an_array_is_its_bare_memory(array):
    blobs = Blobs()
    back = round_trip(array, encoding="numpy", blobs=blobs)
    assert exact(back) == exact(array)
    assert back.flags.c_contiguous or array.flags.f_contiguous
    assert list(blobs.values()) == [array.tobytes("C" if back.flags.c_contiguous else "F")]


@pytest.mark.parametrize(
    "array",
    [
        np.array([1, "a", None], dtype=object),
        np.array([(1, 2)], dtype=np.dtype([("a", "i1"), ("b", "i8")], align=True)),
        np.zeros(3, dtype="V0"),
        np.arange(4).view(np.matrix),
        np.ma.array([1, 2], mask=[0, 1]),
        np.zeros(2, dtype=np.dtype("f8", metadata={"unit": "m"})),
        np.array(["a", "bc"], dtype=np.dtypes.StringDType()),
    ],
    ids=lambda a: f"{type(a).__name__} {a.dtype}",
)
def test_an_array_that_is_more_than_its_memory_is_pickled(array):
    back = round_trip(array, encoding="pickle")
    assert type(back) is type(array)
    assert back.dtype == array.dtype
    assert back.dtype.metadata == array.dtype.metadata
    assert_array_equal(back, array)


def test_arrays_are_read_only_maps_unless_private_copies_are_asked_for():
    blobs = Blobs()
    array = np.arange(1000)
    ref = serial.dump([array, 1], blobs.put)
    mapped = serial.load(ref, blobs.get)[0]
    assert blobs.mapped == [digest_of(array)]
    assert not mapped.flags.writeable
    private = serial.load(ref, blobs.get, writable=True)[0]
    private += 1
    assert_array_equal(mapped, array)
    assert len(blobs.mapped) == 1


def test_equal_arrays_are_one_blob_wherever_they_occur():
    blobs = Blobs()
    array = np.arange(1000.0)
    holders = [array, (array, 1), {"x": array.copy()}, Holder(array.copy()), [Holder(array)]]
    refs = [serial.dump(holder, blobs.put) for holder in holders]
    assert [ref.encoding for ref in refs] == ["numpy", "tree", "tree", "pickle", "pickle"]
    assert all(digest_of(array) in {blob.digest for blob in ref.blobs()} for ref in refs)
    assert blobs.itemsizes[digest_of(array)] == 8


def digest_of(array: np.ndarray) -> Digest:
    return Digest.of(array.tobytes())


class Holder:
    def __init__(self, held) -> None:
        self.held = held


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("writable", [False, True])
def test_an_array_in_a_pickle_is_a_buffer_of_its_own(order, writable):
    array = np.arange(2000.0).reshape(40, 50, order=order)
    blobs = Blobs()
    held = round_trip(Holder(array), encoding="pickle", blobs=blobs, writable=writable).held
    assert_array_equal(held, array)
    assert held.flags.writeable == writable
    assert bool(blobs.mapped) != writable
    assert held.flags.f_contiguous == array.flags.f_contiguous


def test_small_arrays_stay_inside():
    for holder in (Holder(np.arange(3)), (np.arange(3), np.zeros(0))):
        assert serial.dump(holder, Blobs().put).buffers == ()


TREES = st.recursive(
    JSON
    | st.floats()
    | st.binary()
    | npst.arrays(npst.scalar_dtypes(), npst.array_shapes(min_dims=0))
    | npst.scalar_dtypes().filter(lambda d: d.kind in "biufcmM").flatmap(npst.from_dtype),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.booleans() | st.none(), inner)
        | st.dictionaries(st.text(), inner).map(OrderedDict)
    ),
)


@given(TREES)
def test_any_tree_comes_back_exactly(value):
    blobs = Blobs()
    back = serial.load(serial.dump(value, blobs.put), blobs.get)
    assert exact(back) == exact(value)


def test_the_usual_return_values_of_steps_need_no_pickle():
    x, y = np.random.default_rng(0).normal(size=(200, 30)), np.arange(200)
    frame = pd.DataFrame({"x": x[:, 0], "y": y})
    for value in ((x, y), {"x": x, "n": np.int64(3), "none": None}, [frame, frame["y"], (1,)]):
        round_trip(value, encoding="tree")


# --- frames ---------------------------------------------------------------------------------

FRAMES = {
    "numbers": pd.DataFrame({"a": [1, 2, 3], "b": [1.5, np.nan, -0.0], "c": [True, False, True]}),
    "small numbers": pd.DataFrame({"a": np.arange(3, dtype="i1"), "b": np.zeros(3, "f4")}),
    "text": pd.DataFrame({"name": ["ann", "bob", None]}),
    "string": pd.DataFrame({"name": pd.array(["ann", pd.NA], dtype="string")}),
    "dates": pd.DataFrame({"t": pd.date_range("2020", periods=3, tz="Europe/Zurich")}),
    "nullable": pd.DataFrame({"n": pd.array([1, None], dtype="Int32")}),
    "categories": pd.DataFrame({"c": pd.Categorical(["b", "a"], ["c", "b", "a"], ordered=True)}),
    "index": pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="key")),
    "range": pd.DataFrame({"a": [1, 2]}, index=pd.RangeIndex(3, 9, 3, name="r")),
    "levels": pd.DataFrame(
        {"a": [1, 2]}, index=pd.MultiIndex.from_tuples([(1, "x"), (2, "y")], names=["i", "j"])
    ),
    "no rows": pd.DataFrame({"a": np.zeros(0)}),
    "series": pd.Series([1.5, 2.5], name="s"),
    "unnamed series": pd.Series(["a", "b"]),
    "series of ints by int": pd.Series([1, 2], name=3, index=[5, 6]),
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("writable", [False, True])
def test_frames_come_back_exactly_without_pickle(name, writable):
    frame = FRAMES[name]
    kind = "series" if isinstance(frame, pd.Series) else "frame"
    assert_same_pandas(round_trip(frame, encoding=kind, writable=writable), frame)


def assert_same_pandas(one, other):
    check = (
        pd.testing.assert_series_equal
        if isinstance(other, pd.Series)
        else pd.testing.assert_frame_equal
    )
    check(one, other, check_exact=True, check_freq=True)
    assert type(one.index) is type(other.index)
    assert one.attrs == other.attrs


TAGGED = pd.DataFrame({"a": [1]})
TAGGED.attrs["unit"] = {"metres"}

ODD_FRAMES = {
    "objects": pd.DataFrame({"o": np.array([1, "a", None], dtype=object)}),
    "frequency": pd.Series([1, 2], index=pd.date_range("2020", periods=2, freq="D")),
    "twice the same column": pd.DataFrame([[1, 2]], columns=["a", "a"]),
    "columns of ints": pd.DataFrame(np.zeros((2, 2))),
    "levels of columns": pd.DataFrame(
        [[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])
    ),
    "intervals": pd.DataFrame({"i": pd.interval_range(0, 2)}),
    "periods": pd.DataFrame({"p": pd.period_range("2020", periods=2, freq="M")}),
    "sparse": pd.DataFrame({"s": pd.arrays.SparseArray([0, 0, 1])}),
    "complex": pd.DataFrame({"z": [1j]}),
    "attributes": TAGGED,
    "no columns": pd.DataFrame(index=range(3)),
    "empty": pd.DataFrame(),
    "series by a tuple": pd.Series([1], name=("a", 1)),
}


@pytest.mark.parametrize("name", ODD_FRAMES)
def test_odd_frames_come_back_exactly_somehow(name):
    blobs = Blobs()
    back = serial.load(serial.dump(ODD_FRAMES[name], blobs.put), blobs.get)
    assert_same_pandas(back, ODD_FRAMES[name])


def test_a_column_that_two_frames_share_is_stored_once():
    blobs = Blobs()
    shared = np.random.default_rng(0).normal(size=5000)
    for other in ("a", "b"):
        frame = pd.DataFrame({"x": shared, other: np.full(5000, ord(other))})
        serial.dump(frame, blobs.put)
    assert digest_of(shared) in blobs
    assert sum(map(len, blobs.values())) < 3.2 * shared.nbytes


TABLES = {
    "plain": pa.table({"a": [1, None], "s": ["x", "y"], "l": [[1], []], "b": [True, None]}),
    "chunked": pa.table({"a": pa.chunked_array([[1], [2, 3]])}),
    "dictionary": pa.table({"d": pa.array(["x", "y", "x"]).dictionary_encode()}),
    "metadata": pa.table({"a": [1]}).replace_schema_metadata({b"k": b"\xff"}),
    "no rows": pa.table({"a": pa.array([], pa.int8())}),
    "no columns": pa.table({}),
    "slice": pa.table({"a": list(range(10_000))}).slice(10, 5000),
    "nulls": pa.table({"n": pa.nulls(5)}),
    "nothing": pa.table({"n": pa.Array.from_buffers(pa.null(), 1 << 30, [None])}),
}


@pytest.mark.parametrize("name", TABLES)
def test_arrow_tables_come_back(name):
    back = round_trip(TABLES[name], encoding="table")
    assert back.equals(TABLES[name], check_metadata=True)


def bomb(compression: str | None) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    table = pa.table({"a": np.zeros(1 << 20), "d": pa.array(["x"] * (1 << 20)).dictionary_encode()})
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_table_compressed_by_arrow_is_refused_before_it_is_unpacked(compression):
    blobs = Blobs()
    with pytest.raises(ObjectDamaged, match="bomb"):
        serial.load(ObjectRef("table", blobs.put(bomb(compression), 1), (), '{"at":[]}'), blobs.get)
    plain = ObjectRef("table", blobs.put(bomb(None), 1), (), '{"at":[]}')
    assert serial.load(plain, blobs.get).num_rows == 1 << 20


def test_a_frame_with_more_rows_than_bits_is_refused():
    table = pa.Table.from_pandas(pd.DataFrame({"a": [1]}))
    nulls = pa.Array.from_buffers(pa.null(), 1 << 26, [None])
    rows = pa.table({"a": nulls}).replace_schema_metadata(table.schema.metadata)
    blobs = Blobs()
    ref = serial.dump(rows, blobs.put)
    forged = ObjectRef("frame", ref.root, ref.buffers, ref.meta)
    with pytest.raises(ObjectDamaged, match="rows cannot lie in"):
        serial.load(forged, blobs.get)


# --- pickle and trust -----------------------------------------------------------------------


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


def run_python(program: str, *arguments: str, path: Path | None = None) -> str:
    store = Path(serial.__file__).parents[2]
    entries = [str(path)] * (path is not None) + [str(store)]
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entries)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


# --- hostile bytes --------------------------------------------------------------------------

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


# --- the format -----------------------------------------------------------------------------

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
