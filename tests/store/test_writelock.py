"""The lock before the write transaction: with processes that are stopped, that die, that wait."""

import logging
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from druse_store import Store, writelock
from druse_store.errors import StoreBusy
from druse_store.writelock import WriteLock
from support import mounts

HOLD = """if True:
    import sys
    from pathlib import Path
    from druse_store.writelock import WriteLock
    with WriteLock(Path(sys.argv[1]) / "holds" / "writer.lock", None):
        print("held", flush=True)
        sys.stdin.read()
"""


@pytest.fixture
def stopped_holder(path):
    """A process that holds the write lock of the store, and is stopped, as by Ctrl-Z."""
    Store.open(path).close()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    process.send_signal(signal.SIGSTOP)
    yield process
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=20)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(writelock, "_NAME_AFTER", 0.1)
    monkeypatch.setattr(writelock, "_GIVE_UP_AFTER", 0.4)


def test_a_stopped_writer_is_named_and_waited_for_no_longer_than_a_minute(
    path, stopped_holder, impatient, caplog
):
    with caplog.at_level(logging.WARNING), pytest.raises(StoreBusy, match="kill -CONT"):
        Store.open(path)
    assert f"process {stopped_holder.pid} holds" in caplog.text


def test_reading_goes_on_beside_a_stopped_writer(path, stopped_holder):
    with Store.open(path, read_only=True) as store:
        assert store.stats().chunks == 0


def test_one_who_waits_can_be_interrupted(path, stopped_holder):
    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            Store.open(path)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_writer_that_goes_on_is_waited_for(path, stopped_holder):
    stopped_holder.send_signal(signal.SIGCONT)
    stopped_holder.stdin.close()
    with Store.open(path) as store:
        assert store.get(store.put(b"x")) == b"x"
    stopped_holder.stdin = None


def test_a_killed_writer_leaves_no_lock(path, stopped_holder):
    stopped_holder.kill()
    with Store.open(path) as store:
        assert store.get(store.put(b"x")) == b"x"


def test_code_inside_a_batch_can_wait_for_a_child_that_puts(path):
    """The write transaction is never open around a user's code."""
    program = "import sys, druse_store\nwith druse_store.Store.open(sys.argv[1]) as s: s.put(b'c')"
    with Store.open(path) as store, store.batch():
        digest = store.put(b"parent")
        begin = time.monotonic()
        subprocess.run([sys.executable, "-c", program, str(path)], check=True, timeout=30)
        assert time.monotonic() - begin < 20
        assert store.get(digest) == b"parent"


def test_threads_take_turns(tmp_path, impatient):
    lock = WriteLock(tmp_path / "lock", None)
    with (
        lock.held(),
        ThreadPoolExecutor(1) as other,
        pytest.raises(StoreBusy, match="another thread"),
    ):
        other.submit(lock.__enter__).result()
    lock.close()


def test_who_died_while_appending_to_the_log_is_known_to_the_next(tmp_path):
    """Its segment is noted until its commit: what it left there is cut off."""
    path = tmp_path / "lock"
    pid = os.fork()
    if pid == 0:
        lock = WriteLock(path, None)
        lock.__enter__()
        lock.note(b"segment!")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    lock = WriteLock(path, None)
    with lock.held():
        pass  # appends nothing, and leaves the note to one that does
    with lock as left:
        assert left == b"segment!"
        lock.note(bytes(8))
    with lock as left:
        assert left == bytes(8)
    lock.close()


WAIT = """if True:
    import sys
    from pathlib import Path
    from druse_store import writelock
    writelock._GIVE_UP_AFTER, writelock._STILL = 1.5, 0.1
    lock = writelock.WriteLock(Path(sys.argv[1]), None)
    print("waits", flush=True)
    with lock:
        print("has it", flush=True)
"""


@pytest.fixture
def waiting():
    """Starts a process that waits for a lock, and gives up after 1.5 s."""
    started = []

    def start(path):
        process = subprocess.Popen(
            [sys.executable, "-c", WAIT, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "waits\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_time_in_which_the_waiting_process_was_stopped_itself_does_not_count(tmp_path, waiting):
    """As a whole job that is suspended, holder and all, and goes on an hour later."""
    path = tmp_path / "writer.lock"
    lock = WriteLock(path, None)
    with lock:
        process = waiting(path)
        time.sleep(0.2)  # it has looked at its clock
        process.send_signal(signal.SIGSTOP)
        time.sleep(2)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.2)
    out, err = process.communicate(timeout=20)
    assert out == "has it\n", err
    lock.close()


FSYNC = """if True:
    import os, sys
    from pathlib import Path
    from druse_store.writelock import WriteLock
    with WriteLock(Path(sys.argv[1]), None), open(sys.argv[2], "wb", 0) as file:
        print("held", flush=True)
        sys.stdin.readline()
        file.write(b"x")
"""


@pytest.mark.needs("mkfs.xfs", "fsfreeze")
def test_a_holder_that_waits_for_its_disk_is_waited_for(tmp_path, waiting):
    path = tmp_path / "writer.lock"
    with mounts.xfs(tmp_path / "image", tmp_path / "slow") as slow:
        holder = subprocess.Popen(
            [sys.executable, "-c", FSYNC, str(path), str(slow / "file")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert holder.stdout.readline() == "held\n"
        subprocess.run(["fsfreeze", "-f", str(slow)], check=True)
        try:
            holder.stdin.write("\n")
            holder.stdin.flush()
            process = waiting(path)
            time.sleep(2)
            assert process.poll() is None, process.communicate()
        finally:
            subprocess.run(["fsfreeze", "-u", str(slow)], check=True)
            holder.communicate(timeout=20)
        out, err = process.communicate(timeout=20)
        assert out == "has it\n", err


def test_a_thread_that_has_it_does_not_wait_for_itself(tmp_path):
    lock = WriteLock(tmp_path / "writer.lock", None)
    with lock, pytest.raises(StoreBusy, match="already"), lock:
        pass
    with lock.held():  # it was given back
        pass
    lock.close()
