"""A collection that is killed behind each of its steps, by a real signal in a real process."""

import os
import shutil
import signal

import pytest

from druse_store import Digest, Policy, Store, rebuild_index
from druse_store.gc import crew, execute, swaps, sweep, upkeep
from druse_store.gc.collector import Collector, settings
from druse_store.gc.execute import STEPS
from druse_store.index import bulk
from support import users
from support.runs import add_run, chain, make_record, noise, pack_bytes, payloads_of

POLICY = Policy(keep_last=2, max_size=None)
SHARED = noise(150_000, "shared")


@pytest.fixture(autouse=True)
def small_transactions(monkeypatch):
    monkeypatch.setattr(sweep, "_ALONE", 7)
    monkeypatch.setattr(sweep, "SLICE", 7)
    monkeypatch.setattr(upkeep, "SHARE", 0.01)
    monkeypatch.setattr(execute, "EDGES_EACH", 0)
    monkeypatch.setattr(execute, "EDGES_SPARE", 0)


def fill(store):
    """Every kind of garbage, some with tombstones of an earlier collection, some of it in use."""
    for version in range(4):
        cells = [[SHARED, noise(90_000, (version, i)), b"text " * (version + 9)] for i in range(3)]
        add_run(store, "exp", cells)
        add_run(store, "gone", [[noise(80_000, ("gone", version)), noise(800_000, version)]])
    store.put(noise(300_000, "nobody's"))
    store.put_record(make_record(store, "", [], **chain(0)))
    for version in range(2):
        store.remove_run("gone", version)
    later = store.run("exp").finished / 1e9 + 8000
    store.gc(Policy(keep_last=3), grace=3600, now=later)
    store.pin("revived", Digest.of(noise(800_000, 0)))
    store.pin("put again", store.put(noise(800_000, 1)))
    store.remove_run("gone", 2)


def child(path, stop, alone):
    """Collects, and kills itself behind the step of this number."""
    left = -1 if stop is None else stop

    def step(name):
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    with Store.open(path) as store:
        Collector(store._session, step=step).collect(
            settings(POLICY, 0, None, 0.005), alone=alone, details=False
        )


