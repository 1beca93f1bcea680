import time

from hypothesis import given
from hypothesis import strategies as st

from druse_store import Policy, RunName, Store, commit
from druse_store.errors import BlobNotFound
from druse_store.gc import victims
from druse_store.gc.victims import Candidate
from support.runs import add_run, make_record, noise, payloads_of

KIB = 1 << 10


def limited(store, spare):
    """A policy whose limit is `spare` bytes below what the store takes."""
    return Policy(max_size=store.plan_gc(grace=0).size - spare)


def test_what_is_cheapest_to_compute_again_for_its_bytes_goes_first(path):
    with Store.open(path) as store:
        add_run(store, "dear", [[noise(300 * KIB, "dear")]], seconds=1000.0)
        add_run(store, "cheap", [[noise(300 * KIB, "cheap")]], seconds=1.0)
        add_run(store, "small", [[noise(30 * KIB, "small")]], seconds=1.0)
        policy = limited(store, 200 * KIB)
        said = store.gc(policy, grace=3600, dry_run=True)
        done = store.gc(policy, grace=3600)
        assert said.freed == done.freed > 200 * KIB
        assert (said.evicted, done.evicted, done.problems) == (1, 1, [])
        share = said.by_run[0]
        assert (share.experiment, share.version, share.blobs) == ("cheap", 0, 1)
        assert share.freed > 300 * KIB
        assert done.size <= policy.max_size
        assert payloads_of(store, "cheap") == [BlobNotFound]
        assert payloads_of(store, "dear") == [noise(300 * KIB, "dear")]
        assert payloads_of(store, "small") == [noise(30 * KIB, "small")]
        record = store.record_by_digest(store.run("cheap").cells[0].record)
        assert record.metrics["name"] == "cheap/0/0"
        with store.reading() as view:
            assert len(view.missing(record)) == 1
        assert store.gc(policy, grace=0).evicted == 0  # it stays so
        assert not store.verify().findings


def test_versions_that_share_nearly_all_go_together(path):
    base = noise(2000 * KIB, "base")
    with Store.open(path) as store:
        for version in range(10):
            edited = noise(2 * KIB, version) + base
            add_run(store, "alike", [[edited]], seconds=1.0)
        add_run(store, "apart", [[noise(600 * KIB, "apart")]], seconds=20.0)
        # Each of them alone frees little; all ten cost 10 s for 2 MB, the other 20 s for 0.6 MB.
        done = store.gc(limited(store, 1000 * KIB), grace=0)
        assert done.problems == []
        assert payloads_of(store, "apart") == [noise(600 * KIB, "apart")]
        assert payloads_of(store, "alike", 3) == [BlobNotFound]


def test_a_limit_of_hardly_more_than_the_store_sets_aside_is_said(path):
    with Store.open(path) as store:
        add_run(store, "exp", [[noise(3000 * KIB, 1)]])
        done = store.gc(Policy(max_size=4300 * KIB), grace=0)
        assert done.evicted == 1
        said = done.problems[-1]
        assert said.startswith("of a limit of 4.2 MiB the store takes 4.")
        assert "4.0 MiB are set aside" in said
        add_run(store, "exp", [[noise(3000 * KIB, 2)]])
        assert store.gc(Policy(max_size=40 << 20), grace=0).problems == []


def test_pins_leases_running_and_imported_runs_are_never_evicted(path):
    with Store.open(path) as store:
        add_run(store, "pinned", [[noise(300 * KIB, 1)]], seconds=0.0)
        store.pin("p", RunName("pinned", 0))
        add_run(store, "leased", [[noise(300 * KIB, 2)]], seconds=0.0)
        writer = add_run(store, "running", [[noise(300 * KIB, 3)]], seconds=0.0, finish=False)
        imported = make_record(store, "imported", [noise(300 * KIB, 4)], status="imported")
        store.put_record(imported)
        add_run(store, "imported", [imported])
        add_run(store, "free", [[noise(300 * KIB, 5)]], seconds=9999.0)
        with store.lease([store.run("leased").cells[0].record]) as lease:
            assert not lease.missing
            done = store.gc(limited(store, 900 * KIB), grace=0)
            assert "599.9 KiB over its limit of 5.0 MiB" in done.problems[0]
            for number, name in enumerate(("pinned", "leased", "running", "imported"), 1):
                assert payloads_of(store, name) == [noise(300 * KIB, number)]
            assert payloads_of(store, "free") == [BlobNotFound]
        writer.finish(complete=True)
        store.gc(limited(store, 500 * KIB), grace=0)
        assert payloads_of(store, "leased") == payloads_of(store, "running") == [BlobNotFound]


