"""Appending: who may, from where on, and what happens after a failure."""

import errno
import os
import threading
import time

import pytest

from druse_store import Digest, Store, appender, disk, frames, writer
from druse_store.appender import Appender
from druse_store.errors import DiskFull, ForkedStore, StorageFailed
from druse_store.index.values import QUARANTINED, SEALED
from druse_store.location import find
from support.damage import content, flip, packs


@pytest.fixture
def location(path):
    Store.open(path).close()
    return find(path, create=False)


@pytest.fixture
def pack(location):
    """A pack with one frame, left by its writer."""
    made = Appender.create(location, frames.PACK)
    made.append(frames.header(frames.CHUNK, 0, bytes(32), 5, 5), b"hello")
    made.sync()
    entry = made.entry()
    made.close()
    return made.file_id, made.path, entry


def state_of(store, file_id):
    with store._session.snapshot() as snapshot:
        return snapshot.file(file_id).state


def test_frames_in_many_parts_lie_side_by_side(location, monkeypatch):
    """Also where the system takes few parts in a call, and not all of their bytes."""
    made = Appender.create(location, frames.PACK)
    monkeypatch.setattr(disk, "_PARTS", 3)
    write = os.pwritev
    monkeypatch.setattr(
        os, "pwritev", lambda fd, parts, at: write(fd, [b"".join(parts)[: 5 + at % 2]], at)
    )
    first = made.append(b"small", b"waits")
    parts = [[b"head%d" % n, content(10 * n, n), memoryview(b"tail")] for n in range(1, 6)]
    offsets = made.append_many(parts)
    assert offsets[0] == first + len(b"smallwaits")
    made.append(b"end")
    made.sync()
    whole = b"smallwaits" + b"".join(map(b"".join, parts)) + b"end"
    assert made.path.read_bytes()[first:] == whole
    assert made.end == first + len(whole)
    assert made.frames == 7
    made.close()


def test_a_full_disk_while_many_are_appended_gives_the_file_up(location, monkeypatch):
    made = Appender.create(location, frames.PACK)

    def full(*_):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "pwritev", full)
    with pytest.raises(DiskFull):
        made.append_many([[b"a", b"b"]])
    made.append(b"more")
    with pytest.raises(StorageFailed):
        made.write_out()
    made.close()


# --- taking over -------------------------------------------------------------------------------


def test_one_at_a_time_appends_to_a_file(location, pack):
    file_id, *_ = pack
    one = Appender.adopt(location, file_id, frames.PACK)
    assert Appender.adopt(location, file_id, frames.PACK) is None
    one.close()
    two = Appender.adopt(location, file_id, frames.PACK)
    assert two is not None
    two.close()


@pytest.mark.parametrize("what", ["unlinked", "replaced"])
def test_a_file_that_went_between_open_and_lock_is_not_taken_over(
    location, pack, monkeypatch, what
):
    """Appends to a nameless file succeed, and are lost."""
    file_id, path, _ = pack
    lock = disk.try_lock

    def slow_lock(fd):
        path.unlink()
        if what == "replaced":
            path.write_bytes(b"another file")
        return lock(fd)

    monkeypatch.setattr(appender.disk, "try_lock", slow_lock)
    assert Appender.adopt(location, file_id, frames.PACK) is None


def test_what_was_never_committed_is_cut_and_nothing_else(path):
    with Store.open(path) as store:
        digests = [store.put(content(3_000, n)) for n in range(3)]
    (pack,) = packs(path)
    committed = pack.read_bytes()
    with pack.open("ab") as file:  # a frame that looks well, and that no commit names
        file.write(frames.header(frames.CHUNK, 0, bytes(32), 9, 9) + b"uncounted")
    with Store.open(path) as store:
        digests.append(store.put(content(3_000, 9)))
        assert packs(path) == [pack]
        assert pack.read_bytes()[: len(committed)] == committed
        assert b"uncounted" not in pack.read_bytes()
        for digest in digests:
            assert len(store.get(digest)) == 3_000
        assert store.verify().clean


def test_damage_at_the_committed_end_quarantines_the_pack_and_cuts_nothing(path):
    with Store.open(path) as store:
        digests = [store.put(content(3_000, n)) for n in range(3)]
    (pack,) = packs(path)
    flip(pack, pack.stat().st_size - 3_000 - 30)  # the header of the last frame
    before = pack.read_bytes()
    with Store.open(path) as store:
        store.put(b"goes elsewhere")
        assert pack.read_bytes() == before
        assert len(packs(path)) == 2
        assert state_of(store, bytes.fromhex(pack.stem)) == QUARANTINED
        assert [store.get(digest) for digest in digests] == [content(3_000, n) for n in range(3)]


