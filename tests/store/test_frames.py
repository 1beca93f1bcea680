"""The bytes of frames, files and index values: part of format version 1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from druse_store import Digest, frames
from druse_store.errors import FrameDamaged, IndexDamaged
from druse_store.frames import ChunkList, Link
from druse_store.index import values
from druse_store.index.values import BlobEntry, ChunkEntry, FileEntry, Head

ONE, TWO = Digest.of(b"one"), Digest.of(b"two")
_digests = st.binary(min_size=32, max_size=32).map(Digest)

GOLDEN = {
    "file header": (
        frames.file_header(frames.PACK, b"12345678", b"0123456789abcdef", 1000),
        "d644525553453" "10a01000000313233343536373830313233343536373839616263646566e8030000"
        "0000000000000000000000000000000000000000",
    ),
    "frame header": (
        frames.header(frames.CHUNK, 4, ONE, 1000, 700),
        "d64446310104000001000000bc02000000000000e803000000000000" + ONE.hex(),
    ),
    "extent header": (
        frames.header(frames.EXTENT, 0, TWO, 5000, 5000, 2, 24),
        "d6444631020018000200000088130000000000008813000000000000" + TWO.hex(),
    ),
    "table": (
        frames.table([(ONE, 3), (TWO, 70_000)]),
        ONE.hex() + "03000000" + TWO.hex() + "70110100",
    ),
    "link": (
        Link(7, 1_700_000_000_000_000_000, b"segment!", 640).encode(),
        "070000000000000000002a36fe9c97177365676d656e74218002000000000000",
    ),
    "chunk list": (
        ChunkList(ONE, 70_003, ((TWO, 3), (ONE, 70_000))).encode(),
        "44434c31" + ONE.hex() + "7311010000000000" "02000000" + TWO.hex() + "03000000"
        + ONE.hex() + "70110100",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_bytes_are_those_of_format_version_1(name):
    made, expected = GOLDEN[name]
    ends_with_check = "header" in name
    assert made.hex()[: -8 if ends_with_check else None] == expected
    assert len(made) == 64 or not ends_with_check


def test_values_of_the_index_are_those_of_format_version_1():
    key = bytes(range(32))
    chunk = ChunkEntry(b"12345678", 640, 700, 1000, 4, values.TOMBSTONED, 9)
    assert values.pack_chunk(key, chunk).hex()[:-8] == (
        "3132333435363738" "8002000000000000" "bc020000" "e8030000" "04" "01" "0900000000000000"
    )  # fmt: skip
    blob = BlobEntry(ONE, 70_003, 2, values.LIVE, 9)
    assert values.pack_blob(key, blob).hex()[:-8] == (
        ONE.hex() + "7311010000000000" "02000000" "00" "0900000000000000"
    )  # fmt: skip
    file = FileEntry(frames.PACK, values.SEALED, 5000, 640, 1000)
    assert values.pack_file(key, file).hex()[:-8] == (
        "01" "01" "8813000000000000" "8002000000000000" "e8030000"
    )  # fmt: skip
    assert values.pack_head(Head(9, b"segment!", 640)).hex()[:-8] == (
        "0900000000000000" "7365676d656e7421" "8002000000000000"
    )  # fmt: skip
    assert values.run_key("exp", 3) == b"exp\0\0\0\0\x03"
    assert values.record_key(ONE, 3) == ONE + b"\0\0\0\x03"


def test_the_numbers_of_the_tables_are_part_of_the_format():
    assert {name: values.SEEDS[name] for name in ("chunks", "blobs", "records", "head")} == {
        "chunks": 1,
        "blobs": 2,
        "records": 3,
        "head": 13,
    }


@given(
    st.sampled_from(sorted(frames.KINDS)), st.integers(0, 255), _digests,
    st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 1000), st.integers(0, 63),
)  # fmt: skip
def test_a_header_says_what_it_was_made_from(kind, codec, digest, size, stored, count, pad):
    frame = frames.parse(frames.header(kind, codec, digest, size, stored, count, pad), 128)
    assert frame == (128, kind, codec, pad, count, stored, size, digest)
    assert frame.end >= 128 + 64 + stored


@given(_digests, st.integers(0, 511))
def test_every_flipped_bit_of_a_header_is_found(digest, bit):
    head = bytearray(frames.header(frames.CHUNK, 1, digest, 10, 10))
    head[bit // 8] ^= 1 << bit % 8
    with pytest.raises(FrameDamaged):
        frames.parse(head, 0)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_header_are_refused(data):
    for parse in (lambda: frames.parse(data, 0), lambda: frames.parse_file_header(data)):
        with pytest.raises(FrameDamaged):
            parse()


@given(_digests, st.lists(st.tuples(_digests, st.integers(0, 2**20)), max_size=20))
def test_a_chunk_list_comes_back(blob, chunks):
    made = ChunkList(blob, sum(size for _, size in chunks), tuple(chunks))
    assert ChunkList.decode(made.encode()) == made


@given(_digests, st.lists(st.tuples(_digests, st.integers(0, 2**20)), min_size=1, max_size=4),
       st.data())  # fmt: skip
def test_a_chunk_list_that_contradicts_itself_is_refused(blob, chunks, data):
    encoded = ChunkList(blob, sum(size for _, size in chunks), tuple(chunks)).encode()
    for damaged in (encoded[:-1], encoded + b"x", encoded[:20], b"DCL2" + encoded[4:], b""):
        with pytest.raises(FrameDamaged):
            ChunkList.decode(damaged)
    larger = bytearray(encoded)
    larger[36] ^= 1  # the size of the blob
    with pytest.raises(FrameDamaged):
        ChunkList.decode(bytes(larger))


@given(_digests, _digests, st.integers(0, 10**12))
def test_a_value_under_another_key_or_in_another_table_does_not_check(one, other, offset):
    stored = values.pack_chunk(one, ChunkEntry(b"12345678", offset, 1, 1, 0))
    assert values.unpack_chunk(one, stored).offset == offset
    if one != other:
        with pytest.raises(IndexDamaged):
            values.unpack_chunk(other, stored)
    with pytest.raises(IndexDamaged):
        values.body(values.BLOBS, one, stored)


@given(_digests, st.integers(0, 38 * 8 - 1))
def test_every_flipped_bit_of_a_value_is_found(key, bit):
    stored = bytearray(values.pack_chunk(key, ChunkEntry(b"12345678", 64, 1, 1, 0)))
    stored[bit // 8] ^= 1 << bit % 8
    with pytest.raises(IndexDamaged):
        values.unpack_chunk(key, stored)
