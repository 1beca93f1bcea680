"""The LMDB environment: one in a process, of a fixed size, and its files are nobody else's."""

import os
import resource
import shutil
import subprocess
import sys

import pytest

from druse_store import Digest, Store, rebuild_index
from druse_store.errors import DiskFull, ForeignNamespace, IndexDamaged, StoreBusy
from druse_store.index.environment import MAP_SIZE, MAX_READERS
from support import mounts
from support.processes import run_python

NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc"]


def test_nothing_but_lmdb_opens_files_of_the_index(path):
    """Closing any descriptor of lock.mdb would drop the locks that this process has there."""
    program = """if True:
        import sys, os
        opened = []
        def hook(event, arguments):
            if event == "open" and isinstance(arguments[0], (str, bytes)):
                opened.append(os.fsdecode(arguments[0]))
        sys.addaudithook(hook)
        from druse_store import Store, rebuild_index
        path = sys.argv[1]
        for again in range(2):
            with Store.open(path) as store:
                digest = store.put(b"x" * 1_000_000)
                store.get(digest), store.get_object(store.put_object([1, 2]))
                store.pin("p", digest), store.begin_run("e").finish(complete=True)
                store.verify(), store.stats(), store.du(), store.repair()
        with Store.open(path, read_only=True) as store:
            store.get(digest)
        seen = [name for name in opened if name.startswith(path + "/index/")]
        assert seen == []
        assert any(name.endswith(".pack") for name in opened)
    """
    run_python(program, str(path))


def test_stores_opened_twice_in_a_process_share_one_environment(path):
    with Store.open(path) as one, Store.open(path, read_only=True) as two:
        assert one._session.environment is two._session.environment
        digest = one.put(b"x")
        assert two.get(digest) == b"x"
    with Store.open(path) as three:
        assert three.get(digest) == b"x"


def test_one_that_reads_only_is_not_made_to_write(path):
    Store.open(path).close()
    with Store.open(path, read_only=True), pytest.raises(StoreBusy, match="reading only"):
        Store.open(path)


def test_the_map_is_large_and_sparse_and_the_lock_file_is_neither(path):
    with Store.open(path) as store:
        store.put(b"x")
        info = store._session.environment.env.info()
        assert info["map_size"] == MAP_SIZE
        assert info["max_readers"] >= MAX_READERS
    lock = (path / "index" / "lock.mdb").stat()
    assert lock.st_blocks * 512 >= lock.st_size >= MAX_READERS * 64
    data = (path / "index" / "data.mdb").stat()
    assert data.st_blocks * 512 < 1 << 20 < data.st_size


def test_where_address_space_is_short_the_map_is_smaller(path):
    with Store.open(path) as store:
        digest = store.put(b"x")

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))

    program = (
        "import sys; from druse_store import *\n"
        "with Store.open(sys.argv[1]) as s: print(s.get(s.resolve(sys.argv[2])), s.put(b'y'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path), str(digest)],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with Store.open(path) as store:
        assert store.get(store.put(b"y")) == b"y"


def test_a_store_whose_index_was_cut_says_so(path):
    with Store.open(path) as store:
        for number in range(50):
            store.put(b"%d" % number)
    data = path / "index" / "data.mdb"
    with data.open("r+b") as file:
        file.truncate(8192)
    with pytest.raises(IndexDamaged, match="rebuild-index"):
        Store.open(path)


# --- creation ----------------------------------------------------------------------------------


@pytest.mark.needs("mount")
def test_a_disk_that_was_full_when_the_store_was_created_does_no_harm(tmp_path):
    """lmdb's first write is of two pages. Where one fits, it leaves a file that it cannot open."""
    outcomes = set()
    for room in range(256, 400, 4):  # KiB: around the size of the lock file, by pages
        with mounts.tmpfs(tmp_path / "disk", "2m") as disk:
            fill(disk / "ballast", room)
            try:
                Store.open(disk / "store").close()
            except DiskFull:
                outcomes.add("full")
            else:
                outcomes.add("fits")
            (disk / "ballast").unlink()
            with Store.open(disk / "store") as store:
                assert store.get(store.put(b"x")) == b"x", room
            assert list((disk / "store" / "tmp").iterdir()) == []
    assert outcomes == {"full", "fits"}


def fill(ballast, room):
    status = os.statvfs(ballast.parent)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - room * 1024)


