import os
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest

from druse_store import Digest, Store, rebuild_index
from druse_store.errors import BlobNotFound, IndexDamaged, ReadOnlyStore, StorageFailed
from support.damage import content, damage, find, flip, packs

SMALL, LARGE, KEPT = content(1_000, 1), content(3_000_000, 2), content(5_000, 3)


@pytest.fixture
def filled(path, make_record):
    """A store with two runs: one cell needs a small blob, one a large one, one another."""
    with Store.open(path) as store:
        refs = [store.put_object(data).root for data in (SMALL, LARGE, KEPT)]
        blobs = [ref.digest for ref in refs]
        records = [make_record(n, blob=ref) for n, ref in enumerate(refs)]
        for version in range(2):
            writer = store.begin_run("exp", {"n": version})
            for record in records:
                writer.add("base", 0, store.put_record(record), "run")
            writer.finish(complete=True)
        store.pin("small", blobs[0])
        store.set_level("exp", 0, "light")
        store.begin_run("gone").abandon()
    return blobs, records


def current(store, records):
    return [store.record(record.signature, 0) is not None for record in records]


def history(store):
    return [(run, run.info, [store.record_by_digest(c.record) for c in run.cells])
            for run in store.runs()]  # fmt: skip


def test_a_sound_store_is_left_as_it_is(path, filled):
    before = packs(path)
    with Store.open(path) as store:
        done = store.repair()
        assert done.clean
        assert done.mended
        assert store.verify().clean
    assert packs(path) == before
    assert list((path / "quarantine").iterdir()) == []


@pytest.mark.parametrize(("number", "data"), [(0, SMALL), (1, LARGE[1_500_000:])])
def test_what_is_lost_is_dropped_so_that_its_cell_runs_again(path, filled, number, data):
    blobs, records = filled
    damage(path, data[:500])
    with Store.open(path) as store:
        before = history(store)
        done = store.repair()
        assert not done.clean
        assert not done.mended
        assert blobs[number] in done.lost
        assert done.retired == [records[number].digest]
        assert done.pins == (["small"] if number == 0 else [])
        assert store.verify().clean
        assert current(store, records) == [n != number for n in range(3)]
        assert history(store) == before  # runs show what they were
        with pytest.raises(BlobNotFound):
            store.get(blobs[number])
        assert store.get(blobs[2]) == KEPT
        assert store.repair().clean


def test_what_was_dropped_is_stored_again_by_the_cell_that_runs_again(path, filled):
    blobs, records = filled
    damage(path, LARGE[1_500_000:1_500_500])
    with Store.open(path) as store:
        store.repair()
        before = store.stats().pack_bytes
        assert store.put(LARGE) == blobs[1]
        assert store.stats().pack_bytes - before < 1_500_000  # its good chunks were kept
        store.put_record(records[1])
        assert current(store, records) == [True] * 3
        assert store.get(blobs[1]) == LARGE


def test_a_rebuild_after_a_repair_brings_back_what_the_repair_left_and_nothing_else(path, filled):
    blobs, records = filled
    damage(path, LARGE[1_500_000:1_500_500])
    damage(path, SMALL)
    with Store.open(path) as store:
        store.repair()
        before = history(store), store.pins(), current(store, records)
    shutil.rmtree(path / "index")
    rebuild_index(path)
    with Store.open(path) as store:
        assert (history(store), store.pins(), current(store, records)) == before
        assert [blob in store for blob in blobs] == [False, False, True]
        assert store.verify().clean


def test_damaged_files_are_kept_in_quarantine(path, filled):
    damage(path, SMALL)
    (pack,) = packs(path)
    damaged = pack.read_bytes()
    with Store.open(path) as store:
        done = store.repair()
    assert [file.read_bytes() for file in done.quarantined] == [damaged]
    assert done.quarantined[0].parent == path / "quarantine"
    assert pack not in packs(path)


def test_what_can_be_fetched_is_not_lost(path, filled):
    blobs, records = filled
    damage(path, SMALL)
    damage(path, LARGE[1_500_000:1_500_500])
    with Store.open(path) as store:
        chunks, at = {blobs[0]: SMALL}, 0
        for digest, size in store._session.reader.outline(blobs[1]).chunks:
            chunks[digest] = LARGE[at : at + size]
            at += size
        asked = []

        def fetch(wanted):
            asked.extend(wanted)
            return [(digest, chunks[digest]) for digest in wanted]

        done = store.repair(fetch=fetch)
        assert (done.fetched, done.lost, done.retired) == (2, [], [])
        assert done.mended
        assert len(asked) == 2
        assert store.verify().clean
        assert store.get(blobs[0]) == SMALL
        assert store.get(blobs[1]) == LARGE
        assert current(store, records) == [True] * 3


