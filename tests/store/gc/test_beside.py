"""Collections beside writers and readers, each way in which such stores have lost data."""

import fcntl
import signal
import threading
import time

import pytest

from druse_store import Digest, Policy, RunName, Store, rebuild_index
from druse_store.errors import BlobNotFound, BlobVanished
from druse_store.gc import sweep
from druse_store.gc.collector import Collector, settings
from druse_store.index import bulk
from support import damage
from support.runs import add_run, make_record, noise, payloads_of
from support.writers import finish, spawn

LARGE = noise(600_000, "large")
WRITER = """
import dataclasses, random
large = random.Random(repr("large")).randbytes(600_000)
with Store.open(path) as store, store.batch():
    refs = store.put_object(b"small"), store.put_object(large)
    print("known", flush=True)
    while not os.path.exists(f"{path}.go"):
        time.sleep(0.01)
    for n, ref in enumerate(refs):
        artifacts = (ArtifactRef("a", 0, ref),)
        store.put_record(dataclasses.replace(record(n, ref.root.digest), artifacts=artifacts))
"""


def wait_until_stopped(process):
    with open(f"/proc/{process.pid}/stat") as file:
        while file.read().split()[2] != "T":
            time.sleep(0.01)
            file.seek(0)


@pytest.mark.parametrize("passes", [1, 2])
def test_a_writer_that_was_stopped_after_its_have_it_already_loses_nothing(path, passes):
    with Store.open(path) as store:
        store.put(b"small")
        store.put(LARGE)
        process = spawn(path, WRITER)
        assert process.stdout.readline() == "known\n"
        process.send_signal(signal.SIGSTOP)
        wait_until_stopped(process)
        for _ in range(passes):
            done = store.gc(grace=0)
            assert done.swept.chunks == 0
        process.send_signal(signal.SIGCONT)
        path.with_name("store.go").touch()
        finish(process)
        store.gc(Policy(), grace=3600)  # what came back to life gives its chunks theirs
        for data in (b"small", LARGE):
            assert store.get(Digest.of(data)) == data
        assert not store.verify().findings
        assert store.stats().records == 2


def test_a_writer_that_died_holds_nothing(path):
    with Store.open(path) as store:
        process = spawn(path, WRITER)
        assert process.stdout.readline() == "known\n"
        process.kill()
        process.communicate()
        store.gc(grace=0)
        assert store.stats()[:2] == (0, 0)
        assert not list(path.glob("packs/*/*"))


def test_beside_a_process_that_is_about_to_say_what_it_holds_nothing_is_swept(path):
    with Store.open(path) as store:
        add_run(store, "exp", [[b"old"]])
        add_run(store, "exp", [[b"new"]])
        store.gc(Policy(keep_last=1), grace=0)
        hold = path / "holds" / "1-000000000000.hold"
        with hold.open("wb") as file:  # made, locked, and still empty
            fcntl.flock(file, fcntl.LOCK_EX)
            add_run(store, "exp", [[b"newest"]])
            done = store.gc(Policy(keep_last=1), grace=0)
            assert not any(done.swept)
        assert store.gc(Policy(keep_last=1), grace=0).swept.chunks
        assert not hold.exists()


def test_what_a_worker_put_stays_for_the_parent_that_holds(path):
    body = """
    with Store.open(path) as store:
        print(store.put(b"of a worker"))
    """
    with Store.open(path) as store, Store.open(path) as collector:
        with store.batch():
            finish(spawn(path, body))
            collector.gc(grace=0)
            collector.gc(grace=0)
            needs = (Digest.of(b"of a worker"),)
            store.put_record(make_record(store, "of the parent", [], needs=needs))
        collector.gc(grace=3600)
        assert store.get(needs[0]) == b"of a worker"


# --- between the plan and its execution ----------------------------------------------------------


@pytest.fixture
def doomed(path):
    """A store, a record in a removed run, and a plan that removes it and its artifacts."""
    with Store.open(path) as store:
        add_run(store, "old", [[noise(5_000, "small"), LARGE]])
        digest = store.run("old").cells[0].record
        record = store.record_by_digest(digest)
        store.remove_run("old", 0)
        plan = store.plan_gc(grace=0)
        assert plan.report().swept.records == 1
        yield store, record, plan


