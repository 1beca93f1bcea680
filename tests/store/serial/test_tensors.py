"""torch tensors and state dicts. torch is never required: without it they are skipped."""

from collections import OrderedDict

import pytest

from druse_store import Store, serial
from druse_store.digest import Digest
from druse_store.errors import ObjectDamaged
from druse_store.records import ObjectRef
from support.serial import Blobs, Holder, round_trip

torch = pytest.importorskip("torch", reason="torch is not installed")

DTYPES = ["float32", "float64", "float16", "bfloat16", "int64", "uint8", "bool", "complex64"]


def assert_same(one, other) -> None:
    assert type(one) is type(other)
    assert one.dtype == other.dtype
    assert one.shape == other.shape
    assert one.requires_grad == other.requires_grad
    assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (40, 50)], ids=str)
def test_tensors_come_back(dtype, shape):
    tensor = (torch.rand(shape) * 100).to(getattr(torch, dtype))
    assert_same(round_trip(tensor, encoding="tree"), tensor)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(12.0).reshape(3, 4).T,
        torch.arange(1000.0)[::2],
        torch.ones(1000, requires_grad=True),
        torch.nn.Parameter(torch.ones(1000)),
        torch.nn.Parameter(torch.ones(3), requires_grad=False),
        torch.ones(1).expand(1000),
    ],
    ids=lambda t: f"{type(t).__name__}{tuple(t.shape)}",
)
def test_a_tensor_keeps_its_values_and_kind(tensor):
    assert_same(round_trip(tensor, encoding="tree"), tensor)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.eye(3).to_sparse(),
        torch.ones(3, dtype=torch.complex64).conj(),
    ],
    ids=["sparse", "conjugate"],
)
def test_a_tensor_that_is_more_than_its_memory_is_left_to_torch(tensor):
    back = round_trip(tensor, encoding="pickle")
    assert back.layout == tensor.layout
    assert str(back) == str(tensor)


def test_a_state_dict_needs_no_pickle_and_loads_into_a_model():
    model = torch.nn.Sequential(torch.nn.Linear(40, 50), torch.nn.BatchNorm1d(50))
    state = model.state_dict()
    back = round_trip(state, encoding="tree")
    assert type(back) is OrderedDict
    assert back._metadata == state._metadata
    assert list(back) == list(state)
    fresh = torch.nn.Sequential(torch.nn.Linear(40, 50), torch.nn.BatchNorm1d(50))
    fresh.load_state_dict(back)
    for one, other in zip(fresh.parameters(), model.parameters(), strict=True):
        assert_same(one, other)


def test_equal_tensors_are_one_blob_in_states_checkpoints_and_models():
    blobs = Blobs()
    model = torch.nn.Linear(100, 100)
    weight = Digest.of(model.weight.detach().numpy().tobytes())
    holders = [model.state_dict(), {"epoch": 3, "model": model.state_dict()}, Holder(model)]
    refs = [serial.dump(holder, blobs.put) for holder in holders]
    assert [ref.encoding for ref in refs] == ["tree", "tree", "pickle"]
    assert all(weight in {blob.digest for blob in ref.blobs()} for ref in refs)
    assert blobs.itemsizes[weight] == 4


@pytest.mark.parametrize("writable", [False, True])
def test_a_model_comes_back_trainable(writable):
    blobs = Blobs()
    model = torch.nn.Linear(100, 100)
    back = serial.load(serial.dump(model, blobs.put), blobs.get, writable=writable)
    assert_same(back.weight, model.weight)
    with torch.no_grad():
        back.weight += 1
    assert_same(round_trip(model, encoding="pickle").weight, model.weight)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_large_tensors_and_models_come_back_from_a_store_each_in_memory_of_its_own(path, dtype):
    """Of several chunks: decoded in place, into memory that nobody else has."""
    weight = torch.randn(3_000_000).to(getattr(torch, dtype))
    model = torch.nn.ParameterDict({"weight": torch.nn.Parameter(weight)})
    with Store.open(path) as store:
        refs = [store.put_object(value) for value in (weight, model.state_dict(), model)]
        assert len({blob.digest for ref in refs for blob in ref.blobs() if blob.size > 10**6}) == 1
        for writable in (False, True):
            plain, state, back = (store.get_object(ref, writable=writable) for ref in refs)
            for found in (plain, state["weight"], back["weight"].data):
                assert_same(found, weight)
                found.zero_()
        assert_same(store.get_object(refs[0]), weight)


@pytest.mark.parametrize(
    "forged",
    [
        b'{"!":"torch","dtype":"load","shape":[1],"grad":false,"parameter":false,"in":""}',
        b'{"!":"torch","dtype":"float32","shape":[2],"grad":false,"parameter":false,"in":"AAAAAA=="}',
        b'{"!":"torch","dtype":"float32","shape":[-1,-1],"grad":false,"parameter":false,'
        b'"in":"AAAAAA=="}',
        b'{"!":"torch","dtype":"int8","shape":[1],"grad":true,"parameter":false,"in":"AA=="}',
    ],
)
def test_a_forged_tensor_is_refused(forged):
    blobs = Blobs()
    with pytest.raises(ObjectDamaged):
        serial.load(ObjectRef("tree", blobs.put(forged, 1)), blobs.get)
