"""Small blobs: encoded in groups, while more come in."""

import errno
import os
import threading

import pytest

from druse_store import Digest, Store, codec, parallel, small
from druse_store.errors import DiskFull, StorageFailed
from support.damage import content

GROUP = 4_000


@pytest.fixture(autouse=True)
def small_groups(monkeypatch):
    monkeypatch.setattr(small, "_GROUP", GROUP)


def blobs(count, seed=0):
    return [b"result %d of many, " % i * (i % 60) + content(i % 50, seed) for i in range(count)]


def test_all_of_a_batch_is_there_at_its_end(path):
    data = [*blobs(500), b"", b"x", content(codec.SMALL), content(codec.SMALL + 1), *blobs(20)]
    with Store.open(path) as store:
        with store.batch():
            digests = [store.put(item) for item in data]
        assert digests == [Digest.of(item) for item in data]
        assert [store.get(digest) for digest in digests] == data
        assert store.stats().chunks == len(set(data))
    with Store.open(path) as store:
        assert [store.get(digest) for digest in digests] == data
        assert store.verify().clean


def test_what_waits_to_be_encoded_is_known_and_can_be_read(path):
    with Store.open(path) as store, store.batch():
        for item in blobs(200):
            digest = store.put(item)
            assert digest in store
            assert store.get(digest) == item
            assert store.put(item) == digest
    with Store.open(path) as store:
        assert store.stats().chunks == len(set(blobs(200)))


def test_a_buffer_may_change_once_it_was_put(path):
    buffer = bytearray(b"before " * 100)
    before = bytes(buffer)
    with Store.open(path) as store:
        with store.batch():
            digest = store.put(buffer)
            buffer[:] = b"after" * 140
        assert store.get(digest) == before


def test_records_may_name_what_still_waits(path, make_record):
    with Store.open(path) as store:
        with store.batch():
            for number in range(100):
                store.put_record(make_record(number, blob=store.put(b"artifact %d" % number)))
        assert store.stats().records == 100
        assert store.verify().clean


@pytest.mark.parametrize("level", ["fast", "balanced", "small"])
def test_many_are_encoded_as_each_would_be(level):
    data = [item for item in blobs(300) if item] + [content(n * 50 + 1) for n in range(100)]
    together = codec.encode_small(data, level)
    for item, (code, stored) in zip(data, together, strict=True):
        alone_code, alone = codec.encode(item, level=level)
        assert (code, bytes(stored)) == (alone_code, bytes(alone))


def test_threads_that_are_busy_elsewhere_are_not_waited_for(path):
    go_on = threading.Event()
    busy = [parallel.pool().submit(go_on.wait, 10) for _ in range(parallel.cores())]
    try:
        with Store.open(path) as store:
            with store.batch():
                digests = [store.put(item) for item in blobs(300)]
            assert [store.get(digest) for digest in digests] == blobs(300)
        assert not busy[0].done()
    finally:
        go_on.set()


@pytest.mark.parametrize("bad", [1, 2, 3])
def test_a_full_disk_fails_the_batch_and_the_next_one_works(path, monkeypatch, bad):
    """Nothing is committed of what could not be written, and no record that names it."""
    with Store.open(path) as store:
        store.put(b"before")
        calls = [0]
        original = os.pwrite

        def pwrite(fd, data, offset):
            calls[0] += 1
            if calls[0] >= bad:
                raise OSError(errno.ENOSPC, "No space left on device")
            return original(fd, data, offset)

        data = [content(3_000, number) for number in range(1_200)]
        with pytest.raises((DiskFull, StorageFailed)), store.batch():
            monkeypatch.setattr(os, "pwrite", pwrite)
            for item in data:
                store.put(item)
        monkeypatch.undo()
        assert all(store.get(d) == i for i in data if (d := Digest.of(i)) in store)
        with store.batch():
            digests = [store.put(item) for item in data]
        assert [store.get(digest) for digest in digests] == data
        assert store.verify().clean


def test_threads_of_one_batch_share_groups(path):
    errors = []

    def put(number):
        try:
            for item in blobs(300, number % 3):
                assert store.get(store.put(item)) == item or number == 3
        except BaseException as error:
            errors.append(error)

    with Store.open(path) as store:
        with store.batch():
            threads = [threading.Thread(target=put, args=(n,)) for n in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert errors == []
        assert store.verify().clean
        assert store.stats().chunks == len({item for n in range(3) for item in blobs(300, n)})
