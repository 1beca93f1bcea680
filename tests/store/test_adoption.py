"""Records that others computed: here without their blobs, and never in the place of one's own."""

import pytest

from druse_store import Digest, Store
from druse_store.errors import InvalidRecord
from druse_store.index.values import REVOKED, Origin
from druse_store.rebuild import rebuild_index

ANN, BOB = Origin(b"a" * 32, b"r" * 16), Origin(b"b" * 32, b"r" * 16)
GONE = Digest.of(b"bytes that are elsewhere")


def state(store, records):
    """All that can be seen of records and where they came from."""
    return [
        (store.record_by_digest(r.digest) is not None, store.origin(r.digest),
         store.record(r.signature, r.replicate), store.next_reads(r.start))
        for r in records
    ]  # fmt: skip


def test_a_record_without_its_blobs_is_current_and_says_what_it_lacks(store, make_record):
    record = make_record(1, blob=GONE)
    store.adopt_record(record, ANN)
    assert store.record(record.signature, 0) == record
    assert store.origin(record.digest) == ANN
    assert list(store.records_of_base(record.base)) == [record]
    with store.reading() as view:
        assert view.missing(record) == [GONE]
    assert store.verify().findings == []


def test_the_first_one_that_is_seen_stays_and_ones_own_above_all(store, make_record):
    mine, first, second = make_record(0), make_record(1, metrics={"by": "ann"}), make_record(1)
    store.put_record(mine)
    for record, origin in ((make_record(0, metrics={}), ANN), (first, ANN), (second, BOB)):
        store.adopt_record(record, origin)
    assert store.record(mine.signature, 0) == mine
    assert store.record(first.signature, 0) == first
    assert store.record_by_digest(second.digest) == second  # kept, for a run that names it
    mine_now = make_record(1, metrics={"by": "me"})
    store.put_record(mine_now)
    assert store.record(first.signature, 0) == mine_now
    assert store.record_by_digest(first.digest) == first


def test_what_was_computed_here_too_is_nobody_elses_claim(store, make_record):
    record = make_record(1)
    store.adopt_record(record, ANN)
    store.put_record(record)
    assert store.origin(record.digest) is None
    store.hide_signer(ANN.signer)
    assert store.record(record.signature, 0) == record


def test_within_one_commit_ones_own_counts(store, make_record):
    with store.batch():
        store.adopt_record(make_record(1, metrics={"by": "ann"}), ANN)
        mine = store.put_record(make_record(1, metrics={"by": "me"}))
    assert store.record_by_digest(mine) == store.record(make_record(1).signature, 0)


def test_a_failed_one_is_displaced_and_a_failed_one_is_not_adopted(store, make_record):
    store.put_record(make_record(0, status="failed"))
    store.adopt_record(make_record(0), ANN)
    assert store.record(make_record(0).signature, 0).status == "ok"
    store.adopt_record(make_record(1, status="failed"), ANN)
    assert store.record(make_record(1).signature, 0) is None


def test_reads_that_do_not_lead_to_the_signature_are_refused(store, make_record):
    with pytest.raises(InvalidRecord):
        store.adopt_record(make_record(0, signature=Digest.of(b"other")), ANN)


def test_what_a_key_signed_is_hidden_and_shown_again(store, make_record):
    ann, bob = make_record(0), make_record(1)
    store.adopt_record(ann, ANN)
    store.adopt_record(bob, BOB)
    run = store.begin_run("exp")
    run.add("base", 0, ann.digest, "hit")
    run.finish(complete=True)
    store.hide_signer(ANN.signer)
    assert store.record(ann.signature, 0) is None
    assert store.record(bob.signature, 0) == bob
    assert store.origin(ann.digest).state == REVOKED
    assert store.record_by_digest(store.run("exp").cells[0].record) == ann
    store.hide_signer(ANN.signer, hidden=False)
    assert store.record(ann.signature, 0) == ann


@pytest.mark.parametrize("hidden", [False, True])
def test_an_index_made_anew_says_the_same(path, make_record, hidden):
    records = [make_record(n, blob=GONE) for n in range(4)]
    with Store.open(path) as store:
        store.put_record(make_record(3, metrics={"by": "me"}))
        for record, origin in zip(records, (ANN, BOB, ANN, ANN), strict=True):
            store.adopt_record(record, origin)
        store.put_record(make_record(2, metrics={"by": "me"}))
        if hidden:
            store.hide_signer(ANN.signer)
        before = state(store, records)
    rebuild_index(path)
    with Store.open(path) as store:
        assert state(store, records) == before
        assert store.verify().findings == []


def test_a_log_that_was_written_anew_says_the_same(path, make_record):
    from druse_store import checkpoint

    records = [make_record(n, blob=GONE) for n in range(3)]
    with Store.open(path) as store:
        for record, origin in zip(records, (ANN, BOB, ANN), strict=True):
            store.adopt_record(record, origin)
        store.hide_signer(BOB.signer)
        before = state(store, records)
        session = store._session
        session._usable_writing().writer.leave_files()
        checkpoint.write(session.location, session.environment, session.write_lock)
    rebuild_index(path)
    with Store.open(path) as store:
        assert state(store, records) == before


def test_removing_it_removes_where_it_came_from(store, make_record):
    record = make_record(0)
    store.adopt_record(record, ANN)
    store.remove_record(record.digest)
    assert store.origin(record.digest) is None
    assert store.verify().findings == []
