"""Records that others published: found by lookups, stored when a lookup ends at them."""

import pytest

from druse_store import Digest, Store
from druse_store.index.values import Origin

ANN = Origin(b"a" * 32, b"r" * 16)
BASE = Digest.of(b"base")


@pytest.fixture
def offered(make_record):
    """Three replicates of one signature, and another signature."""
    return [make_record(1, replicate=n, metrics={"by": "ann"}) for n in range(3)] + [make_record(2)]


def offer(store, records, base=BASE):
    return store._session.offers().add(base, [record.encode() for record in records], ANN)


def test_it_is_found_by_every_lookup_and_stored_when_it_is(path, offered):
    with Store.open(path) as store:
        fresh, wrong = offer(store, offered)
        assert (fresh, wrong) == (offered, 0)
        assert list(store.records_of_base(BASE)) == []
        first = offered[0]
        with store.reading() as view:
            assert view.next_reads(first.start) == ("ctx:n",)
            assert view.record_at(first.signature, 0) == first
            assert view.record_by_digest(first.digest) == first
            assert view.records_at(first.signature) == {n: offered[n].digest for n in range(3)}
            assert view.record_by_digest(offered[2].digest) == offered[2]
        assert offer(store, offered) == ([], 0)
    with Store.open(path) as store:
        assert [store.record(first.signature, n) for n in range(3)] == offered[:3]
        assert store.origin(first.digest) == ANN
        assert store.record(offered[3].signature, 0) is None  # no lookup ended there
        assert store.verify().clean


def test_a_run_can_name_it_at_once(path, offered):
    with Store.open(path) as store:
        offer(store, offered)
        with store.batch():
            run = store.begin_run("exp")
            record = store.record(offered[0].signature, 0)
            run.add("base", 0, record.digest, "hit")
        finished = run.finish(complete=True)
    with Store.open(path) as store:
        assert store.record_by_digest(store.run("exp").cells[0].record) == record
        assert finished.count == 1


def test_ones_own_comes_first_unless_it_failed(store, make_record, offered):
    mine = make_record(1, metrics={"by": "me"})
    store.put_record(mine)
    store.put_record(make_record(2, status="failed"))
    offer(store, offered)
    assert store.record(mine.signature, 0) == mine
    with store.reading() as view:
        assert view.records_at(mine.signature)[0] == mine.digest
    assert store.record(offered[3].signature, 0) == offered[3]


def test_what_others_say_wrongly_is_left_out_and_counted(store, make_record):
    astray = make_record(3, signature=make_record(4).signature)
    elsewhere = make_record(5, base=Digest.of(b"another base"))
    failed = make_record(6, status="failed")
    good = make_record(7)
    packed = [r.encode() for r in (astray, elsewhere, failed, good)] + [b"short"]
    fresh, wrong = store._session.offers().add(BASE, packed, ANN)
    assert (fresh, wrong) == ([good], 3)
    assert store.record(make_record(4).signature, 0) is None
    assert store.record(elsewhere.signature, 0) is None


def test_one_that_hides_behind_a_good_one_is_found_out_when_it_is_taken(store, make_record):
    good = make_record(1, replicate=0)
    reads = make_record(2).reads  # of another signature
    astray = make_record(1, replicate=1, reads=reads, signature=good.signature)
    offer(store, [good, astray])
    assert store.record(good.signature, 0) == good
    assert store.record(good.signature, 1) is None
    with store.reading() as view:
        assert view.records_at(good.signature) == {0: good.digest}


def test_a_store_for_reading_finds_it_too(path, offered):
    Store.open(path).close()
    with Store.open(path, read_only=True) as store:
        offer(store, offered)
        assert store.record(offered[0].signature, 0) == offered[0]
    with Store.open(path) as store:
        assert store.record(offered[0].signature, 0) is None


def test_what_is_taken_back_is_offered_no_more(store, offered):
    offer(store, offered)
    store._session.offers().retract({offered[1].digest})
    assert store.record(offered[1].signature, 1) is None
    assert store.record(offered[0].signature, 0) == offered[0]
