# ruff: noqa: E501 - tables of values
"""Arrays, frames, columns and tensors: by content, however they lie in memory."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from druse.errors import Unhashable
from druse.fingerprint import value_digest


def same(a: Any, b: Any) -> bool:
    return value_digest(a) == value_digest(b)


def all_differ(values: list[Any]) -> None:
    digests = [value_digest(v) for v in values]
    for n, digest in enumerate(digests):
        assert digest not in digests[:n], (values[n], values[digests.index(digest)])


def test_an_array_counts_by_dtype_shape_and_elements() -> None:
    a = np.arange(6)
    all_differ(
        [a, a.astype("i4"), a.astype("f8"), a.astype(">i8"), a.reshape(2, 3), a.reshape(3, 2), a + 1, a[:5], a.tolist(),
         a.astype("M8[s]"), a.astype("M8[ms]"), a.astype("m8[s]"), a.astype(bool), a.astype("U1"), a.astype("S1"),
         a.astype(object), a.astype(complex), a.astype("f2"), a.astype(np.longdouble), np.empty((0, 2)), np.empty((2, 0)),
         np.array(0), np.int64(0), 0, np.float64(0), 0.0, np.array([0]), np.str_("a"), "a", np.bool_(True), True]
    )  # fmt: skip


def test_a_view_or_fortran_order_with_the_same_elements_is_the_same() -> None:
    a = np.arange(24.0).reshape(4, 6)
    double = np.repeat(np.repeat(a, 2, axis=0), 2, axis=1)
    for b in (
        np.asfortranarray(a),
        double[::2, ::2],
        a.T.copy().T,
        a[::-1][::-1],
        np.broadcast_to(a, (4, 6)),
    ):
        assert same(a, b)
    read_only = a.copy()
    read_only.flags.writeable = False
    assert same(a, read_only)


def test_every_float_type_has_one_nan() -> None:
    for dtype in ("f2", "f4", "f8", "g", "c8", "c16", ">f8"):
        a = np.array([1, np.nan, 2], dtype=dtype)
        b = a.copy()
        b[1] = -np.nan
        assert same(a, b), dtype
        assert not same(a, np.array([1, 3, 2], dtype=dtype))
    big = np.zeros(3_000_000)
    big[2_500_000] = np.nan
    other = -big
    other[other == 0] = 0.0
    assert same(big, other)


def test_what_lies_between_fields_does_not_count() -> None:
    dtype = np.dtype(
        {"names": ["a", "b"], "formats": ["i1", "f8"], "offsets": [0, 8], "itemsize": 16}
    )
    a, b = (np.frombuffer(bytearray([fill] * 32), dtype=dtype) for fill in (0, 255))
    for array in (a, b):
        array["a"], array["b"] = [1, 2], [3, 4]
    assert a.tobytes() != b.tobytes() and same(a, b)
    b["a"][0] = 7
    assert not same(a, b)
    nested = np.zeros(2, dtype=[("x", [("y", "i4")]), ("z", "f4", (2,))])
    other = nested.copy()
    other["z"][1, 1] = 1
    assert not same(nested, other) and same(nested, nested.copy())


def test_objects_in_an_array_count_one_by_one() -> None:
    a = np.array([1, "a", None, [1, 2]], dtype=object)
    assert same(a, copy.deepcopy(a)) and not same(a, np.array([1, "a", None, [1, 3]], dtype=object))
    assert not same(a.reshape(2, 2), a)
    with pytest.raises(Unhashable, match=r"\[1\]: generator"):
        value_digest(np.array([1, (i for i in "a")], dtype=object), "x")
    strings = np.array(["a", "bc"], dtype=np.dtypes.StringDType())
    assert same(strings, strings.copy()) and not same(
        strings, np.array(["ab", "c"], dtype=np.dtypes.StringDType())
    )


def test_masked_arrays_matrices_and_maps(tmp_path: Any) -> None:
    data = np.arange(4.0)
    a = np.ma.MaskedArray(data, mask=[0, 1, 0, 0])
    below = data.copy()
    below[1] = 99
    assert same(a, np.ma.MaskedArray(below, mask=[0, 1, 0, 0]))
    assert not same(a, np.ma.MaskedArray(data, mask=[0, 0, 1, 0])) and not same(a, data)
    with pytest.warns(PendingDeprecationWarning):
        assert not same(np.matrix([[1]]), np.array([[1]]))
    np.save(tmp_path / "a.npy", data)
    assert same(
        np.load(tmp_path / "a.npy", mmap_mode="r"), np.load(tmp_path / "a.npy", mmap_mode="c")
    )


def test_a_generator_counts_by_its_state() -> None:
    a, b = np.random.default_rng(1), np.random.default_rng(1)
    assert same(a, b)
    b.random()
    assert not same(a, b)


def test_a_ufunc_made_of_a_function_that_cannot_be_seen_is_refused() -> None:
    with pytest.raises(Unhashable, match="ufunc"):
        value_digest(np.frompyfunc(lambda x: x, 1, 1))


# --- pandas ----------------------------------------------------------------------------------


def frame(**changes: Any) -> pd.DataFrame:
    columns = {
        "number": [1.0, np.nan, 3.0], "text": ["a", None, "c"], "count": pd.array([1, None, 3], dtype="Int64"),
        "flag": pd.array([True, None, False], dtype="boolean"), "kind": pd.Categorical(["x", "y", "x"]),
        "when": pd.to_datetime(["2020-01-01", None, "2020-01-03"]), "zone": pd.date_range("2020", periods=3, tz="Europe/Oslo"),
        "span": pd.to_timedelta([1, 2, 3], unit="s"), "period": pd.period_range("2020", periods=3, freq="D"),
        "range": pd.interval_range(0, 3), "object": np.array([1, "a", None], dtype=object),
        "sparse": pd.arrays.SparseArray([0, 0, 1]), "arrow": pd.array([1, None, 2], dtype="int64[pyarrow]"),
        "words": pd.array(["a", None, "b"], dtype="string[python]"), "i": [1, 2, 3],
    }  # fmt: skip
    return pd.DataFrame({**columns, **changes})


CHANGES = {
    "number": [1.0, 2.0, 3.0], "text": ["a", "b", "c"], "count": pd.array([1, 2, 3], dtype="Int64"),
    "flag": pd.array([True, None, True], dtype="boolean"), "kind": pd.Categorical(["x", "x", "x"]),
    "when": pd.to_datetime(["2020-01-01", None, "2020-01-04"]), "zone": pd.date_range("2020", periods=3, tz="Europe/Rome"),
    "span": pd.to_timedelta([1, 2, 4], unit="s"), "period": pd.period_range("2021", periods=3, freq="D"),
    "range": pd.interval_range(1, 4), "object": np.array([1, "b", None], dtype=object),
    "sparse": pd.arrays.SparseArray([0, 1, 1]), "arrow": pd.array([1, None, 3], dtype="int64[pyarrow]"),
    "words": pd.array(["a", None, "c"], dtype="string[python]"), "i": [1.0, 2.0, 3.0],
}  # fmt: skip


def test_equal_frames_are_the_same_however_they_came_to_be() -> None:
    a = frame()
    assert same(a, frame())
    assert same(a, pickle.loads(pickle.dumps(a)))
    assert same(a, pd.concat([a.iloc[:1], a.iloc[1:]]))
    assert same(a, pd.concat([a, a]).iloc[:3])
    assert same(
        a[["i", "number"]], pd.DataFrame({"number": a["number"], "i": a["i"]})[["i", "number"]]
    )


@pytest.mark.parametrize("column", CHANGES)
def test_a_change_in_a_column_misses(column: str) -> None:
    assert not same(frame(), frame(**{column: CHANGES[column]}))


def test_names_order_dtypes_and_index_of_a_frame_count() -> None:
    a = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
    named = a.copy()
    named.index.name = "n"
    columns = a.copy()
    columns.columns.name = "n"
    noted = a.copy()
    noted.attrs["source"] = "x"
    many = a.set_index(pd.MultiIndex.from_tuples([(0, "a"), (1, "b")], names=["x", "y"]))
    all_differ(
        [a, a[["b", "a"]], a.rename(columns={"a": "c"}), a.astype({"a": "i4"}), a.iloc[::-1], a.set_index("a"),
         a.set_index(pd.Index([5, 6])), named, columns, noted, many, many.rename_axis(["x", "z"]), a.to_numpy(), a["a"],
         a["a"].rename("z"), a["a"].rename(None), a.T, a.iloc[:0], a.iloc[:1], a.index, a.columns, pd.Index([0.0, 1.0]),
         a.set_index(pd.Index(["a", "b"]))]
    )  # fmt: skip
    assert same(a, a.set_index(pd.Index([0, 1])))  # equal to the index that counts


def test_the_last_row_of_a_long_frame_counts() -> None:
    a = pd.DataFrame({"a": np.arange(300_000), "b": [str(n % 7) for n in range(300_000)]})
    b = a.copy()
    b.loc[299_999, "b"] = "x"
    assert not same(a, b) and same(a, a.copy())


def test_pandas_scalars_and_dtypes() -> None:
    all_differ(
        [pd.Timestamp("2020-01-01"), pd.Timestamp("2020-01-01", tz="UTC"), pd.Timestamp("2020-01-02"), pd.Timedelta(1),
         pd.Timedelta(2), pd.NaT, pd.NA, None, np.nan, pd.CategoricalDtype(["a"]), pd.CategoricalDtype(["b"]),
         pd.Int64Dtype(), pd.Int32Dtype(), pd.Period("2020"), pd.Interval(0, 1), pd.Interval(0, 2), pd.offsets.Day(1),
         pd.offsets.Day(2), pd.Categorical(["a"]), pd.Categorical(["b"])]
    )  # fmt: skip


# --- pyarrow ---------------------------------------------------------------------------------


def test_arrow_columns_count_by_values_not_by_chunks_offsets_or_padding() -> None:
    values = [1, None, 3, 4]
    a = pa.chunked_array([values])
    assert same(a, pa.chunked_array([values[:1], values[1:]])) and same(
        a, pa.chunked_array([[9, *values]]).slice(1)
    )
    text = pa.chunked_array([["a", None, "bc", ""]])
    assert same(text, pa.chunked_array([["x", "a"], [None, "bc", ""]]).slice(1))
    hidden = pa.Array.from_buffers(
        pa.int64(), 2, [pa.py_buffer(b"\x01"), pa.py_buffer(np.array([1, 99]).tobytes())]
    )
    assert same(hidden, pa.array([1, None], pa.int64()))
    table = pa.table(
        {"a": values, "b": ["x", "y", None, "z"], "c": [[1], [], None, [2, 3]], "d": [{"e": 1}] * 4}
    )
    assert same(table, pa.concat_tables([table.slice(0, 1), table.slice(1)]))
    assert same(
        pa.array(["a", "b", "a"]).dictionary_encode(),
        pa.array(["a", "b", "a"]).dictionary_encode().slice(0),
    )
    all_differ(
        [a, text, table, table.select(["a"]), table.rename_columns(["x", "b", "c", "d"]), pa.array(values), pa.array([1, 2]),
         pa.array([1, 2], pa.int32()), pa.array([1.0, 2.0]), pa.array(["ab", "c"]), pa.array(["a", "bc"]), pa.array([True, False]),
         pa.array([b"a"]), pa.array([[1], [2]]), pa.array([[1, 2]]), pa.scalar(1), pa.schema([("a", pa.int64())]), pa.int64(),
         pa.array([], pa.int64()), pa.chunked_array([], pa.int64()), pa.array(["a"]).dictionary_encode(), pa.nulls(2),
         table.replace_schema_metadata({"k": "v"}), pa.array([1], pa.timestamp("s")), pa.array([1], pa.timestamp("ms"))]
    )  # fmt: skip


# --- scipy, scikit-learn, torch --------------------------------------------------------------


def test_a_fitted_estimator_counts_by_what_it_learned() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    forest = pytest.importorskip("sklearn.ensemble")
    x, y = np.arange(20.0).reshape(10, 2), np.arange(10) % 2
    a = linear.LogisticRegression()
    assert same(a, linear.LogisticRegression()) and not same(a, linear.LogisticRegression(C=2))
    fitted = linear.LogisticRegression().fit(x, y)
    assert not same(fitted, a) and same(fitted, pickle.loads(pickle.dumps(fitted)))
    trees = forest.RandomForestClassifier(3, random_state=0).fit(x, y)
    assert same(trees, forest.RandomForestClassifier(3, random_state=0).fit(x, y))
    assert not same(trees, forest.RandomForestClassifier(3, random_state=1).fit(x, y))


def test_sparse_matrices_count_by_their_elements() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    dense = np.array([[0, 1], [2, 0]])
    a = sparse.csr_matrix(dense)
    b = sparse.csr_matrix(([2, 1], ([1, 0], [0, 1])), shape=(2, 2))
    b.has_sorted_indices  # noqa: B018 - remembered by the matrix
    assert same(a, b) and not same(a, sparse.csr_matrix(dense * 2)) and not same(a, a.tocsc())
    assert not same(a, sparse.csr_array(dense))


def test_torch_modules_count_by_class_state_and_mode_not_by_device() -> None:
    torch = pytest.importorskip("torch")

    def make(p: float = 0.1) -> Any:
        torch.manual_seed(0)
        return torch.nn.Sequential(
            torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2), torch.nn.Dropout(p)
        )

    a = make()
    assert (
        same(a, make())
        and same(a, copy.deepcopy(a))
        and not same(a, make().eval())
        and not same(a, make(0.2))
    )
    changed = make()
    with torch.no_grad():
        changed[0].weight[0, 0] += 1
    assert not same(a, changed)
    t = torch.arange(6.0).reshape(2, 3)
    assert same(t, t.T.contiguous().T) and same(t.to(torch.bfloat16), t.to(torch.bfloat16).clone())
    all_differ(
        [
            t,
            t.double(),
            t.int(),
            t.reshape(3, 2),
            t + 1,
            t.clone().requires_grad_(),
            t.to(torch.bfloat16),
            torch.float32,
        ]
    )
    assert same(torch.device("cpu"), torch.device("meta"))
