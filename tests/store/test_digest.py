import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from druse_store import parallel
from druse_store.digest import Digest, Hasher, TrailingHasher, prefix_bounds
from druse_store.errors import InvalidDigest

EMPTY = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"


def test_the_digest_of_nothing_is_the_published_blake3_vector():
    assert str(Digest.of(b"")) == EMPTY


def test_a_digest_is_read_back_from_its_hex_digits_in_either_case():
    digest = Digest.of(b"a")
    assert Digest.from_hex(str(digest)) == digest
    assert Digest.from_hex(str(digest).upper()) == digest


@pytest.mark.parametrize("text", ["", "ab", EMPTY[:-1], EMPTY + "0", "g" * 64, "é" * 64, " " * 64])
def test_what_does_not_spell_a_digest_is_refused(text):
    with pytest.raises(InvalidDigest):
        Digest.from_hex(text)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_digest_has_exactly_32_bytes(size):
    with pytest.raises(InvalidDigest):
        Digest(bytes(size))


def test_a_digest_travels_between_processes():
    digest = Digest.of(b"a")
    copy = pickle.loads(pickle.dumps(digest))
    assert copy == digest
    assert type(copy) is Digest


def test_pieces_give_the_digest_of_the_whole():
    hasher = Hasher()
    for piece in (b"he", b"", b"llo"):
        hasher.update(piece)
    assert hasher.digest() == Digest.of(b"hello")


def test_a_prefix_bounds_exactly_the_digests_that_begin_with_it():
    low, high = prefix_bounds("AF1349b")
    assert low <= Digest.from_hex(EMPTY) <= high
    assert low.hex().startswith("af1349b0")
    assert high.hex().startswith("af1349bf")


@pytest.mark.parametrize("text", ["af134", "xyzxyz", "a" * 65])
def test_a_prefix_that_is_too_short_or_no_hex_is_refused(text):
    with pytest.raises(InvalidDigest):
        prefix_bounds(text)


@given(st.lists(st.binary(max_size=300), max_size=200), st.integers(1, 80))
def test_pieces_that_threads_hash_in_passing_give_the_digest_of_all(pieces, most):
    hasher = TrailingHasher(most)
    done = []

    def add():
        for number, piece in enumerate(pieces):
            hasher.add(piece, lambda number=number: done.append(number))
            yield number

    parallel.spread(lambda _: hasher.catch_up(), add())
    assert hasher.digest() == Digest.of(b"".join(pieces))
    assert done == list(range(len(pieces)))
