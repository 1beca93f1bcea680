"""A store that several users of a machine share, each in a process of their own."""

import mmap

import numpy as np
import pytest

from druse_store import Store, writer
from druse_store.commit import Committer
from druse_store.errors import StoreBusy
from support import users
from support.damage import content, packs

ALICE, BOB, MALLORY = 54_001, 54_002, 54_003


@pytest.fixture
def folder(tmp_path):
    with Store.open(tmp_path / "warm") as store:  # everything a fork needs is imported now
        store.get(store.put(content(100_000)))
        store.pin("x", store.put(b"x"))
    with users.common_folder() as made:
        yield made / "store"


def put(folder, name):
    with Store.open(folder, shared=True) as store:
        digest = store.put(name.encode() * 5)
        store.pin(name, digest)
        return store.stats().packs


def read(folder):
    with Store.open(folder) as store:
        for name, digest in store.pins().items():
            assert store.get(digest) == name.encode() * 5
        return sorted(store.pins())


def test_users_of_a_group_write_and_read_what_each_other_wrote(folder):
    for uid, name in ((ALICE, "alice"), (BOB, "bob"), (ALICE, "again")):
        users.run_as(uid, put, folder, name)
    for uid in (ALICE, BOB):
        assert users.run_as(uid, read, folder) == ["again", "alice", "bob"]
    with Store.open(folder) as store:
        assert store.verify().clean


def test_nobody_appends_to_the_pack_of_another_user(folder):
    names = ((ALICE, "a"), (BOB, "b"), (ALICE, "c"), (BOB, "d"))
    assert [users.run_as(uid, put, folder, name) for uid, name in names] == [1, 2, 2, 2]
    assert {pack.stat().st_uid for pack in packs(folder)} == {ALICE, BOB}


def seal_without_commit(folder):
    """Puts more than a pack takes, of which the commit does not happen."""
    writer.PACK_SIZE, before = 1_000_000, Committer.commit
    with Store.open(folder, shared=True) as store:
        store.put(b"committed")
        Committer.commit = busy
        with pytest.raises(StoreBusy):
            store.put(content(2_000_000))
        Committer.commit = before


def busy(*_):
    raise StoreBusy("as if it was killed here")


def test_a_pack_that_was_sealed_and_never_committed_is_taken_over(folder):
    """The mode of its file is that of a sealed one, which only root could write to."""
    users.run_as(ALICE, seal_without_commit, folder)
    assert users.run_as(ALICE, put, folder, "alice") == 1
    assert max(pack.stat().st_size for pack in packs(folder)) < 10_000
    with Store.open(folder) as store:
        assert store.verify().clean


def test_one_who_is_not_in_the_group_is_told_to_look_at_the_modes(folder):
    users.run_as(ALICE, put, folder, "a")
    with pytest.raises(RuntimeError, match=r"AccessDenied.*Check who owns the store"):
        users.run_as(MALLORY, read, folder, group=54_999)


def test_an_array_in_a_pack_that_others_can_write_to_is_copied(path):
    """A page that was verified could change before it is used."""
    with Store.open(path) as store:
        ref = store.put_object(np.frombuffer(content(66 << 20), "u8"))
        store.flush()
        assert is_mapped(store.get_object(ref))
    for pack in packs(path):
        pack.chmod(0o660)
    with Store.open(path) as store:
        assert not is_mapped(store.get_object(ref))


def is_mapped(thing):
    """Whether it lies in the file: private memory, which can be written to, is a map of no file."""
    while thing is not None and not isinstance(thing, mmap.mmap):
        thing = thing.obj if isinstance(thing, memoryview) else getattr(thing, "base", None)
    return thing is not None and memoryview(thing).readonly
