"""Frames that are copied as they lie, by places that the plan kept."""

import pytest

from druse_store import Policy, Store, writer
from druse_store.gc import crew, places, stream
from druse_store.gc import plan as planning
from druse_store.gc.collector import Collector, settings
from druse_store.index.bulk import Bulk
from druse_store.index.snapshot import Snapshot
from support.runs import add_run, noise, payloads_of

POLICY = Policy(keep_last=1, keep_metrics=0)
COUNT = 60


def payload(i):
    """Stored raw, or packed; none so large that it would lie in an extent."""
    return noise(5_000 + i, ("small", i)) if i % 3 else b"text %d " % i * 400


def kept():
    return [[payload(i)] for i in range(COUNT) if i % 10 < 5]


@pytest.fixture(params=[0, 1 << 40], ids=["past memory", "through memory"])
def path(tmp_path, monkeypatch, request):
    monkeypatch.setattr(writer, "PACK_SIZE", 100_000)
    monkeypatch.setattr(planning, "PACK_SIZE", 100_000)
    monkeypatch.setattr(crew, "WORTH", request.param)
    monkeypatch.setattr(stream, "_WORTH", request.param)
    with Store.open(tmp_path / "store") as store:
        for i in range(COUNT):
            store.put_object(payload(i))
        add_run(store, "exp", kept())
    return tmp_path / "store"


def collect(store, *, alone=True):
    return Collector(store._session).collect(
        settings(POLICY, 0, None, 0.01), alone=alone, details=False
    )


def entry_of(store, i):
    digest = store.put_object(payload(i)).root.digest
    with Snapshot(store._session.environment) as snapshot:
        return digest, snapshot.chunk(digest)


def overwrite(store, entry, at, data):
    pack = store._session.location.pack(entry.pack)
    pack.chmod(0o600)
    with pack.open("r+b") as file:
        file.seek(entry.offset + at)
        file.write(data)
    return pack


def assert_sound(store):
    assert payloads_of(store, "exp") == [cell[0] for cell in kept()]
    assert store.verify().findings == []


@pytest.mark.parametrize("alone", [True, False])
def test_what_stays_is_copied_to_the_byte_as_planned(path, alone):
    with Store.open(path) as store:
        plan = store.plan_gc(POLICY, grace=0, waste=0.01)
        assert plan.places.keys() == {p for group in plan.packs.groups for p in group.packs}
        done = collect(store, alone=alone)
        assert (done.freed, done.packs_written) == (plan.freed, len(plan.packs.groups))
        assert done.packs_written > 1
        assert done.problems == []
        assert_sound(store)


def test_where_there_are_too_many_places_they_are_looked_up_again(path, monkeypatch):
    with Store.open(path) as store:
        freed = store.plan_gc(POLICY, grace=0, waste=0.01).freed
        monkeypatch.setattr(places, "_MOST", 5)
        plan = store.plan_gc(POLICY, grace=0, waste=0.01)
        assert (plan.places, plan.freed) == ({}, freed)
        assert collect(store).freed == freed
        assert_sound(store)


def test_a_damaged_header_is_made_anew(path):
    with Store.open(path) as store:
        _, entry = entry_of(store, 1)
        pack = overwrite(store, entry, -40, b"\0" * 8)
        assert collect(store).problems == []
        assert not pack.exists()
        assert_sound(store)


def test_a_damaged_chunk_keeps_its_pack_and_the_others_go_on(path):
    with Store.open(path) as store:
        digest, entry = entry_of(store, 2)
        pack = overwrite(store, entry, 10, b"\0" * 20)
        done = collect(store)
        assert any(digest[:6].hex() in text for text in done.problems)
        assert pack.exists()
        found = payloads_of(store, "exp")
        assert [n for n, cell in enumerate(kept()) if found[n] != cell[0]] == [2]


def test_an_entry_that_names_the_place_of_another_chunk_is_not_believed(path):
    with Store.open(path) as store:
        wrong, entry = entry_of(store, 1)
        _, other = entry_of(store, 2)
        with store._session.write_lock.held(), Bulk(store._session.environment) as tables:
            tables.put_chunk(wrong, entry._replace(offset=other.offset, stored=other.stored))
            tables.commit()
        done = collect(store)
        assert any(wrong[:6].hex() in text for text in done.problems)
        found = payloads_of(store, "exp")
        assert [n for n, cell in enumerate(kept()) if found[n] != cell[0]] == [1]


def test_a_pack_that_is_gone_is_reported_and_its_entries_stay(path):
    with Store.open(path) as store:
        plan = store.plan_gc(POLICY, grace=0, waste=0.01)
        pack = store._session.location.pack(next(iter(plan.places)))
        pack.unlink()
        done = plan.execute()
        assert any(str(pack) in text for text in done.problems)
        assert len(payloads_of(store, "exp")) == len(kept())
