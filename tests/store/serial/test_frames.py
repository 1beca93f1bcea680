import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from druse_store import serial
from druse_store.errors import (
    ObjectDamaged,
)
from druse_store.records import ObjectRef
from support.serial import Blobs, digest_of, round_trip

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