def is_whole(store, record):
    store.gc(grace=3600)
    assert store.record_by_digest(record.digest) == record
    found = [store.get_object(artifact.ref) for artifact in record.artifacts]
    assert found == [noise(5_000, "small"), LARGE]
    assert not store.verify().findings
    return True


def test_a_run_that_names_a_doomed_record_meanwhile_saves_it(doomed):
    store, record, plan = doomed
    add_run(store, "new", [record])
    plan.execute()
    assert is_whole(store, record)


def test_a_pin_or_a_lease_saves_it_too(doomed):
    store, record, plan = doomed
    with store.lease([record.digest]) as lease:
        assert not lease.missing
        plan.execute()
        assert is_whole(store, record)
        store.pin("kept", record.digest)
    store.gc(grace=0)
    assert is_whole(store, record)


def test_damage_that_is_met_inside_a_transaction_does_not_wait_for_that_transaction(doomed):
    """To note it needs the lock that the collection holds: all writers would wait for a minute."""
    store, record, plan = doomed
    with store._session.snapshot() as snapshot:
        blobs = [snapshot.blob(digest) for digest in record.blobs()]
        place = next(snapshot.chunk(blob.chunks) for blob in blobs if blob is not None)
    damage.flip(store._session.location.pack(place.pack), place.offset)

    def give_up(*_):
        raise AssertionError("the collection waits for itself")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(20)
    try:
        with store.lease([record.digest]):
            plan.execute()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert store.record_by_digest(record.digest) == record


def test_bytes_that_are_put_again_meanwhile_stay(doomed):
    store, record, plan = doomed
    again = make_record(store, "again", [noise(5_000, "small"), LARGE])
    store.put_record(again)
    plan.execute()
    assert is_whole(store, again)
    assert store.record_by_digest(record.digest) is None


def test_a_blob_that_comes_back_between_tombstone_and_sweep_gets_its_chunks_back(path):
    with Store.open(path) as store, Store.open(path) as other:
        store.put(LARGE)
        store.put_record(make_record(store, "garbage", [b"small"]))
        writing = other.batch()

        def step(name):
            if name == "remove records":
                writing.__enter__()
                other.put(LARGE)  # known: it is only relied upon
            elif name == "tombstone chunks":
                with store.reading() as view:
                    assert Digest.of(LARGE) not in view
                writing.__exit__(None, None, None)  # commits, and holds nothing any more

        collector = Collector(store._session, step=step)
        done = collector.collect(settings(None, 0.0, None, 0.2), alone=False, details=False)
        assert done.swept.blobs == 0
        assert store.get(Digest.of(LARGE)) == LARGE
        assert not store.verify().findings
        store.pin("kept", Digest.of(LARGE))
        store.gc(grace=0)
        assert store.get(Digest.of(LARGE)) == LARGE


def test_a_lease_says_what_was_gone_before_it(doomed):
    store, record, plan = doomed
    plan.execute()
    with store.lease([record.digest, *record.blobs()]) as lease:
        assert lease.missing == {record.digest, *record.blobs()}


def test_a_run_that_is_pinned_meanwhile_keeps_its_level(path):
    with Store.open(path) as store:
        for version in range(2):
            add_run(store, "exp", [[noise(5_000, version), LARGE]])
        plan = store.plan_gc(Policy(keep_last=1), grace=0)
        store.pin("p", RunName("exp", 0))
        plan.execute()
        assert store.run("exp", 0).level == "full"
        assert payloads_of(store, "exp", 0) == [noise(5_000, 0), LARGE]