def leave_half_an_index(path, size):
    """As a machine that fell in the middle of a creation: the folders, and a file of `size`."""
    Store.open(path).close()
    data = path / "index" / "data.mdb"
    whole = data.read_bytes()
    data.unlink()
    if size is not None:
        data.write_bytes(whole[: min(size, 4096)].ljust(size, b"\0"))


@pytest.mark.parametrize("size", [None, 0, 100, 4096, 8192])
def test_an_index_that_never_came_to_be_is_made_in_a_store_that_holds_nothing(path, size):
    leave_half_an_index(path, size)
    if size == 8192:
        (path / "index" / "data.mdb").write_bytes(bytes(size))
    with Store.open(path) as store:
        assert store.get(store.put(b"x")) == b"x"


@pytest.mark.parametrize("size", [None, 0, 100, 4096, 8192])
def test_an_index_that_is_gone_is_not_made_anew_where_a_store_holds_something(path, size):
    with Store.open(path) as store:
        digest = store.put(b"x")
    data = path / "index" / "data.mdb"
    if size is None:
        data.unlink()
    else:
        os.truncate(data, size)
    for _ in range(2):
        with pytest.raises(IndexDamaged, match="rebuild-index"):
            Store.open(path)
    assert not data.exists() if size is None else data.stat().st_size == size
    rebuild_index(path)
    with Store.open(path) as store:
        assert store.get(digest) == b"x"


def test_of_many_who_create_a_store_at_once_all_write_to_the_same_index(path):
    program = """if True:
        import sys
        from druse_store import Store
        print("ready", flush=True)
        sys.stdin.readline()
        with Store.open(sys.argv[1]) as store:
            print(store.put(sys.argv[2].encode()))
    """
    for round_ in range(3):
        place = path.with_name(f"{path.name}{round_}")
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", program, str(place), str(number)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(6)
        ]
        assert {writer.stdout.readline() for writer in writers} == {"ready\n"}
        for writer in writers:
            writer.stdin.write("\n")
            writer.stdin.flush()
        said = [writer.communicate(timeout=60)[0].strip() for writer in writers]
        with Store.open(place) as store:
            assert [store.get(Digest.from_hex(name)) for name in said] == [
                b"%d" % number for number in range(6)
            ]


# --- containers --------------------------------------------------------------------------------


def namespaces_work():
    done = subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.needs("unshare")
def test_a_store_that_another_container_has_open_is_refused_with_advice(path):
    """LMDB tells processes apart by their ids; in two containers both can be number 1."""
    if not namespaces_work():
        pytest.skip("this user may not make namespaces")
    program = """if True:
        import sys
        from druse_store import Store
        with Store.open(sys.argv[1]) as store:
            store.put(b"inside")
            print("ready", flush=True)
            sys.stdin.read()
    """
    inside = subprocess.Popen(
        [*NAMESPACE, sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert inside.stdout.readline() == "ready\n"
    try:
        for options in ({}, {"read_only": True}):
            with pytest.raises(ForeignNamespace, match=r"--pid=host.*remote"):
                Store.open(path, **options)
    finally:
        inside.communicate(timeout=20)
    with Store.open(path) as store:  # it is gone: the store is here now
        assert store.get(store.put(b"inside")) == b"inside"
        done = subprocess.run(
            [*NAMESPACE, sys.executable, "-c", program, str(path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "ForeignNamespace" in done.stderr


@pytest.mark.parametrize("options", [{}, {"read_only": True}])
@pytest.mark.parametrize("folder", [True, False])
def test_an_index_that_is_gone_is_made_anew_from_the_packs(path, options, folder):
    with Store.open(path) as store:
        digest = store.put(b"still here")
    shutil.rmtree(path / "index")
    if folder:
        (path / "index").mkdir()
    with pytest.raises(IndexDamaged, match="--rebuild-index"):
        Store.open(path, **options)
    rebuild_index(path)
    with Store.open(path) as store:
        assert store.get(digest) == b"still here"
