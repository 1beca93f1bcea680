import pytest
from hypothesis import given
from hypothesis import strategies as st

from druse_store.digest import Digest
from druse_store.errors import ClaimRefused
from druse_store.remote import claims
from druse_store.remote.claims import NO_CLAIM, Place
from druse_store.trust import Signer

REMOTE = bytes(range(16))
PLACE = Place(REMOTE, "records/" + "ab" * 32, "s", 7, NO_CLAIM)
SIGNER = Signer(bytes(32))
BODY = b"what is claimed " * 10


def trusting(key):
    return key == SIGNER.public


def verify(data, key, remote=REMOTE, believes=trusting):
    return claims.verify(data, key, remote, believes)


def test_a_claim_comes_back_as_it_was_made():
    key, data = claims.make(SIGNER, PLACE, BODY)
    claim = verify(data, key)
    assert claim.body == BODY
    assert (claim.topic, claim.kind, claim.sequence) == PLACE[1:4]
    assert claim.signer == SIGNER.public
    assert claim.digest == Digest.of(data)


@given(st.data())
def test_no_flipped_bit_and_no_cut_gets_through(data):
    key, packed = claims.make(SIGNER, PLACE, BODY)
    at = data.draw(st.integers(0, len(packed) * 8 - 1))
    flipped = bytearray(packed)
    flipped[at // 8] ^= 1 << at % 8
    for bad in (bytes(flipped), packed[: at // 8], packed + b"x"):
        with pytest.raises(ClaimRefused):
            verify(bad, key)


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_and_nothing_worse(data):
    with pytest.raises(ClaimRefused):
        verify(data, "records/x/y", believes=lambda _: True)


def test_it_counts_only_where_it_was_put():
    key, data = claims.make(SIGNER, PLACE, BODY)
    elsewhere = key.replace("ab" * 32, "cd" * 32)
    later = key.replace("0000000000000007", "0000000000000008")
    for moved in (elsewhere, later, key.replace("-s-", "-a-")):
        with pytest.raises(ClaimRefused, match="another place"):
            verify(data, moved)
    with pytest.raises(ClaimRefused, match="another remote"):
        verify(data, key, remote=bytes(16))


def test_a_stranger_is_refused_with_the_key_that_would_have_to_be_trusted():
    key, data = claims.make(Signer(b"\1" * 32), PLACE, BODY)
    with pytest.raises(ClaimRefused, match=r"ed25519:.*druse trust add"):
        verify(data, key)


def test_a_signature_of_another_key_does_not_pass_for_a_trusted_one():
    key, data = claims.make(Signer(b"\1" * 32), PLACE, BODY)
    forged = data[:8] + SIGNER.public + data[40:]
    with pytest.raises(ClaimRefused, match="does not verify"):
        verify(forged, key)


def test_a_body_is_not_decoded_beyond_its_bound(monkeypatch):
    key, data = claims.make(SIGNER, PLACE, bytes(1 << 20))
    monkeypatch.setattr(claims, "MAX_BODY", 1000)
    with pytest.raises(ClaimRefused, match="not the one"):
        verify(data, key)