def test_a_cell_whose_record_was_collected_before_it_was_added_is_no_silent_gap(path):
    with Store.open(path) as store:
        writer = store.begin_run("exp")
        kept = store.put_record(make_record(store, "kept", [noise(5_000, "kept")]))
        writer.add("base", 0, kept, "run")
        store.flush()
        gone = store.put_record(make_record(store, "gone", [noise(5_000, "gone")]))
        store.gc(grace=0)
        with pytest.raises(BlobVanished, match="exp/v0 lacks 1 of its cells"), store.batch():
            writer.add("base", 1, gone, "run")
            writer.finish(complete=True)
        run = store.run("exp")
        assert [cell.record for cell in run.cells] == [kept]
        assert not run.complete


# --- what goes on --------------------------------------------------------------------------------


def test_a_run_that_goes_on_keeps_its_bytes_though_a_later_one_is_complete(path):
    with Store.open(path) as store:
        writer = add_run(store, "exp", [[noise(5_000, "going on")]], finish=False)
        add_run(store, "exp", [[noise(5_000, "later")]])
        store.gc(Policy(keep_last=1), grace=0)
        assert payloads_of(store, "exp", 0) == [noise(5_000, "going on")]
        writer.finish(complete=False)
        store.gc(Policy(keep_last=1), grace=0)
        assert payloads_of(store, "exp", 0) == [BlobNotFound]


def test_an_unfinished_run_is_a_root_after_its_process_died(path):
    with Store.open(path) as store:
        add_run(store, "exp", [[noise(5_000, "complete")]])
        add_run(store, "exp", [[noise(5_000, "crashed")]], finish=False)
    with Store.open(path) as store:  # which also ended the lease of the run
        store.gc(Policy(keep_last=1), grace=0)
        assert payloads_of(store, "exp", 1) == [noise(5_000, "crashed")]
        store.gc(Policy(keep_last=1), grace=0, now=time.time() + 40 * 86400)
        assert payloads_of(store, "exp", 1) == [BlobNotFound]


def test_a_rerun_with_other_bytes_leaves_the_old_run_as_it_was(path):
    with Store.open(path) as store:
        old = make_record(store, "cell", [noise(5_000, "old")])
        store.put_record(old)
        add_run(store, "exp", [old])
        new = make_record(store, "cell", [noise(5_000, "new")])
        store.put_record(new)
        add_run(store, "exp", [new])
        store.gc(Policy(keep_last=2), grace=0)
        assert payloads_of(store, "exp", 0) == [noise(5_000, "old")]
        assert payloads_of(store, "exp", 1) == [noise(5_000, "new")]
        assert store.record(old.signature, 0) == new


def test_readers_never_see_wrong_bytes_while_packs_move_beneath_them(path):
    wrong, reads, stop = [], [0], threading.Event()
    with Store.open(path) as store:
        kept = {store.put(noise(size, size)): size for size in range(1_000, 200_000, 9_000)}
        for number, digest in enumerate(kept):
            store.pin(f"p{number}", digest)

        def read():
            while not stop.is_set():
                for digest, size in kept.items():
                    if store.get(digest) != noise(size, size):
                        wrong.append(digest)
                    reads[0] += 1

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for turn in range(8):
            store.put(noise(400_000, ("garbage", turn)))
            assert store.gc(grace=0, waste=0.0).problems == []
        stop.set()
        for reader in readers:
            reader.join()
        assert not wrong
        assert reads[0] > 50


def test_an_open_blob_can_be_read_to_its_end(path):
    with Store.open(path) as store, Store.open(path) as collector:
        with store.open_blob(store.put(LARGE)) as file:
            head = file.read(10)
            collector.gc(grace=0)
            collector.gc(grace=0)
            assert head + file.read() == LARGE
        collector.gc(grace=0)
        assert store.stats()[:2] == (0, 0)


def test_a_rebuild_brings_nothing_back(path):
    with Store.open(path) as store:
        for version in range(4):
            add_run(store, "exp", [[noise(50_000, version), b"small %d" % version]])
        store.put_record(make_record(store, "of no run", [b"nobody's"]))
        store.pin("gone", store.put(b"unpinned"))
        store.unpin("gone")
        store.remove_run("exp", 0)
        store.gc(Policy(keep_last=1), grace=0, waste=0.9)  # the packs keep their garbage
        before = look(store)
    assert rebuild_index(path).damage == []
    with Store.open(path) as store:
        assert look(store) == before
        store.gc(Policy(keep_last=1), grace=0)
        assert look(store) == before
        assert store.stats().records == 3