def test_a_pack_that_is_shorter_than_committed_is_not_continued(path):
    with Store.open(path) as store:
        first, last = store.put(content(3_000, 1)), store.put(content(3_000, 2))
    (pack,) = packs(path)
    os.truncate(pack, pack.stat().st_size - 1)
    with Store.open(path) as store:
        store.put(b"goes elsewhere")
        assert len(packs(path)) == 2
        assert store.get(first) == content(3_000, 1)
        assert not store.verify().clean
        assert last in store  # nobody has looked


def test_damage_in_the_middle_of_an_open_pack_takes_nothing_behind_it(path):
    """An adopter that looked for a torn end by itself would cut committed data here."""
    with Store.open(path) as store:
        digests = [store.put(content(3_000, n)) for n in range(5)]
    (pack,) = packs(path)
    size = pack.stat().st_size
    flip(pack, 64 + 64 + 3_000 + 10)  # the header of the second frame
    with Store.open(path) as store:
        store.put(b"more")
        assert pack.stat().st_size > size
        assert [store.get(digest) for digest in digests] == [content(3_000, n) for n in range(5)]


def test_a_sealed_pack_cannot_be_written_to(path):
    with Store.open(path) as store:
        store.put(content(66 << 20))
        pack = max(packs(path), key=lambda file: file.stat().st_size)
        assert state_of(store, bytes.fromhex(pack.stem)) == SEALED
        assert not pack.stat().st_mode & 0o222
        store.put(b"more")
        assert len(packs(path)) == 2


# --- failures ----------------------------------------------------------------------------------


def failing(function, number, fail):
    def act(fd, *arguments):
        if fail():
            raise OSError(number, os.strerror(number))
        return function(fd, *arguments)

    return act


@pytest.mark.parametrize("call", ["fdatasync", "pwrite"])
def test_after_a_failed_write_or_sync_the_pack_is_abandoned(path, monkeypatch, call):
    """The kernel may have dropped the pages: a second sync would say that all is well."""
    with Store.open(path) as store:
        kept = store.put(b"kept")
        (pack,) = packs(path)
        size = pack.stat().st_size
        fails = [True]
        original = getattr(os, call)
        on_pack = lambda fd: os.readlink(f"/proc/self/fd/{fd}").endswith(".pack")  # noqa: E731

        def act(fd, *arguments):
            if fails[0] and on_pack(fd):
                raise OSError(errno.EIO, "Input/output error")
            return original(fd, *arguments)

        monkeypatch.setattr(os, call, act)
        with pytest.raises(StorageFailed, match="Nothing that was durable is lost"):
            store.put(b"lost")
        fails[0] = False
        assert store.get(store.put(b"again")) == b"again"
        assert len(packs(path)) == 2
        assert store.get(kept) == b"kept"
        assert store.get(store.put(b"lost")) == b"lost"
        assert pack.stat().st_size <= size + 200
        assert store.verify().clean


def test_what_an_early_sync_is_told_beside_the_last_one_counts(location, monkeypatch):
    """The system tells of pages that it lost once, and whoever asks first."""
    made = Appender.create(location, frames.PACK)
    made.append(b"pages")

    def fdatasync(fd):
        if threading.current_thread() is not threading.main_thread():
            raise OSError(errno.EIO, "Input/output error")
        made._early.begin(made.end)  # as another thread does that goes on in the pack
        made._early.wait()

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    with pytest.raises(StorageFailed):
        made.sync()
    assert made.doubtful
    made.close()


def test_a_failed_sync_of_the_log_commits_nothing(path, monkeypatch):
    with Store.open(path) as store:
        store.pin("before", store.put(b"x"))
        original = os.fdatasync

        def fdatasync(fd):
            if os.readlink(f"/proc/self/fd/{fd}").endswith(".log"):
                raise OSError(errno.EIO, "Input/output error")
            original(fd)

        monkeypatch.setattr(os, "fdatasync", fdatasync)
        with pytest.raises(StorageFailed):
            store.pin("lost", store.put(b"x"))
        monkeypatch.undo()
        assert set(store.pins()) == {"before"}
        store.pin("after", store.put(b"x"))
        assert store.verify().clean
    from druse_store import rebuild_index

    rebuild_index(path)
    with Store.open(path) as store:
        assert set(store.pins()) == {"before", "after"}


