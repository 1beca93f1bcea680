"""Records that belong to no run: cached steps and sources, and what came from a remote."""

import time

import pytest

from druse_store import Policy, Store, commit
from druse_store.index.values import Origin
from support.runs import add_run, make_record, noise

DAY = 86400


def put_step(store, name, **fields):
    record = make_record(store, name, [noise(1_000, name)], kind="step", **fields)
    store.put_record(record)
    return record


def is_here(store, record):
    with store.reading() as view:
        return view.record_by_digest(record.digest) is not None and not view.missing(record)


@pytest.mark.parametrize("kind", ["step", "source"])
def test_a_cached_step_stays_as_long_as_a_run_of_its_time_keeps_artifacts(path, kind):
    with Store.open(path) as store:
        add_run(store, "exp", [[noise(1_000, "run")]])
        record = make_record(store, "cached", [noise(1_000, "c")], kind=kind)
        store.put_record(record)
        later = time.time() + 400 * DAY
        store.gc(grace=0, now=later)
        assert is_here(store, record)
        store.remove_run("exp", 0)
        store.gc(grace=0)
        assert is_here(store, record)  # no run is left, but it is not 30 days old
        store.gc(grace=0, now=later)
        assert not is_here(store, record)
        assert not store.verify().findings


def test_use_counts_as_much_as_being_made(path, monkeypatch):
    monkeypatch.setattr(commit, "_USE_SLACK", -20_000_000_000)
    clock = time.time_ns
    with Store.open(path) as store:
        used, unused = put_step(store, "used"), put_step(store, "unused")
        monkeypatch.setattr(time, "time_ns", lambda: clock() + 10 * DAY * 10**9)
        add_run(store, "exp", [[noise(1_000, "run")]])
        store.touch([used.digest])
        monkeypatch.setattr(time, "time_ns", lambda: clock() + 45 * DAY * 10**9)
        store.put(b"what commits the use, too")
        store.gc(grace=0, now=time.time() + 50 * DAY)
        assert is_here(store, used)
        assert not is_here(store, unused)


def test_the_experiment_that_it_names_decides(path, monkeypatch):
    clock = time.time_ns
    with Store.open(path) as store:
        add_run(store, "long", [[noise(1_000, "long")]])
        steps = {
            name: put_step(store, name, provenance={"experiment": name})
            for name in ("long", "short", "unknown")
        }
        monkeypatch.setattr(time, "time_ns", lambda: clock() + 40 * DAY * 10**9)
        add_run(store, "short", [[noise(1_000, "short")]])
        store.gc(Policy(keep_last=1), grace=0, now=time.time() + 40 * DAY)
        assert {name: is_here(store, step) for name, step in steps.items()} == {
            "long": True,  # its oldest run began before
            "short": False,
            "unknown": True,  # the oldest of all counts
        }


def test_what_came_from_a_remote_is_a_cache_too(path):
    with Store.open(path) as store:
        record = make_record(store, "elsewhere", [])
        store.adopt_record(record, Origin(bytes(32), bytes(16)))
        store.gc(grace=0)
        assert store.record(record.signature, 0) == record
        store.gc(grace=0, now=time.time() + 40 * DAY)
        assert store.record(record.signature, 0) is None
        assert store.origin(record.digest) is None
        assert not store.verify().findings
