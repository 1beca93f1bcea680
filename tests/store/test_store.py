import io
import os
import random
import threading

import numpy as np
import pytest

from druse_store import BlobRef, Digest, Read, RunName, Store, extend
from druse_store.errors import (
    AmbiguousPrefix,
    BlobNotFound,
    BlobVanished,
    InvalidDigest,
    InvalidInput,
    InvalidName,
    InvalidRecord,
    NotFound,
    PinNotFound,
    ReadOnlyStore,
    RunNotFound,
    StorageFailed,
    StoreClosed,
    StoreNotFound,
)

SIZES = [0, 1, 100, 262144, 262145, 1_000_000, 5_000_000]


def content(size, seed=0):
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("size", SIZES)
def test_what_was_put_is_got_back(store, size):
    data = content(size)
    digest = store.put(data)
    assert digest == Digest.of(data)
    assert digest in store
    assert store.get(digest) == data


@pytest.mark.parametrize("size", SIZES)
def test_a_stream_gives_the_digest_of_its_bytes(store, size):
    data = content(size)
    digest = store.put(io.BytesIO(data))
    assert digest == Digest.of(data)
    assert store.get(digest) == data


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_can_be_put(store, kind):
    assert store.get(store.put(kind(b"hello"))) == b"hello"


def test_an_array_can_be_put_as_its_bytes(store):
    array = np.arange(100_000, dtype="f8")
    assert store.get(store.put(array)) == array.tobytes()


@pytest.mark.parametrize("thing", ["text", 3, None, memoryview(b"abcd")[::2]])
def test_what_is_no_contiguous_buffer_is_refused(store, thing):
    with pytest.raises(InvalidInput):
        store.put(thing)


@pytest.mark.parametrize("size", SIZES)
def test_everything_is_there_after_opening_again(path, size):
    data = content(size)
    with Store.open(path) as store:
        digest = store.put(data)
    with Store.open(path, create=False) as store:
        assert store.get(digest) == data


def test_equal_blobs_are_stored_once(store):
    data = content(3_000_000)
    store.put(data)
    before = store.stats()
    store.put(data)
    store.put(io.BytesIO(data))
    after = store.stats()
    assert (after.chunks, after.blobs, after.pack_bytes) == (
        before.chunks,
        before.blobs,
        before.pack_bytes,
    )


def test_an_edit_in_a_large_blob_stores_little_more(store):
    data = content(8_000_000)
    store.put(data)
    before = store.stats().pack_bytes
    edited = data[:4_000_000] + b"inserted" + data[4_000_000:]
    assert store.get(store.put(edited)) == edited
    assert store.stats().pack_bytes - before < 2_000_000


def test_a_blob_that_is_not_there_is_not_found(store):
    missing = Digest.of(b"missing")
    assert missing not in store
    assert "text" not in store
    for read in (store.get, store.open_blob):
        with pytest.raises(BlobNotFound, match=str(missing)):
            read(missing)


def test_a_blob_is_a_seekable_file(store):
    data = content(3_000_000)
    with store.open_blob(store.put(data)) as file:
        assert file.read(10) == data[:10]
        file.seek(2_000_000)
        assert file.read(100) == data[2_000_000:2_000_100]
        file.seek(-5, io.SEEK_END)
        assert file.read() == data[-5:]
        assert file.read() == b""
        file.seek(0)
        assert file.read() == data


def test_a_chunk_list_of_another_blob_is_refused(store):
    from druse_store.errors import BlobDamaged

    refs = [store.put_object(content(1_500_000, seed)).root for seed in (1, 2)]
    forged = BlobRef(refs[0].digest, refs[0].size, refs[1].chunks)
    with pytest.raises(BlobDamaged):
        store.open_blob(forged)