def test_cached_steps_go_before_cells_and_wholly(path):
    with Store.open(path) as store:
        step = make_record(store, "step", [noise(300 * KIB, "step")], kind="step", seconds=1e6)
        store.put_record(step)
        add_run(store, "exp", [[noise(300 * KIB, "cell")]], seconds=0.001)
        store.gc(limited(store, 200 * KIB), grace=0)
        assert store.record(step.signature, 0) is None
        assert payloads_of(store, "exp") == [noise(300 * KIB, "cell")]


def test_the_least_recently_used_goes_first_among_equals(path, monkeypatch):
    monkeypatch.setattr(commit, "_USE_SLACK", -20_000_000_000)  # every use is noted
    with Store.open(path) as store:
        records = [
            make_record(store, f"s{i}", [noise(300 * KIB, i)], kind="step") for i in range(3)
        ]
        for record in records:
            store.put_record(record)
        store.touch([records[0].digest])
        store.put(b"what commits the use, too")
        store.gc(limited(store, 200 * KIB), grace=0)
        left = [record for record in records if store.record_by_digest(record.digest)]
        assert left == [records[0], records[2]]


def test_the_undo_window_yields_to_the_limit(path):
    with Store.open(path) as store:
        add_run(store, "exp", [[noise(300 * KIB, 0)]])
        add_run(store, "exp", [[noise(300 * KIB, 1)]])
        policy = Policy(keep_last=1)
        store.gc(policy, grace=3600, now=time.time() + 7200)
        assert store.gc(policy, grace=3600).freed == 0
        tight = limited(store, 0)
        done = store.gc(Policy(keep_last=1, max_size=tight.max_size), grace=3600)
        assert done.freed == 0  # it fits still
        done = store.gc(Policy(keep_last=1, max_size=tight.max_size - 100 * KIB), grace=3600)
        assert (done.evicted, done.freed > 300 * KIB) == (0, True)
        assert payloads_of(store, "exp") == [noise(300 * KIB, 1)]


# --- choosing ----------------------------------------------------------------------------------


def choose(rows, shares, need):
    candidates = [Candidate(b"%d" % i, seconds, used) for i, (seconds, used) in enumerate(rows)]
    return victims.choose(candidates, {frozenset(s): n for s, n in shares.items()}, need)


def test_what_is_shared_is_weighed_against_all_who_share_it():
    rows = [(1.0, 0)] * 10 + [(50.0, 0)]
    shares = {(i,): 10 for i in range(10)} | {tuple(range(10)): 1000, (10,): 1000}
    assert choose(rows, shares, 500) == ([*range(10)], 1100)
    dear = [(10.0, 0)] * 10 + [(50.0, 0)]
    assert choose(dear, shares, 500) == ([10], 1000)


def test_what_is_left_is_weighed_anew():
    # Once 0 and 1 are gone, what 2 shared with them is its own.
    rows = [(1.0, 0), (1.0, 0), (1.0, 0), (5.0, 0)]
    shares = {(0,): 100, (1,): 100, (0, 1, 2): 300, (3,): 400}
    assert choose(rows, shares, 250) == ([0, 1, 2], 500)


RECORDS = st.lists(st.tuples(st.floats(0, 100), st.integers(0, 5)), min_size=1, max_size=7)


@given(RECORDS, st.data())
def test_freed_is_what_only_the_chosen_hold_and_enough_if_there_is(rows, data):
    places = st.frozensets(st.integers(0, len(rows) - 1), min_size=1)
    shares = data.draw(st.dictionaries(places, st.integers(1, 1000), max_size=8))
    need = data.draw(st.integers(0, 3000))
    choice = choose(rows, shares, need)
    chosen = frozenset(choice.chosen)
    assert len(chosen) == len(choice.chosen)
    assert choice.freed == sum(size for share, size in shares.items() if share <= chosen)
    assert choice.freed >= min(need, sum(shares.values()))
