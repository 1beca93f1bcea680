from collections import OrderedDict

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from druse_store import serial
from support.serial import JSON, Blobs, exact, round_trip

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