def test_files_go_in_and_out(store, tmp_path):
    data = content(2_000_000)
    (tmp_path / "in").write_bytes(data)
    digest = store.put_path(tmp_path / "in")
    store.get_to(digest, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out", "store"]


def test_objects_come_back_equal(store):
    array = np.random.default_rng(0).normal(size=(300, 400))
    value = {"array": array, "list": [1, 2.5, "x", None], "same": array}
    loaded = store.get_object(store.put_object(value))
    assert np.array_equal(loaded["array"], array)
    assert loaded["list"] == value["list"]


def test_a_prefix_names_the_one_blob_or_record_that_begins_so(store, make_record):
    digest = store.put(b"a")
    record = store.put_record(make_record())
    assert store.resolve(str(digest)[:6]) == digest
    assert store.resolve(str(record).upper()) == record
    with pytest.raises(NotFound):
        store.resolve("0123456789")
    with pytest.raises(InvalidDigest):
        store.resolve("ab")


def test_a_prefix_of_several_is_refused(store):
    seen = {}
    with store.batch():
        for number in range(20_000):
            digest = store.put(b"%d" % number)
            other = seen.setdefault(str(digest)[:6], digest)
            if other != digest:
                break
    with pytest.raises(AmbiguousPrefix):
        store.resolve(str(digest)[:6])


# --- records -----------------------------------------------------------------------------------


def test_a_record_is_found_by_its_key_its_digest_and_its_base(store, make_record):
    records = [make_record(1, replicate=r) for r in (2, 0, 1)] + [make_record(2)]
    for record in records:
        assert store.put_record(record) == record.digest
    for record in records:
        assert store.record(record.signature, record.replicate) == record
        assert store.record_by_digest(record.digest) == record
    assert [r.replicate for r in store.records(records[0].signature)] == [0, 1, 2]
    assert {r.digest for r in store.records_of_base(records[0].base)} == {r.digest for r in records}
    assert store.record(records[0].signature, 3) is None
    assert store.record_by_digest(Digest.of(b"")) is None


def test_a_new_record_becomes_the_current_one_and_the_old_one_stays(store, make_record):
    old, new = make_record(metrics={"a": 1}), make_record(metrics={"a": 2})
    store.put_record(old)
    store.put_record(new)
    assert store.record(old.signature, 0) == new
    assert store.record_by_digest(old.digest) == old
    assert list(store.records_of_base(old.base)) == [new]


def test_the_reads_of_ok_records_can_be_followed(store, make_record):
    one = Digest.of(b"1")
    short = make_record(reads=(Read("ctx:a", one),))
    long = make_record(reads=(Read("ctx:a", one), Read("ctx:b", one)))
    failed = make_record(reads=(Read("ctx:z", one),), status="failed")
    for record in (short, long, failed):
        store.put_record(record)
    start = short.start
    assert store.next_reads(start) == ("ctx:a",)
    assert set(store.next_reads(extend(start, "ctx:a", one))) == {"", "ctx:b"}
    assert store.next_reads(long.signature) == ("",)
    assert store.next_reads(failed.signature) == ()


def test_a_record_whose_reads_lead_elsewhere_is_refused(store, make_record):
    with pytest.raises(InvalidRecord, match="signature"):
        store.put_record(make_record(signature=Digest.of(b"else")))


def test_a_record_without_its_blobs_is_refused(store, make_record):
    with pytest.raises(BlobVanished):
        store.put_record(make_record(blob=Digest.of(b"nowhere")))
    with pytest.raises(BlobVanished):
        store.put_record(make_record(manifest=Digest.of(b"nowhere")))
    with pytest.raises(BlobVanished):
        store.put_record(make_record(needs=(Digest.of(b"nowhere"),)))


def test_a_removed_record_is_gone_and_its_key_free(store, make_record):
    record = make_record()
    store.put_record(record)
    store.remove_record(record.digest)
    assert store.record(record.signature, 0) is None
    assert list(store.records_of_base(record.base)) == []
    assert store.record_by_digest(record.digest) is None


# --- runs and pins -----------------------------------------------------------------------------


def test_versions_of_an_experiment_count_from_0(store):
    assert [store.begin_run("a").version for _ in range(3)] == [0, 1, 2]
    assert store.begin_run("b").version == 0
    assert [run.name for run in store.runs()] == ["a/v0", "a/v1", "a/v2", "b/v0"]
    assert [run.name for run in store.runs("b")] == ["b/v0"]
    assert store.experiments() == ["a", "b"]


def test_a_version_can_be_asked_for_and_none_is_given_twice(store, path):
    assert store.begin_run("a", least=3).version == 3
    assert store.begin_run("a", least=2).version == 4
    assert store.begin_run("a", version=1).version == 1
    assert store.begin_run("a", version=1).version == 5, "a run has that one"
    assert store.begin_run("a", version=9).version == 9
    assert store.begin_run("a").version == 10
    for wrong in (-1, 10**10, True, "1"):
        with pytest.raises(InvalidInput):
            store.begin_run("a", version=wrong)
    store.close()
    with Store.open(path) as again:
        assert [run.version for run in again.runs("a")] == [1, 3, 4, 5, 9, 10]
        assert again.begin_run("a").version == 11


def test_a_file_is_stored_as_its_bytes_are(store, tmp_path):
    for size in (0, 10, 5_000_000):
        data = os.urandom(size)
        (tmp_path / "file").write_bytes(data)
        ref = store.put_file(tmp_path / "file")
        assert ref == store.put_object(data)
        assert store.get_object(ref) == data


def test_a_run_holds_its_cells_in_order(store, make_record):
    with store.batch():
        writer = store.begin_run("a", {"note": "x"})
        for number in range(300):
            digest = store.put_record(make_record(number, replicate=number))
            writer.add("base", number, digest, "run")
            if number == 100:
                store.flush()
        run = writer.finish({"seconds": 1.5}, complete=True)
    assert run.complete
    assert run.finished >= run.started > 0
    assert run.info == {"note": "x", "seconds": 1.5}
    assert run.count == 300
    assert [cell.replicate for cell in run.cells] == list(range(300))
    assert all(store.record_by_digest(cell.record) for cell in run.cells)


def test_a_run_goes_on_until_it_is_finished(store, make_record):
    writer = store.begin_run("a")
    writer.add("base", 0, store.put_record(make_record()), "run")
    run = store.run("a")
    assert (run.finished, run.complete, run.count) == (0, False, 1)
    writer.finish(complete=False)
    with pytest.raises(StoreClosed):
        writer.add("base", 1, make_record().digest, "run")


def test_a_run_never_names_a_record_that_is_not_there(store):
    writer = store.begin_run("a")
    with pytest.raises(BlobVanished, match="a/v0 lacks 1"):
        writer.add("base", 0, Digest.of(b"no record"), "run")
    with pytest.raises(BlobVanished, match="a/v0 lacks 2"), store.batch():
        writer.add("base", 0, Digest.of(b"no record"), "run")
        writer.add("base", 1, Digest.of(b"neither"), "run")
        writer.finish(complete=True)
    assert store.run("a").cells == ()
    assert not store.run("a").complete


def test_an_abandoned_run_is_gone_and_its_version_is_not_used_again(store):
    store.begin_run("a").abandon()
    assert store.run("a") is None
    assert store.begin_run("a").version == 1


def test_a_removed_run_is_gone(store, make_record):
    writer = store.begin_run("a")
    writer.add("base", 0, store.put_record(make_record()), "run")
    run = writer.finish(complete=True)
    store.remove_run("a", 0)
    assert store.run("a", 0) is None
    with pytest.raises(RunNotFound):
        _ = run.cells
    with pytest.raises(RunNotFound):
        store.remove_run("a", 0)


def test_experiments_whose_names_begin_alike_are_kept_apart(store):
    for name in ("a", "ab", "a b", "a\x01"):
        store.begin_run(name)
    assert [run.experiment for run in store.runs("a")] == ["a"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b", "x" * 201, None])
def test_names_that_could_not_be_a_path_are_refused(store, name):
    with pytest.raises(InvalidName):
        store.begin_run(name)


def test_pins_name_runs_and_digests(store):
    run = store.begin_run("a").finish(complete=True)
    digest = store.put(b"x")
    store.pin("paper", run)
    store.pin("data", digest)
    assert store.pins() == {"paper": RunName("a", 0), "data": digest}
    store.pin("paper", digest)
    store.unpin("data")
    assert store.pins() == {"paper": digest}
    with pytest.raises(PinNotFound):
        store.unpin("data")


# --- batches -----------------------------------------------------------------------------------


def test_inside_a_batch_its_own_writes_are_seen(store, make_record):
    with store.batch():
        small, large = store.put(b"small"), store.put(content(1_000_000))
        record = make_record(blob=small)
        store.put_record(record)
        assert small in store
        assert large in store
        assert store.get(small) == b"small"
        assert store.get(large) == content(1_000_000)
        assert store.record(record.signature, 0) == record
        assert store.record_by_digest(record.digest) == record
        assert store.next_reads(record.start) == ("ctx:n",)
        assert list(store.records(record.signature)) == [record]


def test_a_batch_is_committed_at_its_end_and_not_before(path, store):
    with Store.open(path) as other:  # the same environment, another writer
        with store.batch():
            with store.batch():
                digest = store.put(b"x")
            assert digest not in other
        assert digest in other


def test_a_flush_commits_what_a_batch_has_so_far(path, store):
    with Store.open(path) as other, store.batch():
        digest = store.put(b"x")
        store.flush()
        assert digest in other


def test_a_batch_that_ends_with_an_error_keeps_what_was_written(store):
    with pytest.raises(KeyError), store.batch():
        digest = store.put(b"x")
        raise KeyError
    assert store.get(digest) == b"x"


def test_threads_write_and_read_at_once(store, make_record):
    errors = []

    def work(number):
        try:
            for i in range(20):
                digest = store.put(b"%d" % (number % 4 * 100 + i))
                record = make_record(number, replicate=i, blob=digest)
                store.put_record(record)
                assert store.record(record.signature, i) == record
                assert store.get(digest)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert store.stats().records == 160


# --- opening -----------------------------------------------------------------------------------


def test_a_missing_store_is_not_made_where_that_was_not_asked(path):
    with pytest.raises(StoreNotFound):
        Store.open(path, create=False)
    with pytest.raises(StoreNotFound):
        Store.open(path, read_only=True)
    assert not path.exists()


def test_a_store_opened_to_read_refuses_to_write(path, make_record):
    with Store.open(path) as store:
        digest = store.put(b"x")
    with Store.open(path, read_only=True) as store:
        assert store.get(digest) == b"x"
        for write in (
            lambda: store.put(b"y"),
            lambda: store.put_record(make_record()),
            lambda: store.begin_run("a"),
            lambda: store.pin("p", digest),
        ):
            with pytest.raises(ReadOnlyStore):
                write()


def test_a_closed_store_says_so(path):
    store = Store.open(path)
    digest = store.put(b"x")
    store.close()
    store.close()
    uses = (
        lambda: store.put(b"y"),
        lambda: store.get(digest),
        lambda: store.get_to(digest, path / "out"),
        lambda: store.open_blob(digest),
        lambda: digest in store,
    )
    for use in uses:
        with pytest.raises(StoreClosed):
            use()


def test_a_path_that_leads_to_no_file_is_no_question_of_the_disk(store, tmp_path):
    for wrong in (tmp_path, tmp_path / "missing"):
        with pytest.raises(StorageFailed, match=r"Look at the path"):
            store.put_path(wrong)


@pytest.mark.parametrize("left", [".format.1.ab", "..format.1.ab.1.tmp"])
def test_a_creation_that_was_killed_is_taken_up_again(path, left):
    (path / "packs").mkdir(parents=True)
    (path / left).write_bytes(b"half of a form")
    with Store.open(path) as store:
        assert store.get(store.put(b"x")) == b"x"