def test_what_a_remote_gives_is_not_believed(path, filled):
    blobs, _ = filled
    damage(path, SMALL)

    def fetch(wanted):
        yield wanted[0], b"something else"
        yield Digest.of(b"unasked"), b"unasked"

    with Store.open(path) as store:
        done = store.repair(fetch=fetch)
        assert done.lost == [blobs[0]]
        assert Digest.of(b"unasked") not in store
        assert store.verify().clean


def test_a_remote_that_fails_is_said_and_the_repair_goes_on(path, filled):
    damage(path, SMALL)

    def fetch(wanted):
        raise StorageFailed("the remote is down")

    with Store.open(path) as store:
        done = store.repair(fetch=fetch)
        assert "the remote is down" in done.left[0]
        assert len(done.lost) == 1
        assert store.verify().clean


def test_a_copy_in_another_place_heals(path):
    with Store.open(path) as store:
        digest = store.put(SMALL)
        undo = damage(path, SMALL)
        with pytest.raises(Exception, match="damaged"):
            store.get(digest)
        store.put(SMALL)  # a second copy, which the index has from now on
    damage(path, SMALL)
    undo()
    with Store.open(path) as store:
        done = store.repair()
        assert (done.healed, done.lost) == (1, [])
        assert store.get(digest) == SMALL
        assert store.verify().clean


def test_a_damaged_header_costs_nothing_that_is_good_behind_it(path, filled):
    blobs, _ = filled
    for data in (SMALL, KEPT):
        pack, at = find(path, data)
        flip(pack, at - 20)
    with Store.open(path) as store:
        done = store.repair()
        assert (done.healed, done.lost) == (2, [])
        assert store.verify().clean
        assert [store.get(blob) for blob in blobs] == [SMALL, LARGE, KEPT]


def test_a_missing_pack_is_dropped_with_all_that_was_in_it(path, filled):
    _, records = filled
    for pack in packs(path):
        pack.unlink()
    with Store.open(path) as store:
        done = store.repair()
        assert set(done.retired) == {record.digest for record in records}
        assert store.verify().clean
        assert store.stats().packs == 0
        store.put(SMALL)


def test_a_chunk_list_of_another_blob_is_dropped(path):
    """Every chunk checks, the whole does not: HAZARDS 1."""
    with Store.open(path) as store:
        one, two = store.put(LARGE), store.put(LARGE[::-1])
        session = store._session
        from druse_store.index.tables import Tables

        with session.write_lock.held(), Tables(session.environment) as tables:
            tables.put_blob(one, tables.blob(one)._replace(chunks=tables.blob(two).chunks))
            tables.commit()
        done = store.repair()
        assert one in done.lost
        assert store.verify().clean
        assert store.get(two) == LARGE[::-1]
        assert store.get(store.put(LARGE)) == LARGE


def test_a_raw_array_can_be_mapped_where_it_was_moved(path):
    array = np.frombuffer(content(2_000_000), "u8")
    with Store.open(path) as store:
        ref = store.put_object(array)
        store.put(SMALL)
    damage(path, SMALL)
    with Store.open(path) as store:
        assert len(store.repair().lost) == 1
        found = store.get_object(ref)
        assert np.array_equal(found, array)
        assert not found.flags.owndata
        assert not found.flags.writeable
        assert store.verify().clean


# --- the log -----------------------------------------------------------------------------------


def test_a_damaged_log_is_written_anew(path, filled, make_record):
    _, records = filled
    with Store.open(path) as store:
        store.put_record(make_record(0, blob=filled[0][0], metrics={"again": 1}))
        before = history(store), store.pins(), current(store, records)
    chance = random.Random(2)
    for first in (True, False, False, False):
        segment = chance.choice(sorted((path / "log").iterdir()))
        flip(segment, 0 if first else chance.randrange(segment.stat().st_size))
        with Store.open(path) as store:
            done = store.repair()
            assert done.log_rewritten
            assert done.mended
            assert store.verify().clean
        rebuild_index(path)
        with Store.open(path) as store:
            assert (history(store), store.pins(), current(store, records)) == before
            again = store.begin_run("gone")
            assert again.version > 0
            again.abandon()
            store.unpin("small")
            store.pin("small", filled[0][0])
            assert store.verify().clean


