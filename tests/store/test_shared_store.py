"""A store that a group shares: each user's records are signed, and count for who trusts the key."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import lmdb
import pytest

import druse_store
from druse_store import Store, Trust
from druse_store.index import values
from druse_store.index.values import Origin
from druse_store.rebuild import rebuild_index
from druse_store.trust import Signer


class User:
    """Somebody with a configuration of their own; `is_me` makes this process theirs."""

    def __init__(self, folder, monkeypatch) -> None:
        self._monkeypatch = monkeypatch
        self._folder = folder
        self.config = folder / "druse"
        self.key = Signer.create(self.config).public
        self.trust = Trust(self.config)

    def open(self, path, **options) -> Store:
        self._monkeypatch.setenv("XDG_CONFIG_HOME", str(self._folder))
        return Store.open(path, **options)


@pytest.fixture
def ann(tmp_path, monkeypatch):
    return User(tmp_path / "ann", monkeypatch)


@pytest.fixture
def bob(tmp_path, monkeypatch):
    return User(tmp_path / "bob", monkeypatch)


@pytest.fixture
def shared(path, ann, make_record):
    """A store of the group's, with one record by ann."""
    with ann.open(path, shared=True) as store:
        store.put_record(make_record(0))
    return path


def has(user, path, record):
    with user.open(path) as store, store.reading() as view:
        found = view.record_at(record.signature, 0) is not None
        assert (view.records_at(record.signature) == {0: record.digest}) is found
        return found


def test_a_record_counts_for_its_maker_and_for_who_trusts_the_key(shared, ann, bob, make_record):
    record = make_record(0)
    assert has(ann, shared, record)
    assert not has(bob, shared, record)
    bob.trust.add("ann", ann.key)
    assert has(bob, shared, record)
    bob.trust.remove("ann")
    assert not has(bob, shared, record)


def test_whose_records_were_passed_over_is_known(shared, ann, bob, make_record):
    with bob.open(shared) as store:
        assert store.record(make_record(0).signature, 0) is None
        assert store.record_by_digest(make_record(0).digest) is None
        assert store.strangers() == {ann.key.short: 2}


def test_a_store_of_ones_own_asks_nobody(path, ann, bob, make_record):
    with ann.open(path) as store:
        store.put_record(make_record(0))
    assert has(bob, path, make_record(0))


def rows(path, change):
    """Changes rows of the index as somebody who can write to it could."""
    with lmdb.open(str(path / "index"), max_dbs=30) as index:
        tables = {name: index.open_db(name.encode()) for name in values.TABLES}
        with index.begin(write=True) as transaction:
            change(transaction, tables)


def put(transaction, tables, table, key, body):
    transaction.put(key, values.seal(table, key, body), db=tables[table])


def test_what_is_written_past_the_signatures_does_not_count(shared, ann, make_record):
    forged, real = make_record(1), make_record(0)
    key = values.record_key(forged.signature, 0)

    def unsigned(transaction, tables):
        packed = values.seal_record(forged.digest, forged.encode(), values.LIVE, 1)
        transaction.put(forged.digest, packed, db=tables["records"])
        put(transaction, tables, "current", key, forged.digest)

    rows(shared, unsigned)
    assert not has(ann, shared, forged)

    def under_anothers_batch(transaction, tables):
        name = transaction.get(real.digest, db=tables["attested"])[:32]
        put(transaction, tables, "attested", forged.digest, bytes(name))

    rows(shared, under_anothers_batch)
    assert not has(ann, shared, forged)

    def another_cells(transaction, tables):
        put(transaction, tables, "current", key, real.digest)

    rows(shared, another_cells)
    assert not has(ann, shared, forged)
    assert has(ann, shared, real)

    def other_bytes(transaction, tables):
        packed = values.seal_record(real.digest, forged.encode(), values.LIVE, 1)
        transaction.put(real.digest, packed, db=tables["records"])

    rows(shared, other_bytes)
    assert not has(ann, shared, real)


