import os

import pytest

from druse_store import Store, reserve
from druse_store.errors import DiskFull
from druse_store.location import find
from support import mounts


def test_a_store_has_a_reserve_that_really_takes_its_space(path):
    Store.open(path).close()
    assert (path / "reserve").stat().st_blocks * 512 >= reserve.SIZE


def test_a_released_reserve_is_made_anew(path):
    Store.open(path).close()
    location = find(path, create=False)
    reserve.release(location)
    reserve.release(location)
    assert not location.reserve.exists()
    assert reserve.set_aside(location)
    Store.open(path).close()
    assert location.reserve.exists()
    assert list(location.tmp.iterdir()) == []


def test_where_little_is_free_there_is_no_reserve_and_no_error(tmp_path):
    with mounts.tmpfs(tmp_path / "disk", "24m") as disk:
        with Store.open(disk / "store") as store:
            assert store.get(store.put(b"x")) == b"x"
        assert not (disk / "store" / "reserve").exists()


def test_with_its_reserve_a_full_store_can_remove_things(tmp_path, make_record):
    with mounts.tmpfs(tmp_path / "disk", "40m") as disk, Store.open(disk / "store") as store:
        digests = [store.put_record(make_record(i, replicate=i)) for i in range(200)]
        fill(disk / "ballast")
        with pytest.raises(DiskFull):
            while True:
                store.put(os.urandom(50_000))
        with pytest.raises(DiskFull):
            for digest in digests:
                store.remove_record(digest)
        reserve.release(store._session.location)
        for digest in digests:
            store.remove_record(digest)
        assert store.stats().records == 0
        (disk / "ballast").unlink()
        assert reserve.set_aside(store._session.location)
        assert store.verify().clean


@pytest.mark.parametrize("alone", [False, True])
def test_a_full_store_is_emptied_by_collection_and_work_goes_on(tmp_path, make_record, alone):
    with mounts.tmpfs(tmp_path / "disk", "64m") as disk:
        with Store.open(disk / "store") as store:
            kept = store.put(os.urandom(3_000_000))
            store.pin("kept", kept)
            with pytest.raises(DiskFull):
                while True:
                    store.put_record(make_record(blob=store.put(os.urandom(500_000))))
        with Store.open(disk / "store") as store:
            with pytest.raises(DiskFull, match="druse gc"):
                store.put(os.urandom(8_000_000))
            report = store.gc(grace=0, alone=alone)
            assert report.freed > 30_000_000
            assert (disk / "store" / "reserve").exists()
            digest = store.put(os.urandom(8_000_000))
            assert len(store.get(digest)) == 8_000_000
            assert len(store.get(kept)) == 3_000_000
            assert store.verify().clean


def fill(path):
    with path.open("wb") as file:
        status = os.statvfs(path.parent)
        os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - 400_000)
