import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from druse_store import Store, holds
from druse_store.errors import DiskFull
from druse_store.holds import IDLE, Holds
from druse_store.leases import Lease


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def test_the_oldest_of_what_goes_on_is_shown(folder):
    assert holds.oldest(folder) == IDLE
    mine = Holds(folder, None)
    assert holds.oldest(folder) == IDLE
    late, early = mine.take(9), mine.take(4)
    assert holds.oldest(folder) == 4
    mine.give_back(early)
    assert holds.oldest(folder) == 9
    mine.give_back(late)
    assert holds.oldest(folder) == IDLE
    mine.close()
    assert list(folder.iterdir()) == []


def test_the_oldest_of_all_processes_counts(folder):
    one, two = Holds(folder, None), Holds(folder, None)
    one.take(5)
    two.take(3)
    assert holds.oldest(folder) == 3
    two.close()
    assert holds.oldest(folder) == 5
    one.close()


def test_a_hold_ends_with_its_process_and_is_cleared_away(folder):
    pid = os.fork()
    if pid == 0:
        Holds(folder, None).take(2)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert len(list(folder.iterdir())) == 1
    assert holds.oldest(folder) == IDLE
    assert list(folder.iterdir()) == []


def test_a_stopped_process_keeps_its_hold(path):
    program = """if True:
        import sys
        from druse_store import Store
        with Store.open(sys.argv[1]) as store, store.batch():
            store.put(b"x")
            print("ready", flush=True)
            sys.stdin.read()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGSTOP)
    with Store.open(path) as store:
        begun = store._session.environment
        for n in range(3):
            store.put(b"%d" % n)
        assert begun.env.info()["last_txnid"] > 3
        time.sleep(0.05)
        assert holds.oldest(path / "holds") == 0  # before the first commit
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=20)
    assert holds.oldest(path / "holds") == IDLE


@pytest.mark.parametrize("damage", [b"", b"short", bytes(12), b"\xff" * 12])
def test_a_hold_that_cannot_be_read_counts_as_the_oldest_possible(folder, damage):
    mine = Holds(folder, None)
    mine.take(7)
    mine.path.write_bytes(damage)
    assert holds.oldest(folder) == 0
    mine.close()


def test_a_fork_neither_keeps_nor_ends_a_hold(folder):
    mine = Holds(folder, None)
    mine.take(7)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        mine.close()
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    time.sleep(0.05)
    assert holds.oldest(folder) == 7  # the child's close took nothing from the parent
    path = mine.path
    mine.leave_to_parent()
    assert holds.oldest(folder) == IDLE  # and the child does not keep it
    os.close(write)
    os.waitpid(pid, 0)
    assert not path.exists()


@pytest.mark.parametrize("options", [{}, {"read_only": True}])
def test_an_open_blob_is_held_until_it_is_closed(path, options):
    with Store.open(path) as store:
        digest = store.put(b"x" * 300_000)
        commit = store._session.snapshot()
        with commit as snapshot:
            now = snapshot.head().commit
    with Store.open(path, **options) as store:
        with store.open_blob(digest) as file:
            assert holds.oldest(path / "holds") == now
            assert file.read(2) == b"xx"
        assert holds.oldest(path / "holds") == IDLE
    assert holds.oldest(path / "holds") == IDLE


def test_a_batch_is_held_from_its_beginning(path):
    with Store.open(path) as store:
        store.put(b"x")
        with store.batch():
            store.put(b"y")
            store.flush()
            store.put(b"z")
            assert holds.oldest(path / "holds") == 1
        assert holds.oldest(path / "holds") == IDLE


def test_a_hold_that_a_full_disk_cut_short_does_not_stand_in_the_way(folder, monkeypatch):
    """A locked one that cannot be read counts as the oldest: nothing would be swept any more."""

    def full(fd, data, offset):
        raise OSError(errno.ENOSPC, "no space")

    mine = Holds(folder, None)
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        for begin in (
            lambda: Holds(folder, None),
            lambda: Lease(folder, None),
            lambda: mine.take(3),
        ):
            with pytest.raises(DiskFull):
                begin()
    assert holds.oldest(folder) == IDLE
    mine.give_back(mine.take(5))
    assert holds.oldest(folder) == IDLE
    assert list(folder.iterdir()) == [mine.path]
    mine.close()