def test_what_came_through_a_remote_needs_trust_in_both(shared, ann, bob, make_record, tmp_path):
    far = Signer.create(tmp_path / "far").public
    record = make_record(5)
    with ann.open(shared) as store:
        store.adopt_record(record, Origin(bytes(far), bytes(16)))
    bob.trust.add("ann", ann.key)
    assert not has(bob, shared, record)
    bob.trust.add("far", far)
    assert has(bob, shared, record)
    bob.trust.remove("ann")
    assert not has(bob, shared, record)
    rows(shared, lambda txn, tables: txn.delete(record.digest, db=tables["origins"]))
    bob.trust.remove("far")
    bob.trust.add("ann", ann.key)
    assert not has(bob, shared, record)  # that its origin was erased changes nothing


def test_signatures_survive_a_rebuild_and_collection_knows_no_trust(shared, ann, bob, make_record):
    with bob.open(shared) as store:
        store.put_record(make_record(1))
        assert store.gc(now=True) is not None
    rebuild_index(shared)
    assert has(ann, shared, make_record(0))
    assert has(bob, shared, make_record(1))
    assert not has(bob, shared, make_record(0))


PROGRAM = """
import importlib, os, pkgutil, sys
sys.path.insert(0, sys.argv[1])
import druse_store
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
for module in pkgutil.walk_packages(druse_store.__path__, "druse_store."):
    if not module.name.startswith(("druse_store.remote", "druse_store.test", "druse_store.walk")):
        importlib.import_module(module.name)  # these files may be nobody else's to read
from druse_store import Digest, PublicKey, Store, Trust
from support.sharing import make_record, signature_of

path, uid, group, number, *trusted = sys.argv[2:]
os.setgroups([int(group)])
os.setgid(int(uid))
os.setuid(int(uid))
os.umask(0o022)
number = int(number)
for place, key in enumerate(trusted):
    Trust().add(f"user{place}", PublicKey.parse(key))
with Store.open(path, shared=True) as store:
    ref = store.put_object(b"x" * 100_000 + b"%d" % number)
    store.put_record(make_record(number, ref))
    other = store.record(signature_of(1 - number), 0)
    print("other", other is not None and len(store.get_object(other.artifacts[0].ref)))
    store.pin(f"pin{number}", Digest.of(b"x"))
print(Trust().own())
"""


def test_two_users_of_the_system_work_in_one_store():
    if os.getuid() != 0:
        pytest.skip("needs root, to be two other users")
    folder = Path(tempfile.mkdtemp(prefix="druse-shared-"))
    group = 54_321
    try:
        os.chown(folder, 0, group)
        folder.chmod(0o2775)
        store = folder / "store"
        sources = str(Path(druse_store.__file__).parents[1])
        tests = str(Path(__file__).parents[1])

        def run(uid, number, *trusted):
            home = folder / f"home{uid}"
            if not home.exists():
                home.mkdir()
                os.chown(home, uid, uid)
            arguments = [tests, str(store), str(uid), str(group), str(number), *trusted]
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM, *arguments],
                env={"HOME": str(home), "PYTHONPATH": sources, "PATH": ""},
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout.splitlines()

        _, ann = run(54_001, 0)
        said, bob = run(54_002, 1)
        assert said == "other False"
        assert run(54_001, 0, bob)[0] == "other 100001"
        assert run(54_002, 1, ann)[0] == "other 100001"
        for found in store.rglob("*"):
            mode = found.stat().st_mode
            needed = stat.S_IRGRP | stat.S_IWGRP
            sealed = found.suffix in (".pack", ".log")  # written by their own user alone
            assert found.stat().st_gid == group, found
            assert sealed or mode & needed == needed, found
        with Store.open(store) as opened:
            assert opened.verify().clean
    finally:
        shutil.rmtree(folder)
