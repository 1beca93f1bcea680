import math
from collections import OrderedDict, namedtuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from druse_store import serial
from support.serial import JSON, Blobs, exact, round_trip


@given(st.binary())
def test_bytes_come_back(data):
    assert round_trip(data, encoding="bytes") == data


@given(st.text(st.characters(codec=None)))
def test_a_str_comes_back_even_with_lone_surrogates(text):
    assert round_trip(text, encoding="str") == text


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
