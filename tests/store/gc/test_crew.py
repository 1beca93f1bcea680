"""Packs that are copied beside the sweep, by this process or by helpers of its own."""

import errno
import fcntl
import os
import shutil
import signal
import subprocess

import pytest

from druse_store import Policy, Store, frames, writer
from druse_store.appender import Appender
from druse_store.errors import AccessDenied, DiskFull
from druse_store.gc import crew
from druse_store.gc import plan as planning
from druse_store.gc.collector import Collector, settings
from druse_store.index.snapshot import Snapshot
from support.runs import add_run, noise, pack_bytes, payloads_of

POLICY = Policy(keep_last=1, keep_metrics=0)
PACKS, EACH, SIZE = 5, 12, 5_000


def payload(pack, i):
    """Small ones that are stored raw, packed ones, and a large one that lies in an extent."""
    if i == 4:
        return noise(200_000, (pack, i))
    return noise(SIZE, (pack, i)) if i % 3 else b"text %d %d " % (pack, i) * 300


def kept():
    return [[payload(pack, i)] for pack in range(PACKS) for i in range(0, EACH, 2)]


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Several packs, each of them half garbage."""
    monkeypatch.setattr(writer, "PACK_SIZE", 200_000)
    monkeypatch.setattr(planning, "PACK_SIZE", 200_000)
    monkeypatch.setattr(crew.parallel, "cores", lambda: 3)
    with Store.open(tmp_path / "store") as store:
        for pack in range(PACKS):
            for i in range(EACH):
                store.put_object(payload(pack, i))
        add_run(store, "exp", kept())
    return tmp_path / "store"


@pytest.fixture(params=[0, 1 << 40], ids=["helpers", "alone"])
def worth(request, monkeypatch):
    """The bytes from which on helpers are started."""
    monkeypatch.setattr(crew, "WORTH", request.param)


def collect(store, step=lambda name: None, *, alone=False):
    return Collector(store._session, step=step).collect(
        settings(POLICY, 0, None, 0.01), alone=alone, details=False
    )


def assert_sound(store):
    assert payloads_of(store, "exp") == [cell[0] for cell in kept()]
    assert store.verify().findings == []


@pytest.mark.usefixtures("worth")
def test_what_is_kept_lies_in_new_packs_and_the_old_ones_are_gone(path):
    with Store.open(path) as store:
        old = {pack.name for pack in path.glob("packs/*/*.pack")}
        plan = store.plan_gc(POLICY, grace=0, waste=0.01)
        done = collect(store)
        new = {pack.name for pack in path.glob("packs/*/*.pack")}
        assert done.problems == []
        assert (done.freed, done.packs_written) == (plan.freed, len(plan.packs.groups))
        assert done.packs_written > 1
        assert not old & new
        assert_sound(store)


@pytest.mark.usefixtures("worth")
def test_what_comes_back_to_life_while_it_is_left_out_is_copied_too(path):
    again = payload(2, 1)
    with Store.open(path) as store, Store.open(path) as other:
        before = pack_bytes(path)

        def step(name):
            if name == "tombstone blobs":
                assert store.get_object(other.put_object(again)) == again

        done = collect(store, step)
        assert done.problems == []
        assert store.get_object(store.put_object(again)) == again
        assert_sound(store)
        assert pack_bytes(path) < before


@pytest.mark.usefixtures("worth")
def test_a_pack_with_a_damaged_chunk_stays_and_is_reported(path):
    with Store.open(path) as store:
        digest = store.put_object(payload(3, 2)).root.digest
        with Snapshot(store._session.environment) as snapshot:
            place = snapshot.chunk(digest)
        pack = store._session.location.pack(place.pack)
        pack.chmod(0o600)
        with pack.open("r+b") as file:
            file.seek(place.offset + 10)
            file.write(b"\0" * 20)
        done = collect(store)
        assert any(digest[:6].hex() in text for text in done.problems)
        assert pack.exists()
        assert [f for f in store.verify().findings if digest[:6].hex() in str(f)]


def test_what_helpers_that_die_leave_is_done_here(path, monkeypatch):
    monkeypatch.setattr(crew, "WORTH", 0)
    begun = []
    start = subprocess.Popen

    def start_and_kill(*arguments, **options):
        process = start(*arguments, **options)
        begun.append(process)
        os.kill(process.pid, signal.SIGKILL)
        return process

    with Store.open(path) as store:
        with monkeypatch.context() as patch:
            patch.setattr(subprocess, "Popen", start_and_kill)
            assert collect(store).problems == []
        assert begun
        assert all(process.returncode == -signal.SIGKILL for process in begun)
        assert_sound(store)
        assert store.plan_gc(POLICY, grace=0).orphans == []


@pytest.mark.usefixtures("worth")
def test_a_collection_that_fails_leaves_no_pack_behind(path):
    before = {pack.name for pack in path.glob("packs/*/*.pack")}

    def step(name):
        if name == "tombstone chunks":
            raise KeyboardInterrupt

    with Store.open(path) as store:
        with pytest.raises(KeyboardInterrupt):
            collect(store, step)
        assert {pack.name for pack in path.glob("packs/*/*.pack")} == before
        assert_sound(store)
        assert collect(store).problems == []
        assert_sound(store)


def assert_nothing_is_locked(path):
    """Whoever comes next can have every pack: nobody appends to one, nobody left one open."""
    for pack in path.glob("packs/*/*.pack"):
        with pack.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.usefixtures("worth")
@pytest.mark.parametrize("alone", [True, False])
def test_a_disk_that_is_full_when_a_pack_is_sealed_leaves_nothing_locked(path, monkeypatch, alone):
    seal, sealed = Appender.seal, []

    def fail(self):
        sealed.append(self)
        if self.kind == frames.PACK and len(sealed) == 2:
            raise DiskFull("there is no room for a seal")
        seal(self)

    with Store.open(path) as store:
        with monkeypatch.context() as patch, pytest.raises(DiskFull):
            patch.setattr(Appender, "seal", fail)
            collect(store, alone=alone)
        assert_nothing_is_locked(path)
        assert_sound(store)
        assert collect(store, alone=alone).problems == []
        assert_sound(store)
        assert store.plan_gc(POLICY, grace=0).orphans == []


@pytest.mark.parametrize("alone", [True, False])
def test_a_pack_that_cannot_be_unlinked_leaves_nothing_locked(path, monkeypatch, alone):
    with Store.open(path) as store:
        store.put(noise(20_000, "in a pack that is not sealed"))
        store.flush()

        forgotten = []
        unlink = type(path).unlink

        def step(name):
            if name in ("write chunks anew", "forget packs"):
                forgotten.append(name)

        def fail(self, *args, **options):
            if self.suffix == ".pack" and forgotten:
                raise PermissionError(errno.EPERM, "immutable", str(self))
            unlink(self, *args, **options)

        with monkeypatch.context() as patch, pytest.raises(AccessDenied):
            patch.setattr(type(path), "unlink", fail)
            collect(store, step, alone=alone)
        assert_nothing_is_locked(path)
        assert_sound(store)
        assert collect(store, alone=alone).problems == []
        assert_sound(store)
        assert store.plan_gc(POLICY, grace=0).orphans == []


def test_packs_that_cannot_be_unlinked_leave_those_that_were_begun_to_nobody(path, monkeypatch):
    """Two failures: an orphan ends it, and the packs that were given up before have one as well."""
    unlink = type(path).unlink

    def fail(self, *args, **options):
        if self in old:
            raise PermissionError(errno.EPERM, "immutable", str(self))
        unlink(self, *args, **options)

    with Store.open(path) as store:
        for i in range(3):
            store.put(noise(250_000, ("dead", i)))
        orphan = store._session.location.pack(bytes(8))
        orphan.parent.mkdir(exist_ok=True)
        shutil.copy(next(path.glob("packs/*/*.pack")), orphan)
        old = set(path.glob("packs/*/*.pack"))
        assert store.plan_gc(POLICY, grace=0).packs.dead
        with monkeypatch.context() as patch, pytest.raises(AccessDenied):
            patch.setattr(type(path), "unlink", fail)
            collect(store)
        assert set(path.glob("packs/*/*.pack")) >= old
        assert_nothing_is_locked(path)
        assert collect(store).problems == []
        assert_sound(store)
        assert store.plan_gc(POLICY, grace=0).orphans == []
