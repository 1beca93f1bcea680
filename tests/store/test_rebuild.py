import random
import shutil

import pytest

from druse_store import Digest, Store, rebuild_index
from druse_store.errors import StoreBusy


def content(size, seed=0):
    return random.Random(seed).randbytes(size)


def everything(store):
    """All that a store says, to be compared."""
    runs = list(store.runs())
    return {
        "runs": runs,
        "cells": [run.cells for run in runs],
        "pins": store.pins(),
        "records": [r.digest for run in runs for r in store.records_of_base(Digest.of(b"base"))],
        "reads": store.next_reads(Digest.of(b"start")),
        "stats": (store.stats().chunks, store.stats().blobs, store.stats().records),
    }


@pytest.fixture
def filled(path, make_record):
    """A store with something of everything, and what was removed again."""
    with Store.open(path) as store:
        small, large_ref = store.put(b"small"), store.put_object(content(2_000_000)).root
        large = large_ref.digest
        for version in range(3):
            writer = store.begin_run("exp", {"n": version})
            for number in range(5):
                blob = small if number else large_ref
                record = make_record(number, replicate=version, blob=blob)
                writer.add("base", number, store.put_record(record), "run")
            run = writer.finish({"done": True}, complete=version != 1)
        store.put_record(make_record(0, replicate=0, metrics={"again": 1}))
        removed = make_record(7)
        store.put_record(removed)
        store.remove_record(removed.digest)
        store.remove_run("exp", 0)
        store.begin_run("gone").abandon()
        store.set_level("exp", 1, "light")
        store.pin("keep", run)
        store.pin("blob", large)
        store.pin("dropped", small)
        store.unpin("dropped")
        before = everything(store)
    return before, small, large


@pytest.mark.parametrize("lost", ["index", "data.mdb", "nothing"])
def test_a_rebuild_restores_all_that_was_there_and_nothing_that_was_removed(path, filled, lost):
    before, small, large = filled
    if lost == "index":
        shutil.rmtree(path / "index")
    elif lost == "data.mdb":
        (path / "index" / "data.mdb").write_bytes(random.Random(1).randbytes(50_000))
    rebuilt = rebuild_index(path)
    assert rebuilt.damage == []
    with Store.open(path) as store:
        assert everything(store) == before
        assert store.get(small) == b"small"
        assert store.get(large) == content(2_000_000)
        assert store.begin_run("gone").version == 1
        assert store.begin_run("exp").version == 3


def test_writing_goes_on_after_a_rebuild_in_the_files_that_are_there(path, filled):
    before, *_ = filled
    rebuild_index(path)
    with Store.open(path) as store:
        digest = store.put(b"after")
        store.pin("after", digest)
        assert store.stats().packs == 1
    assert len(list((path / "log").iterdir())) == 1
    rebuild_index(path)
    with Store.open(path) as store:
        assert store.get(digest) == b"after"
        assert store.pins() == before["pins"] | {"after": digest}


def test_a_store_that_is_open_is_not_rebuilt(path):
    with Store.open(path) as store:
        digest = store.put(b"x")
        with pytest.raises(StoreBusy):
            rebuild_index(path)
        assert store.get(digest) == b"x"


def test_the_old_index_is_kept_aside(path, filled):
    rebuild_index(path)
    assert len(list((path / "quarantine").iterdir())) == 1


def test_a_torn_end_of_a_pack_loses_only_what_was_torn(path):
    with Store.open(path) as store:
        first, second = store.put(content(1000, 1)), store.put(content(1000, 2))
    (pack,) = (path / "packs").rglob("*.pack")
    with pack.open("r+b") as file:
        file.truncate(pack.stat().st_size - 1)
    rebuilt = rebuild_index(path)
    assert len(rebuilt.damage) == 1
    with Store.open(path) as store:
        assert store.get(first) == content(1000, 1)
        assert second not in store
        assert store.put(content(1000, 2)) == second
        assert store.get(second) == content(1000, 2)


def test_damage_in_the_middle_of_a_pack_loses_only_the_frames_that_it_hit(path):
    with Store.open(path) as store:
        digests = [store.put(content(1000, seed)) for seed in range(5)]
    (pack,) = (path / "packs").rglob("*.pack")
    data = bytearray(pack.read_bytes())
    at = data.index(digests[2])  # its frame's header
    data[at] ^= 1
    pack.write_bytes(data)
    rebuilt = rebuild_index(path)
    assert len(rebuilt.damage) == 1
    with Store.open(path) as store:
        assert [d in store for d in digests] == [True, True, False, True, True]
        store.put(b"more")
        assert store.stats().packs == 2  # the damaged one is not continued
    assert pack.read_bytes() == data


def test_a_blob_that_lacks_a_chunk_is_not_known_after_a_rebuild(path):
    with Store.open(path) as store:
        large = store.put(content(2_000_000))
        chunk = store._session.reader.outline(large).chunks[3][0]
    (pack,) = (path / "packs").rglob("*.pack")
    data = bytearray(pack.read_bytes())
    data[data.index(content(2_000_000)[1_000_000:1_000_100])] ^= 1
    pack.write_bytes(data)
    rebuild_index(path)
    with Store.open(path) as store:
        assert large not in store
        assert store.put(content(2_000_000)) == large
        assert store.get(large) == content(2_000_000)
        assert chunk in store


def test_a_file_that_a_crash_left_empty_is_put_away_by_a_rebuild(path, filled):
    before, *_ = filled
    (path / "packs" / "ab").mkdir(exist_ok=True)
    (path / "packs" / "ab" / "ab00000000000000.pack").touch()
    (path / "log" / "cd00000000000000.log").write_bytes(b"half a header")
    rebuilt = rebuild_index(path)
    assert rebuilt.damage == []
    with Store.open(path) as store:
        assert everything(store) == before
        assert store.verify().clean
