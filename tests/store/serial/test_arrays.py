import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as npst
from numpy.testing import assert_array_equal

from druse_store import serial
from support.serial import Blobs, Holder, digest_of, exact, round_trip

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
