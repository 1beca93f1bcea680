import dataclasses
import enum
import pickle

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from druse_store import packing
from druse_store.digest import Digest
from druse_store.errors import InvalidRecord, RecordDamaged
from druse_store.records import ArtifactRef, BlobRef, ObjectRef, Read, Record, extend

D = Digest.of(b"x")
BLOB = BlobRef(D, 1, D)
REF = ObjectRef("numpy", BLOB, (BLOB, BlobRef(Digest.of(b"y"), 2**40, D)), "meta")


def record(**fields):
    values = {
        "signature": extend(D, "ctx:lr", Digest.of(b"0.1")),
        "replicate": 3,
        "status": "ok",
        "base": Digest.of(b"base"),
        "start": D,
        "reads": (Read("ctx:lr", Digest.of(b"0.1")),),
        "metrics": {"loss": 0.25, "acc": 1},
        "artifacts": (ArtifactRef("model", 2, REF),),
        "output": REF,
        "provenance": {"host": "h", "list": [1, None, True]},
        "manifest": Digest.of(b"manifest"),
        "needs": (Digest.of(b"need"),),
    }
    return Record(**(values | fields))


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(metrics=st.dictionaries(st.text(), json, max_size=4), replicate=st.integers(0, 2**32 - 1))
def test_a_record_is_decoded_to_what_was_encoded(metrics, replicate):
    before = record(metrics=metrics, replicate=replicate)
    after = Record.decode(before.encode())
    assert after == before
    assert after.digest == before.digest
    assert all(getattr(after, f.name) == getattr(before, f.name) for f in fields())


def fields():
    return [f for f in dataclasses.fields(Record) if not f.name.startswith("_")]


def test_the_encoding_of_format_version_1_never_changes():
    assert (
        str(record().digest) == "6d08dfcba2af4be253587ec7dc959537f2fe7b402ecd2e39103f20dd5a5fe4fe"
    )
    assert (
        str(extend(D, "ctx:lr", Digest.of(b"0.1")))
        == "836e4d5f293925dac9e56feba2e6578ce8e150f4d75dd0acaede1ff93cb0fd9a"
    )
    assert (
        str(extend(D, "", D)) == "44cf9816cf9422f9062277689481dd289e1ea1ae678d7826404fa60584e9cea0"
    )


def test_the_order_of_a_map_does_not_change_the_digest():
    one = record(metrics={"a": 1, "b": {"x": 1, "y": 2}})
    other = record(metrics={"b": {"y": 2, "x": 1}, "a": 1})
    assert one.digest == other.digest


def test_numbers_that_python_calls_equal_have_digests_of_their_own():
    digests = {record(metrics={"a": value}).digest for value in (1, True, 1.0)}
    assert len(digests) == 3


def test_every_field_is_in_the_digest():
    base = record()
    changed = {
        "signature": Digest.of(b"other"),
        "replicate": 4,
        "status": "failed",
        "base": D,
        "start": Digest.of(b"other"),
        "reads": (),
        "metrics": {},
        "artifacts": (),
        "output": None,
        "provenance": {},
        "manifest": None,
        "needs": (),
        "kind": "step",
    }
    assert set(changed) == {f.name for f in fields()}
    digests = {record(**{name: value}).digest for name, value in changed.items()}
    assert len(digests) == len(changed)
    assert base.digest not in digests


def test_values_that_only_look_like_a_number_or_text_are_stored_as_their_value():
    class Colour(enum.IntEnum):
        RED = 7

    assert Record.decode(record(metrics={"c": Colour.RED}).encode()).metrics == {"c": 7}


@pytest.mark.parametrize("value", [object(), {1: 2}, {"a": {2}}, {"a": {"b": object()}}])
def test_metadata_that_is_not_plain_data_is_refused_and_named(value):
    with pytest.raises(InvalidRecord, match=r"metadata|plain data"):
        record(metrics={"here": value}).encode()


def test_metadata_that_contains_itself_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(InvalidRecord):
        record(metrics={"loop": loop}).encode()


@pytest.mark.parametrize(
    "bad", [{"status": "fine"}, {"kind": "thing"}, {"replicate": -1}, {"base": b"short"}]
)
def test_fields_out_of_range_are_refused(bad):
    with pytest.raises(InvalidRecord):
        record(**bad).encode()


@given(st.data())
def test_bytes_that_are_no_record_are_an_error_and_never_anything_else(data):
    packed = bytearray(record().encode())
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = Record.decode(bytes(packed))
        for field in fields():
            getattr(decoded, field.name)
    except RecordDamaged:
        return
    assert decoded.encode() == bytes(packed)


@given(names=st.lists(st.text(st.characters(exclude_categories=())), max_size=4))
def test_text_of_any_kind_has_one_encoding_whatever_was_packed_before(names):
    """Lone surrogates, as file names have them, included: most text is packed without a look."""
    looking = msgpack.Packer(unicode_errors="surrogatepass")
    for value in (names, ["plain"], {name: [name, 1] for name in names}, "plain"):
        assert packing.pack(value) == looking.pack(value)
        assert packing.unpack(packing.pack(value)) == value


@pytest.mark.parametrize("broken", [["before", "\ud800", object()], ["before", object(), "\ud800"]])
def test_nothing_of_what_could_not_be_packed_gets_into_the_next(broken):
    with pytest.raises(InvalidRecord, match="not plain data"):
        packing.pack(broken)
    assert packing.unpack(packing.pack(["after", "\udcff"])) == ["after", "\udcff"]
    assert packing.unpack(packing.pack("after")) == "after"


@pytest.mark.parametrize("size", [0, 1, 2**31, 2**32 - 1])
def test_a_wrong_size_of_the_metrics_is_damage(size):
    packed = bytearray(record().encode())
    packed[103:107] = size.to_bytes(4, "little")
    decoded = Record.decode(bytes(packed))
    with pytest.raises(RecordDamaged):
        _ = decoded.metrics
    with pytest.raises(RecordDamaged):
        _ = decoded.reads


def test_the_parts_of_a_record_together_have_to_be_small_enough_for_the_index():
    half = "x" * (8 << 20)
    with pytest.raises(InvalidRecord, match="bytes of metadata"):
        record(metrics={"m": half}, provenance={"p": half}).encode()


def test_a_chain_of_reads_ends_at_the_signature():
    value = record()
    assert value.nodes() == [D, value.signature]


def test_parts_of_a_read_cannot_be_moved_into_each_other():
    assert extend(D, "ab", D) != extend(D, "a", D)
    assert extend(D, "a", Digest.of(b"1")) != extend(Digest.of(b"1"), "a", D)


def test_a_record_names_every_blob_that_it_needs():
    names = record(artifacts=(), output=REF).blobs()
    assert names == [D, D, Digest.of(b"y"), Digest.of(b"manifest"), Digest.of(b"need")]


def test_a_record_travels_between_processes():
    value = record()
    assert pickle.loads(pickle.dumps(value)) == value
    assert hash(pickle.loads(pickle.dumps(value))) == hash(value)