def test_a_missing_log_is_written_anew(path, filled):
    for segment in (path / "log").iterdir():
        segment.unlink()
    with Store.open(path) as store:
        before = history(store)
        done = store.repair()
        assert done.log_rewritten
        assert done.mended
        assert store.verify().clean
    rebuild_index(path)
    with Store.open(path) as store:
        assert history(store) == before


# --- what stands in its way --------------------------------------------------------------------


def test_a_damaged_index_has_to_be_rebuilt_first(path, filled):
    blobs, _ = filled
    data = path / "index" / "data.mdb"
    content_ = data.read_bytes()
    at = content_.index(blobs[2]) + 40
    while at >= 0:
        flip(data, at)
        at = content_.find(blobs[2], at)
        at = at + 40 if at >= 0 else -1
    with Store.open(path) as store, pytest.raises(IndexDamaged, match="rebuild-index"):
        store.repair()
    rebuild_index(path)
    with Store.open(path) as store:
        assert store.repair().clean


def test_a_store_that_was_opened_to_read_is_not_repaired(path, filled):
    with Store.open(path, read_only=True) as store, pytest.raises(ReadOnlyStore):
        store.repair()


def test_a_pack_that_somebody_writes_to_is_left_until_later(path):
    program = """if True:
        import sys, time
        from druse_store import Store
        store = Store.open(sys.argv[1])
        store.put(b"mine")
        print("ready", flush=True)
        sys.stdin.read()
    """
    with Store.open(path) as store:
        lost = store.put(SMALL)
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    damage(path, SMALL)
    with Store.open(path) as store:
        done = store.repair()
        assert done.lost == [lost]
        assert "written to" in done.left[0]
        process.communicate(timeout=20)
        assert store.repair().left == []
        assert store.verify().clean
        assert store.get(Digest.of(b"mine")) == b"mine"


def test_a_repair_that_is_killed_at_any_commit_can_be_done_again(path, filled, tmp_path):
    blobs, records = filled
    damage(path, SMALL)
    damage(path, LARGE[1_500_000:1_500_500])
    (segment,) = (path / "log").iterdir()
    flip(segment, 200)
    copies = 0
    while True:
        copy = tmp_path / f"copy{copies}"
        shutil.copytree(path, copy)
        died = die_at_commit(copy, copies)
        with Store.open(copy) as store:
            done = store.repair()
            assert done.left == []
            assert store.verify().clean
            assert current(store, records) == [False, False, True]
            assert store.get(blobs[2]) == KEPT
            assert len(history(store)[0][2]) == 3
        shutil.rmtree(copy)
        if not died:
            break
        copies += 1
    assert copies > 5


def die_at_commit(path, number):
    """Whether a repair in a child came to this commit, and died before it."""
    program = """if True:
        import os, sys
        from druse_store import Store
        from druse_store.index.tables import Tables
        left, commit = [int(sys.argv[2])], Tables.commit
        def dying(self):
            if not left[0]:
                os._exit(9)
            left[0] -= 1
            commit(self)
        with Store.open(sys.argv[1]) as store:
            Tables.commit = dying
            store.repair()
    """
    done = subprocess.run([sys.executable, "-c", program, str(path), str(number)], check=False)
    assert done.returncode in (0, 9)
    return done.returncode == 9


def test_a_checkpoint_that_never_came_to_its_commit_is_not_believed_twice(path, filled):
    """It lies in `log/`, whole: the next writer removes it, and a rebuild gives the same."""
    flip(next((path / "log").iterdir()), 200)
    with Store.open(path) as store:
        before = history(store)
    assert die_at_commit(path, 0)
    assert len(list((path / "log").iterdir())) == 2
    with Store.open(path) as store:
        store.pin("later", filled[0][0])
        assert history(store) == before
    assert len(list((path / "log").iterdir())) == 1
    os.sync()


def test_an_array_that_was_mapped_once_is_mapped_again_and_never_a_lost_one(path):
    array = np.frombuffer(content(2_000_000), "u8")
    with Store.open(path) as store:
        ref = store.put_object(array)
        store.put(SMALL)
    damage(path, SMALL)
    with Store.open(path) as store:
        store.repair()  # its pack is sealed now
        for again in (store.get_object(ref), store.get_object(ref)):
            assert np.array_equal(again, array)
            assert not again.flags.owndata
        store.close()
    for pack in packs(path):
        pack.unlink()
    with Store.open(path) as store:
        store.repair()
        with pytest.raises(BlobNotFound):
            store.get_object(ref)
