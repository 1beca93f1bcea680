"""A key that is trusted no more: what rests on it is named, and what it signed is not used."""

import pytest

from druse_store import Digest, Read, RunName, extend
from druse_store.remote import revocation
from support.sharing import BASE, make_record, signature_of


@pytest.fixture
def pair(machine, folder_url):
    ann, bob = machine("ann", folder_url), machine("bob", folder_url)
    ann.run(numbers=range(2))
    ann.push().execute()
    with bob.trusts(ann).tier() as tier:
        tier.records_for([BASE])
        assert bob.has(0)
        assert bob.has(1)
    return ann, bob


def downstream_of(machine, blob: Digest, number: int) -> Digest:
    """A cell that read this artifact."""
    reads = (Read("input:a", blob),)
    signature = extend(Digest.of(b"start"), reads[0].key, blob)
    ref = machine.store.put_object(b"made from it %d" % number)
    record = make_record(number, ref, signature=signature, reads=reads)
    return machine.store.put_record(record)


def artifact(machine, record):
    return machine.store.record_by_digest(record).artifacts[0].ref.root.digest


def test_records_runs_and_what_was_computed_from_them_are_named(pair):
    ann, bob = pair
    signed = [bob.store.record(signature_of(n), 0) for n in range(2)]
    first = downstream_of(bob, signed[0].artifacts[0].ref.root.digest, 10)
    second = downstream_of(bob, artifact(bob, first), 11)
    unrelated = downstream_of(bob, Digest.of(b"something else"), 12)
    for name, record in (("uses", signed[1].digest), ("made", second), ("own", unrelated)):
        run = bob.store.begin_run(name)
        run.add("base", 0, record, "hit")
        run.finish(complete=True)
    resting = revocation.resting_on(bob.store, ann.signer.public)
    assert {record.digest for record in resting.records} == {r.digest for r in signed}
    assert {record.digest for record in resting.downstream} == {first, second}
    assert resting.runs == [RunName("made", 0), RunName("uses", 0)]
    assert revocation.resting_on(bob.store, bob.signer.public) == revocation.Resting()


def test_what_a_trusted_computation_gave_as_well_rests_on_nobody(pair):
    ann, bob = pair
    blob = bob.store.record(signature_of(0), 0).artifacts[0].ref.root.digest
    downstream_of(bob, blob, 10)
    bob.compute(20, b"result 0")  # the same bytes
    assert revocation.resting_on(bob.store, ann.signer.public).downstream == []


def test_it_is_out_of_use_until_the_key_is_trusted_again(pair):
    ann, bob = pair
    bob.trust.remove("ann")
    assert revocation.enforce_trust(bob.store, bob.trust) == {ann.signer.public: True}
    assert not bob.has(0)
    assert revocation.enforce_trust(bob.store, bob.trust) == {}
    bob.trusts(ann)
    assert revocation.enforce_trust(bob.store, bob.trust) == {ann.signer.public: False}
    assert bob.has(0)


def test_a_run_takes_it_out_of_use_by_itself(pair):
    _, bob = pair
    bob.trust.remove("ann")
    with bob.tier() as tier:
        assert not bob.has(0)
        assert tier.records_for([BASE]).records == 0
    assert not bob.has(0)


def test_where_anybody_is_believed_nothing_is_hidden_until_that_ends(pair):
    ann, bob = pair
    remote_id = bob.site().id.hex()
    bob.trust.set_policy(remote_id, "any")
    bob.trust.remove("ann")
    assert revocation.enforce_trust(bob.store, bob.trust) == {}
    bob.trust.set_policy(remote_id, "signed")
    assert revocation.enforce_trust(bob.store, bob.trust) == {ann.signer.public: True}