def test_threads_that_share_a_commit_all_hear_that_it_failed(path, monkeypatch):
    """Else one of them would take for durable what the error of another was about."""
    with Store.open(path) as store:
        store.put(b"first")
        both = threading.Barrier(2)
        heard = []

        def put(number):
            try:
                with store._session.writing() as writing:
                    writing.ingest.put(b"%d" % number)
                    both.wait(10)  # both are in the same commit now
            except StorageFailed as error:
                heard.append(error)

        def fdatasync(fd):
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "fdatasync", fdatasync)
        threads = [threading.Thread(target=put, args=(n,)) for n in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        monkeypatch.undo()
        assert len(heard) == 2
        assert [Digest.of(b"%d" % n) in store for n in range(2)] == [False, False]
        assert store.get(store.put(b"0")) == b"0"
        assert store.verify().clean


@pytest.mark.parametrize("most", [100, 30_000])
def test_threads_that_fill_packs_lose_nothing(path, monkeypatch, most):
    """While one makes a pack durable, others go on in it, and complete it."""
    monkeypatch.setattr(writer, "PACK_SIZE", 20 * most)
    for module, name in ((disk, "write_all"), (disk, "write_parts"), (os, "fdatasync")):
        monkeypatch.setattr(module, name, slow(getattr(module, name)))
    errors = []

    def put(number):
        try:
            for i in range(40):
                data = content(most >> i % 3, f"{number} {i}")
                assert store.get(store.put(data)) == data
        except BaseException as error:
            errors.append(error)

    with Store.open(path) as store:
        threads = [threading.Thread(target=put, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
    with Store.open(path) as store:
        assert store.stats().chunks >= 240
        assert store.verify().clean


def slow(call):
    def slowly(*arguments):
        time.sleep(0.0005)
        done = call(*arguments)
        time.sleep(0.0005)
        return done

    return slowly


def test_a_batch_ends_with_the_error_of_any_commit_that_failed_in_it(path, monkeypatch):
    with Store.open(path) as store:
        with pytest.raises(StorageFailed), store.batch():
            store.put(b"lost")
            monkeypatch.setattr(os, "fdatasync", failing(os.fdatasync, errno.EIO, lambda: True))
            with pytest.raises(StorageFailed):
                store.flush()
            monkeypatch.undo()
            store.put(b"kept")
        assert Digest.of(b"lost") not in store
        assert store.get(Digest.of(b"kept")) == b"kept"
        with store.batch():
            store.put(b"lost")
        assert store.verify().clean


def test_after_a_failed_put_the_next_one_works_at_once(path, monkeypatch):
    """Whether in a batch or not, and nothing keeps the pack from being taken over."""
    with Store.open(path) as store:
        store.put(b"first")
        fails = [False]
        original = os.pwrite

        def pwrite(fd, data, offset):
            if fails[0] and len(data) > 100_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return original(fd, data, offset)

        monkeypatch.setattr(os, "pwrite", pwrite)
        for _ in range(3):
            fails[0] = True
            with pytest.raises(DiskFull):
                store.put(content(3_000_000, 1))
            fails[0] = False
            assert store.get(store.put(b"next")) == b"next"
        assert len(packs(path)) == 1  # what was written of it was cut off again
        assert store.get(store.put(content(3_000_000, 1))) == content(3_000_000, 1)
        assert store.verify().clean


def test_an_append_in_a_forked_child_is_refused(location):
    made = Appender.create(location, frames.PACK)
    pid = os.fork()
    if pid == 0:
        try:
            made._buffer += b"x"
            made.sync()
        except ForkedStore:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    made.sync()
    made.close()


def test_frames_are_durable_before_the_commit_that_names_them(path, monkeypatch):
    from druse_store.index.tables import Tables

    events = []

    def noted(owner, name, describe):
        original = getattr(owner, name)

        def act(*arguments):
            events.append((name, describe(*arguments)))
            return original(*arguments)

        monkeypatch.setattr(owner, name, act)

    with Store.open(path) as store:
        kind = lambda fd, *_: os.path.splitext(os.readlink(f"/proc/self/fd/{fd}"))[1]  # noqa: E731
        for name in ("pwrite", "fdatasync"):
            noted(os, name, kind)
        noted(os, "fsync", lambda fd: "folder")
        noted(Tables, "commit", lambda *_: "")
        store.pin("p", store.put(b"x"))
        events = [event for event in events if event[1] not in (".lock", ".hold")]
    assert events == [
        ("fsync", "folder"),  # packs/, which has a new folder for the new pack
        ("pwrite", ".pack"),
        ("fdatasync", ".pack"),
        ("fsync", "folder"),
        ("commit", ""),
        ("pwrite", ".log"),
        ("fdatasync", ".log"),
        ("fsync", "folder"),
        ("commit", ""),
    ]
