"""The LMDB environment: one in a process, of a fixed size, and its files are nobody else's."""

import resource
import subprocess
import sys

import pytest

from druse_store import Store
from druse_store.errors import ForeignNamespace, StoreBusy
from druse_store.index.environment import MAP_SIZE, MAX_READERS
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
    from druse_store.errors import IndexDamaged

    with Store.open(path) as store:
        for number in range(50):
            store.put(b"%d" % number)
    data = path / "index" / "data.mdb"
    with data.open("r+b") as file:
        file.truncate(8192)
    with pytest.raises(IndexDamaged, match="rebuild-index"):
        Store.open(path)


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