def look(store):
    runs = [(run.name, run.level, run.cells) for run in store.runs()]
    records = list(store.records_of_base(Digest.of(b"base")))
    return runs, store.pins(), records, payloads_of(store, "exp")


@pytest.mark.parametrize("moment", ["sweep chunks", "look into packs", "write packs anew"])
def test_a_pack_that_is_continued_meanwhile_is_not_taken(path, moment):
    """Its writer is gone when the plan is made; another one wants to continue it, and ends."""
    late = []
    with Store.open(path) as store:
        store.put(noise(50_000, "garbage"))
        store.pin("kept", store.put(noise(20_000, "kept")))

    def progress(now):
        if now.phase == moment and not late:
            with Store.open(path) as other:
                late.append(other.put(noise(30_000, "late")))
                other.pin("late", late[0])

    with Store.open(path) as store:
        assert len(list(path.glob("packs/*/*"))) == 1
        assert store.gc(grace=0, progress=progress).problems == []
        assert store.get(late[0]) == noise(30_000, "late")
        assert store.get(Digest.of(noise(20_000, "kept"))) == noise(20_000, "kept")
        assert not store.verify().findings


def test_a_record_that_is_pinned_once_nothing_leads_to_it_any_more_stays(path, monkeypatch):
    """Alone, by another thread of this process: what leads to many records goes before their rows.
    So all of that is there again, and its cell hits."""
    monkeypatch.setattr(bulk, "_ANEW_MOST", -1)  # as if there were too many to do it at once
    monkeypatch.setattr(sweep, "_ALONE", 6)
    with Store.open(path) as store:
        late = make_record(store, "pinned late", [b"its artifact"])
        record = store.put_record(late)
        others = [make_record(store, f"other {n}", [b"%d" % n]) for n in range(3)]
        for other in others:
            store.put_record(other)
        seen = []

        def step(name):
            if name == "remove records" and not store.pins():
                seen.append(store.record(late.signature, 0))
                store.pin("late", record)

        Collector(store._session, step=step).collect(
            settings(Policy(), 0, None, 0.2), alone=True, details=False
        )
        assert seen == [None]  # nothing led to it at that moment
        assert store.stats().records == 1
    for rebuilt in (False, True):
        if rebuilt:
            assert rebuild_index(path).damage == []
        with Store.open(path) as store:
            found = store.record(late.signature, 0)
            assert found is not None
            assert found == store.record_by_digest(record)
            assert [each.digest for each in store.records_of_base(late.base)] == [record]
            assert store.next_reads(late.start) == ("ctx:name",)
            assert store.next_reads(late.signature) == ("",)
            assert store.get_object(found.artifacts[0].ref) == b"its artifact"
            assert store.record(others[0].signature, 0) is None
            assert store.verify().findings == []


def test_a_cell_that_was_computed_again_keeps_its_record_when_the_old_one_comes_back(
    path, monkeypatch
):
    monkeypatch.setattr(bulk, "_ANEW_MOST", -1)
    monkeypatch.setattr(sweep, "_ALONE", 6)
    with Store.open(path) as store:
        old = make_record(store, "cell", [b"old"])
        for other in range(3):
            store.put_record(make_record(store, f"other {other}", [b"%d" % other]))
        store.put_record(old)
        new = make_record(store, "cell", [b"new"])

        def step(name):
            if name == "remove records" and not store.pins():
                store.pin("old", old.digest)
                store.put_record(new)

        Collector(store._session, step=step).collect(
            settings(Policy(), 0, None, 0.2), alone=True, details=False
        )
        assert store.record(old.signature, 0) == new
        assert store.record_by_digest(old.digest) == old
        assert store.get_object(new.artifacts[0].ref) == b"new"
        assert store.get_object(old.artifacts[0].ref) == b"old"
        assert store.verify().findings == []