def run_child(path, stop, *, alone=False):
    pid = os.fork()
    if pid == 0:
        try:
            child(path, stop, alone)
        finally:
            os._exit(3 if stop is None else 0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def check(path, *, collected):
    """All that is needed is there, byte for byte; it can be put and restored."""
    with Store.open(path) as store:
        for version in (2, 3):
            expected = [
                payload
                for i in range(3)
                for payload in (SHARED, noise(90_000, (version, i)), b"text " * (version + 9))
            ]
            assert payloads_of(store, "exp", version) == expected
        for version in range(4):
            assert store.run("exp", version) is not None
        assert store.get(store.pins()["put again"]) == noise(800_000, 1)
        if collected:
            assert store.get(store.pins()["revived"]) == noise(800_000, 0)


@pytest.fixture
def filled(tmp_path):
    with Store.open(tmp_path / "filled") as store:
        fill(store)
    return tmp_path / "filled"


def names_of_steps(path, filled, *, alone=False):
    names = []
    with Store.open(shutil.copytree(filled, path)) as store:
        report = Collector(store._session, step=names.append).collect(
            settings(POLICY, 0, None, 0.005), alone=alone, details=False
        )
    assert report.problems == []
    return names


def test_killed_behind_any_step_the_next_collection_completes_it(tmp_path, filled):
    names = names_of_steps(tmp_path / "whole", filled)
    expected = pack_bytes(tmp_path / "whole")
    alone = {"write chunks anew", "write the log anew"}
    assert set(names) == set(STEPS) - {"evict", "recall records"} - alone
    for stop in range(len(names)):
        path = shutil.copytree(filled, tmp_path / f"killed-{stop}")
        assert run_child(path, stop) == -signal.SIGKILL, names[stop]
        check(path, collected=False)
        with Store.open(path) as store:
            store.put(noise(80_000, ("gone", 1)))  # what was garbage, taken in again
            assert store.get(store.put(SHARED)) == SHARED
            store.gc(POLICY, grace=0, waste=0.005)
            assert store.verify().findings == [], names[stop]
        check(path, collected=True)
        # What was copied before the kill lies in packs of its own: some headers more.
        assert abs(pack_bytes(path) - expected) < 1_000, names[stop]


@pytest.mark.parametrize(("part", "alone"), [(0.3, True), (0.6, False), (0.7, True), (0.95, True)])
def test_killed_and_its_index_lost_a_rebuild_has_all_that_is_needed(tmp_path, filled, part, alone):
    names = names_of_steps(tmp_path / "whole", filled, alone=alone)
    assert ("write the log anew" in names) == alone
    path = shutil.copytree(filled, tmp_path / "store")
    assert run_child(path, int(len(names) * part), alone=alone) == -signal.SIGKILL
    assert rebuild_index(path).damage == []
    check(path, collected=False)
    with Store.open(path) as store:
        store.gc(POLICY, grace=0, waste=0.005)
        assert store.verify().findings == []
    check(path, collected=True)


def test_killed_while_helpers_copy_the_next_collection_completes_it(tmp_path, filled, monkeypatch):
    names = names_of_steps(tmp_path / "whole", filled)
    expected = pack_bytes(tmp_path / "whole")
    monkeypatch.setattr(crew, "WORTH", 0)
    for stop in range(1, len(names), 9):
        path = shutil.copytree(filled, tmp_path / f"killed-{stop}")
        assert run_child(path, stop) == -signal.SIGKILL, names[stop]
        with Store.open(path) as store:
            store.gc(POLICY, grace=0, waste=0.05)
            assert store.verify().findings == [], names[stop]
        check(path, collected=True)
        assert abs(pack_bytes(path) - expected) < 1_000, names[stop]


def test_killed_behind_steps_of_a_collection_alone_the_next_one_completes_it(tmp_path, filled):
    names = names_of_steps(tmp_path / "whole", filled, alone=True)
    assert names.count("write chunks anew") == 1
    assert not {"swap places", "sweep chunks", "forget packs"}.intersection(names)
    for stop in range(len(names)):
        path = shutil.copytree(filled, tmp_path / f"killed-{stop}")
        assert run_child(path, stop, alone=True) == -signal.SIGKILL, names[stop]
        with Store.open(path) as store:
            store.gc(POLICY, grace=0, waste=0.005)
            assert store.verify().findings == [], names[stop]
        check(path, collected=True)


def test_killed_while_a_table_is_written_anew_the_old_one_is_there(tmp_path, filled, monkeypatch):
    apply = swaps.Swaps.apply

    def kill(self, head, table):
        if head == 200:
            os.kill(os.getpid(), signal.SIGKILL)
        return apply(self, head, table)

    with monkeypatch.context() as patch:
        patch.setattr(swaps.Swaps, "apply", kill)
        assert run_child(filled, None, alone=True) == -signal.SIGKILL
    check(filled, collected=True)
    with Store.open(filled) as store:
        assert store.verify().findings == []
        store.gc(POLICY, grace=0, waste=0.005)
        assert store.verify().findings == []
    check(filled, collected=True)


@pytest.mark.parametrize("step", ["remove records", "sweep records"])
def test_records_that_a_kill_left_are_there_in_a_new_index_too(tmp_path, step, monkeypatch):
    """The log says that records are gone together with the index: not before, since what the index
    still has may be relied upon."""
    monkeypatch.setattr(bulk, "_ANEW_MOST", 0)  # rows go behind what leads to them
    path = tmp_path / "store"
    with Store.open(path) as store:
        run = add_run(store, "exp", [[noise(900, i)] for i in range(6)])
        records = [cell.record for cell in run.cells]
        add_run(store, "other", [[b"kept"]])
        store.remove_run("exp", 0)
    names = names_of_steps(tmp_path / "whole", path, alone=True)
    assert names.count("sweep records") == len(records)
    assert run_child(path, names.index(step), alone=True) == -signal.SIGKILL
    with Store.open(path) as store:
        there = [record for record in records if store.record_by_digest(record) is not None]
        assert len(there) == len(records) - (step == "sweep records")
        run = store.begin_run("again")
        for replicate, record in enumerate(there):
            run.add("base", replicate, record, "hit")
        run.finish(complete=True)
    assert rebuild_index(path).damage == []
    with Store.open(path) as store:
        assert [each for each in there if store.record_by_digest(each) is None] == []


def test_after_a_kill_no_run_comes_back_whose_records_are_gone(tmp_path, filled):
    names = names_of_steps(tmp_path / "whole", filled, alone=True)
    for stop in range(len(names)):
        path = shutil.copytree(filled, tmp_path / f"killed-{stop}")
        assert run_child(path, stop, alone=True) == -signal.SIGKILL
        with Store.open(path) as store:
            store.undo()
            assert store.verify().findings == []


def test_whole_packs_that_a_kill_left_behind_go_without_any_privilege(tmp_path, filled):
    """Their files are for reading only by then, which root does not notice."""
    names = names_of_steps(tmp_path / "whole", filled, alone=True)  # all that is needed is imported

    def killed(path):
        run_child(path, names.index("copy packs"), alone=True)
        collect_here(path)
        with Store.open(path) as store:
            return [pack_files(path), store.stats().packs]

    with users.common_folder() as folder:
        path = shutil.copytree(filled, folder / "store")
        for each in (path, *path.rglob("*")):
            os.chown(each, 5_001, users.GROUP)
        on_disk, known = users.run_as(5_001, killed, path)
    assert on_disk == known


def collect_here(path):
    with Store.open(path) as store:
        assert store.gc(POLICY, grace=0, alone=True, waste=0.005).problems == []


def pack_files(path):
    return sum(1 for _ in path.glob("packs/*/*.pack"))
