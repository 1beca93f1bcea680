"""Whole blobs, decoded in place: right, or an error, wherever the damage is."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest

from druse_store import Store, early, memory, parallel
from druse_store.chunker import MAX
from druse_store.early import EarlySync
from druse_store.errors import BlobDamaged, Damaged, DiskFull, StorageFailed
from support.damage import flip, packs

SIZE = 9 << 20  # bytes; more than memory of small pages, several groups


@pytest.fixture(params=["float64", "noise", "text"])
def data(request):
    rng = np.random.default_rng(3)
    if request.param == "float64":
        return np.cumsum(rng.normal(size=SIZE // 8)).tobytes() + b"tail"
    if request.param == "noise":
        return rng.bytes(SIZE)
    return b"".join(b"%d,%d\n" % (i, i * i) for i in range(SIZE // 12))


def test_a_blob_comes_back_into_memory_and_into_a_file(path, tmp_path, data):
    with Store.open(path) as store:
        digest = store.put(data)
        assert store.get(digest) == data
        store.get_to(digest, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == data


def test_without_numpy_too(path, tmp_path, data):
    with Store.open(path) as store:
        digest = store.put(data)
    (tmp_path / "data").write_bytes(data)
    program = """
import sys
from druse_store import Digest, Store
path, digest, source = sys.argv[1:]
data = open(source, "rb").read()
with Store.open(path) as store:
    assert store.get(Digest.from_hex(digest)) == data
    assert store.put(data[1:]) in store and store.get(store.put(data[1:])) == data[1:]
    assert "numpy" not in sys.modules
"""
    arguments = [str(path), str(digest), str(tmp_path / "data")]
    subprocess.run([sys.executable, "-c", program, *arguments], check=True)


def test_damage_anywhere_is_an_error_and_never_a_file(path, tmp_path, data):
    with Store.open(path) as store:
        digest = store.put(data)
    (pack,) = packs(path)
    size = pack.stat().st_size
    for part in range(8):
        at = 2000 + part * (size - 4000) // 8
        flip(pack, at)
        with Store.open(path) as store:
            with pytest.raises(Damaged):
                store.get(digest)
            with pytest.raises(Damaged):
                store.get_to(digest, tmp_path / "out")
            assert list(tmp_path.glob("*out*")) == []
        flip(pack, at)
    with Store.open(path) as store:
        assert store.get(digest) == data


def test_a_chunk_list_that_leads_to_other_chunks_is_an_error(path, tmp_path, data):
    """Each chunk of it checks."""
    with Store.open(path) as store:
        digest = store.put(data)
        reader = store._session.reader
        outline = reader.outline(digest)
        chunks = list(outline.chunks)
        chunks[1], chunks[2] = chunks[2], chunks[1]
        wrong = outline._replace(chunks=tuple(chunks))
        reader.outline = lambda _: wrong
        with pytest.raises(BlobDamaged, match="the whole does not"):
            store.get(digest)
        with pytest.raises(BlobDamaged, match="the whole does not"):
            store.get_to(digest, tmp_path / "out")
        assert list(tmp_path.glob("*out*")) == []


def test_a_file_that_cannot_be_written_to_the_end_says_so(path, tmp_path, data, monkeypatch):
    with Store.open(path) as store:
        digest = store.put(data)

        def full(*_):
            raise OSError(errno.ENOSPC, "no space")

        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(DiskFull):
            store.get_to(digest, tmp_path / "out")
        monkeypatch.undo()
        assert list(tmp_path.glob("*out*")) == []
        store.get_to(digest, tmp_path / "out")


def test_a_write_back_that_failed_early_is_not_forgotten(path, tmp_path, data, monkeypatch):
    """The kernel tells of it once, and not to the sync at the end."""
    with Store.open(path) as store:
        digest = store.put(data)

        def lost(_):
            raise OSError(errno.EIO, "lost")

        monkeypatch.setattr(early, "_EVERY", 1)
        monkeypatch.setattr(os, "fdatasync", lost)
        with pytest.raises(StorageFailed, match="out"):
            store.get_to(digest, tmp_path / "out")
        assert list(tmp_path.glob("*out*")) == []


def test_writable_arrays_are_private_and_others_cannot_be_written_to(path):
    array = np.cumsum(np.random.default_rng(1).normal(size=SIZE // 8))
    with Store.open(path) as store:
        ref = store.put_object(array)
        pickled = store.put_object({1: array, "x": {array.sum(), None}})
        mine, other = (store.get_object(ref, writable=True) for _ in range(2))
        mine[:] = 0
        assert (other == array).all()
        assert not store.get_object(ref).flags.writeable
        assert not store.get_object(pickled)[1].flags.writeable
        again = store.get_object(pickled, writable=True)[1]
        again[0] = 7
        assert (store.get_object(pickled)[1] == array).all()


def test_rooms_are_used_again_and_large_ones_are_not_kept():
    room = memory.take(MAX)
    memory.give_back(room)
    assert memory.take(2 * MAX) is room
    large = memory.take(len(room) + 1)
    memory.give_back(large)
    assert memory.take(1) is not large


def test_an_early_sync_keeps_the_first_error(tmp_path):
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    sync = EarlySync(fd)
    os.close(fd)
    sync.written(1)  # too little to begin
    sync.wait()
    sync.check()
    sync.begin(1)
    sync.wait()
    with pytest.raises(OSError, match="Bad file descriptor"):
        sync.check()


def test_no_task_is_left_when_one_fails():
    """What they fill belongs to whoever takes it next."""
    running = []

    def work(item):
        if item == 0:
            raise ValueError("the first")
        running.append(item)
        return item

    with pytest.raises(ValueError, match="the first"):
        list(parallel.ordered(work, range(100), lambda _: 1 << 20))
    before = len(running)
    parallel.pool().submit(lambda: None).result()
    assert len(running) == before
