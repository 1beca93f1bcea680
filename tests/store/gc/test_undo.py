import time

import pytest

from druse_store import Policy, RunName, Store, rebuild_index
from druse_store.errors import BlobNotFound, RunNotFound
from support.runs import add_run, make_record, noise, payloads_of

POLICY = Policy(keep_last=1, keep_metrics=0.0).with_experiment("light", artifact_retention=2)


def fill(store):
    for version in range(3):
        add_run(store, "exp", [[noise(300_000, version), noise(900, version)]])
        add_run(store, "light", [[noise(11 << 20, "same"), noise(2_000, ("light", version))]])
    store.put_record(make_record(store, "of no run", [b"lonely"]))
    return everything(store)


def everything(store):
    return (
        [(run, run.cells) for run in store.runs()],
        [payloads_of(store, run.experiment, run.version) for run in store.runs()],
        store.stats()[:5],
    )


def test_undo_restores_all_during_the_grace(path):
    with Store.open(path) as store:
        before = fill(store)
        done = store.gc(POLICY, grace=3600, now=time.time() + 7200)
        assert len(done.levels) == 4
        assert done.waiting.records > 2
        assert [run.name for run in store.runs()] == ["exp/v2", "light/v1", "light/v2"]
        undone = store.undo()
        assert undone.runs == [RunName("exp", 0), RunName("exp", 1), RunName("light", 0)]
        assert undone.levels == [RunName("light", 1)]
        assert everything(store) == before
        assert not store.verify().findings
    rebuild_index(path)
    with Store.open(path) as store:
        assert everything(store) == before
        assert store.undo().runs == []  # there is nothing left to bring back
        assert everything(store) == before


def test_a_removed_run_is_brought_back_alone(path):
    with Store.open(path) as store:
        fill(store)
        store.remove_run("exp", 0)
        assert store.run("exp", 0) is None
        assert store.undo([RunName("exp", 0)]).runs == [RunName("exp", 0)]
        store.gc(POLICY, grace=3600, now=time.time() + 7200)
        assert store.undo([RunName("exp", 1)]).runs == [RunName("exp", 1)]
        assert payloads_of(store, "exp", 1) == [noise(300_000, 1), noise(900, 1)]
        assert store.run("exp", 0) is None
        with pytest.raises(RunNotFound, match="exp/v1 cannot be brought back"):
            store.undo([RunName("exp", 1)])
        store.undo([RunName("exp", 0)])
        assert payloads_of(store, "exp", 0) == [noise(300_000, 0), noise(900, 0)]


def test_after_the_grace_nothing_comes_back(path):
    with Store.open(path) as store:
        fill(store)
        store.gc(POLICY, grace=0)
        kept = everything(store)
        undone = store.undo()
        assert (undone.runs, undone.levels, undone.records, undone.chunks) == ([], [], 0, 0)
        assert everything(store) == kept


def test_an_undo_does_not_displace_what_was_computed_again(path):
    with Store.open(path) as store:
        record = make_record(store, "cell", [b"one"])
        store.put_record(record)
        store.gc(grace=3600, now=time.time() + 7200)
        assert store.record(record.signature, 0) is None
        again = make_record(store, "cell", [b"two"])
        store.put_record(again)
        assert store.undo().records == 1
        assert store.record(record.signature, 0) == again
        assert store.record_by_digest(record.digest) == record


def test_an_abandoned_run_does_not_come_back(path):
    with Store.open(path) as store:
        store.begin_run("exp").abandon()
        assert store.undo().runs == []
        assert store.begin_run("exp").version == 1


def test_what_was_removed_cannot_be_read_by_name(path):
    with Store.open(path) as store:
        record = make_record(store, "cell", [noise(600_000)])
        store.put_record(record)
        ref = record.artifacts[0].ref
        store.gc(grace=3600, now=time.time() + 7200)
        assert ref.root.digest not in store
        with pytest.raises(BlobNotFound):
            store.get(ref.root.digest)
        store.undo()
        assert store.get_object(ref) == noise(600_000)


def test_what_left_its_level_long_ago_comes_back_while_its_bytes_are_there(path):
    later = time.time() + 7200
    with Store.open(path) as store:
        before = fill(store)
        store.after_runs(["exp", "light"], POLICY)  # retention goes by at the end of a run
        store.gc(POLICY, grace=3600, now=later)  # and a collection behind the grace of that
        undone = store.undo()
        assert undone.runs == [RunName("exp", 0), RunName("exp", 1), RunName("light", 0)]
        assert undone.levels == [RunName("light", 1)]
        assert everything(store) == before


def test_no_run_comes_back_whose_records_are_gone(path):
    """Retention removed them in one collection, and the next one swept what only they needed."""
    policy = Policy(keep_last=1, keep_metrics=0)
    with Store.open(path) as store:
        for version in range(3):
            add_run(store, "exp", [[noise(900, version)]])
        for hours in (2, 4):
            store.gc(policy, grace=3600, now=time.time() + 3600 * hours)
        assert store.undo().runs == []
        assert [run.version for run in store.runs("exp")] == [2]
        assert store.verify().findings == []


def test_the_trash_is_emptied_once_the_bytes_are_gone(path):
    with Store.open(path) as store:
        fill(store)
        store.after_runs(["exp", "light"], POLICY)
        for hours in (2, 4, 6):  # each has gone by behind the grace of the one before
            store.gc(POLICY, grace=3600, now=time.time() + 3600 * hours)
            time.sleep(0.01)
        undone = store.undo()
        assert (undone.runs, undone.levels, undone.records, undone.chunks) == ([], [], 0, 0)
