"""Collection is what helps when the disk is full: so it has to work then."""

import os

import lmdb
import pytest

from druse_store import Policy, Store
from druse_store.errors import DiskFull
from druse_store.index import environment
from support import mounts
from support.runs import add_run, noise, pack_bytes, payloads_of


def fill(path):
    with path.open("wb") as file:
        status = os.statvfs(path.parent)
        os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - 200_000)


@pytest.mark.parametrize("alone", [True, False])
def test_a_full_store_can_be_emptied(tmp_path, alone):
    with mounts.tmpfs(tmp_path / "disk", "60m") as disk:
        path = disk / "store"
        with Store.open(path) as store:
            for version in range(6):
                add_run(store, "exp", [[noise(70_000, (version, i))] for i in range(40)])
            fill(disk / "ballast")
            with pytest.raises(DiskFull):
                while True:
                    store.put(os.urandom(50_000))
        before = pack_bytes(path)
        with Store.open(path) as store:
            policy = Policy(keep_last=1, keep_metrics=0.0)
            said = store.gc(policy, grace=0, dry_run=True)
            done = store.gc(policy, grace=0, alone=alone)
            assert before - pack_bytes(path) == done.freed == said.freed > 10 << 20
            assert payloads_of(store, "exp") == [noise(70_000, (5, i)) for i in range(40)]
            store.put(os.urandom(1_000_000))  # there is room again
            assert not store.verify().findings


def test_an_index_without_room_for_a_large_transaction_is_swept_in_small_ones(
    tmp_path, monkeypatch
):
    path, count = tmp_path / "store", 20_000
    kept = [[b"kept %d" % i for i in range(part, count, 100)] for part in range(0, 100, 2)]
    with Store.open(path) as store:
        with store.batch():
            for i in range(count):
                store.put(b"garbage %d" % i)
        add_run(store, "exp", kept)
    pages = compact(path / "index", tmp_path / "compact")
    monkeypatch.setattr(environment, "MAP_SIZE", (pages + 60) * 4096)
    policy = Policy(keep_last=1, keep_metrics=0.0)
    with Store.open(path) as store:
        with pytest.raises(DiskFull):  # the table of chunks takes more pages at once
            store.gc(policy, grace=0, alone=True)
        assert not store.plan_gc(policy, grace=0).marked.chunks.fresh
        assert store.gc(policy, grace=0, alone=True).problems == []
        assert payloads_of(store, "exp") == [payload for cell in kept for payload in cell]
        assert store.stats().chunks == count // 2
        assert not store.verify().findings


def compact(index, aside):
    """Leaves no free pages in an index; returns how many it has."""
    aside.mkdir()
    with lmdb.open(str(index), max_dbs=30, map_size=1 << 30) as env:
        env.copy(str(aside), compact=True)
    (aside / "data.mdb").replace(index / "data.mdb")
    with lmdb.open(str(index), max_dbs=30, map_size=1 << 30, readonly=True, lock=False) as env:
        return env.info()["last_pgno"] + 1
