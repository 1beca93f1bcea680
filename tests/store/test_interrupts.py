"""Ctrl-C at any moment of a write, in a program that goes on: a notebook, say.

An interrupt is raised where Python raises it: behind a call that was under way when it came.
"""

import pytest

from druse_store import Digest, Store
from druse_store.errors import StoreError
from druse_store.writelock import WriteLock
from support.damage import content
from support.interrupts import Interrupt


def single(store, number, make_record):
    data = content(100, number)
    digest = store.put(data)
    store.put_record(make_record(number, blob=digest))
    return [data]


def batch(store, number, make_record):
    data = [content(size, number) for size in (3_000, 3_001, 200_000)]
    data.append(b"%d of many " % number * 40_000)
    with store.batch():
        for place, item in enumerate(data):
            store.put_record(make_record(10 * number + place, blob=store.put(item)))
    return data


def large(store, number, _):
    data = [content(1_200_000, number), b"%d of many " % number * 120_000]
    for item in data:
        store.put(item)
    return data


@pytest.mark.parametrize(("write", "every"), [(single, 1), (batch, 7), (large, 23)])
def test_an_interrupted_write_harms_nothing_that_comes_after_it(path, make_record, write, every):
    """Whatever was acknowledged is there, and records name nothing that is not."""
    written = []
    point = 1
    with Store.open(path) as store:
        while True:
            with Interrupt(point) as interrupt:
                written += write(store, point, make_record)
            if not interrupt.is_over:
                break
            after = b"after %d" % point
            store.put(after)
            written.append(after)
            point += every
    assert point > 10 * every
    with Store.open(path) as store:
        assert all(store.get(Digest.of(item)) == item for item in written)
        for digest in store._session.record_digests():
            assert all(blob in store for blob in store.record_by_digest(digest).blobs())
        assert store.verify().clean


def test_an_interrupted_wait_leaves_no_lock(tmp_path):
    lock, other = (WriteLock(tmp_path / "lock", None) for _ in range(2))
    point = 1
    while True:
        with Interrupt(point) as interrupt:
            lock.__enter__()
        if not interrupt.is_over:
            break
        with other:  # of another process, as far as the file knows
            pass
        point += 1
    assert point > 3
    lock.__exit__(None, None, None)
    with other:
        pass


def test_a_lock_that_cannot_be_noted_is_not_kept(tmp_path, monkeypatch):
    lock, other = (WriteLock(tmp_path / "lock", None) for _ in range(2))

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(StoreError):
        patch.setattr("os.pwrite", full)
        lock.__enter__()
    with other:
        pass
