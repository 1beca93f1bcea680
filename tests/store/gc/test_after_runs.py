import pytest

from druse_store import Policy, Store
from druse_store.errors import BlobNotFound, InvalidInput, ReadOnlyStore
from druse_store.gc import collector
from support.runs import add_run, noise, payloads_of

POLICY = Policy(keep_last=1)


def test_the_levels_of_the_experiments_that_ended_are_lowered_at_once(path):
    with Store.open(path) as store:
        for version in range(3):
            add_run(store, "exp", [[noise(1_000, version)]])
            add_run(store, "other", [[noise(1_000, version)]])
        changed, done = store.after_runs(["exp"], POLICY)
        assert [(change.version, change.new) for change in changed] == [
            (0, "metrics"),
            (1, "metrics"),
        ]
        assert done is None  # so little is not worth a collection
        assert [run.level for run in store.runs("exp")] == ["metrics", "metrics", "full"]
        assert [run.level for run in store.runs("other")] == ["full"] * 3
        assert store.after_runs(["exp"], POLICY) == ([], None)


def test_what_a_run_was_lowered_to_holds_for_a_collection_that_knows_no_rule(path):
    with Store.open(path) as store:
        for version in range(3):
            add_run(store, "exp", [[noise(100_000, version)]])
        store.after_runs(["exp"], POLICY)
        assert store.gc(grace=0).freed >= 200_000
        assert payloads_of(store, "exp", 0) == payloads_of(store, "exp", 1) == [BlobNotFound]
        assert payloads_of(store, "exp") == [noise(100_000, 2)]


def test_a_collection_is_due_when_the_store_has_grown(path, monkeypatch):
    monkeypatch.setattr(collector, "_SPARE", 1 << 20)
    with Store.open(path) as store:
        add_run(store, "exp", [[noise(3 << 20, 0)]])
        _, first = store.after_runs(["exp"], POLICY, grace=0)
        assert first is not None
        assert store.after_runs(["exp"], POLICY, grace=0) == ([], None)
        for version in range(1, 3):
            add_run(store, "exp", [[noise(3 << 20, version)]])
        changed, second = store.after_runs(["exp"], POLICY, grace=0)
        assert len(changed) == 2
        assert second.freed > 6 << 20


def test_a_store_over_its_limit_is_collected_at_the_end_of_every_run(path):
    with Store.open(path) as store:
        limit = store.plan_gc(grace=0).size + 500_000
        policy = Policy(max_size=limit)
        for version in range(4):
            add_run(store, "exp", [[noise(300_000, version)]])
            _, done = store.after_runs(["exp"], policy)
            assert (done is None) == (version == 0)
            if done is not None:
                assert (done.problems, done.size <= limit) == ([], True)


def test_what_can_be_reclaimed_is_told_by_run(path):
    with Store.open(path) as store:
        for version in range(3):
            add_run(store, "exp", [[noise(100_000, version)]])
        shares = store.reclaimable(POLICY)
        assert [(share.experiment, share.version) for share in shares] == [
            ("exp", 0),
            ("exp", 1),
            (None, None),
        ]
        assert all(99_000 < share.freed < 101_000 for share in shares[:2])
        assert payloads_of(store, "exp", 0) == [noise(100_000, 0)]
        freed = store.gc(POLICY, grace=0).freed
        assert freed == sum(share.freed for share in shares)
        assert payloads_of(store, "exp", 0) == [BlobNotFound]


@pytest.mark.parametrize(
    "wrong", [{"grace": -1.0}, {"grace": float("nan")}, {"waste": 2.0}, {"policy": "keep_last"}]
)
def test_settings_that_cannot_be_are_named(path, wrong):
    with Store.open(path) as store, pytest.raises(InvalidInput):
        store.gc(**wrong)


def test_a_store_that_is_open_for_reading_only_cannot_be_collected(path):
    Store.open(path).close()
    with Store.open(path, read_only=True) as store, pytest.raises(ReadOnlyStore):
        store.gc()
