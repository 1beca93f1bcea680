"""Sequences by which such stores lose data, where no other module is their place."""

import random
import time

import lmdb
import pytest

from druse_store import Digest, Policy, Store, digest, rebuild_index
from druse_store.errors import IndexDamaged
from support.damage import content, flip, packs
from support.runs import add_run, noise
from support.writers import finish, spawn


def test_what_is_unpickled_does_not_change_between_its_check_and_its_use(path, monkeypatch):
    """Another user may edit the page that was verified: so what is decoded is a copy of it."""
    value = {"keep": {1, 2, 3}, "noise": random.Random(1).randbytes(700)}
    with Store.open(path) as store:
        ref = store.put_object(value)
        (pack,) = packs(path)
        seen = []
        of = digest.Digest.of.__func__

        def check_and_edit(cls, data):
            found = of(cls, data)
            if found == ref.root.digest:
                seen.append(found)
                at = pack.read_bytes().rfind(value["noise"])
                flip(pack, at + 5)
            return found

        monkeypatch.setattr(digest.Digest, "of", classmethod(check_and_edit))
        assert ref.encoding == "pickle"
        assert store.get_object(ref) == value
        assert len(seen) == 1
        assert value["noise"] not in pack.read_bytes()


def test_a_batch_that_waits_for_a_process_that_puts_ends(path):
    """No write transaction is open around what a user does."""
    with Store.open(path) as store, store.batch():
        mine = store.put(content(3_000, 1))
        begin = time.monotonic()
        theirs = finish(
            spawn(path, "with Store.open(path) as store:\n    print(store.put(b'of a child'))")
        )
        assert time.monotonic() - begin < 60  # the lock's holder is given up on after a minute
        assert store.get(store.resolve(theirs.strip())) == b"of a child"
        assert mine in store


def test_a_collection_ends_before_it_does_harm_where_the_index_is_damaged(path):
    with Store.open(path) as store:
        for version in range(4):
            add_run(store, "exp", [[noise(3_000, version)]])
        before = {p: p.read_bytes() for p in packs(path)}
    with lmdb.open(str(path / "index"), max_dbs=20) as index:
        chunks = index.open_db(b"chunks")
        with index.begin(write=True) as transaction:
            key, value = list(transaction.cursor(chunks))[1]
            transaction.put(key, value[:10] + bytes([value[10] ^ 1]) + value[11:], db=chunks)
    with Store.open(path) as store, pytest.raises(IndexDamaged, match="rebuild-index"):
        store.gc(Policy(keep_last=1, keep_metrics=0), grace=0, alone=True)
    assert {p: p.read_bytes() for p in packs(path)} == before
    rebuild_index(path)
    with Store.open(path) as store:
        store.gc(Policy(keep_last=1, keep_metrics=0), grace=0, alone=True)
        assert store.get(Digest.of(noise(3_000, 3))) == noise(3_000, 3)
        assert store.verify().clean
