"""What a forked child must not do to its parent's store, and what it may."""

import os
import traceback

import pytest

from druse_store import Store
from druse_store.errors import ForkedStore
from support.processes import run_python


def in_child(function):
    """Runs it in a fork. Raises AssertionError with the child's traceback."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            function()
        except BaseException:
            os.write(write, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    assert text == ""


def test_a_store_from_before_the_fork_is_refused_in_the_child(path, store, make_record):
    digest = store.put(b"x")

    def child():
        for use in (
            lambda: store.put(b"y"),
            lambda: store.get(digest),
            lambda: digest in store,
            lambda: store.open_blob(digest),
            lambda: store.put_record(make_record()),
            lambda: store.record(digest, 0),
            lambda: store.begin_run("a"),
            store.stats,
            store.flush,
            store.batch().__enter__,
        ):
            with pytest.raises(ForkedStore, match="open it again"):
                use()

    in_child(child)
    assert store.get(digest) == b"x"


def test_a_child_that_opens_the_store_again_can_use_it(path, store):
    digest = store.put(b"parent")

    def child():
        with Store.open(path) as mine:
            assert mine.get(digest) == b"parent"
            mine.put(b"child" * 100_000)

    in_child(child)
    assert store.get(store.put(b"child" * 100_000)) == b"child" * 100_000
    assert store.verify().clean


def test_a_child_that_ends_takes_no_lock_from_its_parent(path, store):
    """A flock belongs to the open file, which both have: an unlock would be one for both."""
    store.put(b"x")
    in_child(store.close)
    in_child(lambda: None)
    pack = store._session.writer._pack
    fd = os.open(pack.path, os.O_RDWR)
    try:
        from druse_store import disk

        assert not disk.try_lock(fd)
    finally:
        os.close(fd)
    store.put(b"y")
    with Store.open(path) as other:  # as another process would, it does not take over that pack
        other.put(b"z")
        assert other.stats().packs == 2
    assert store.verify().clean


def test_what_waits_in_the_parent_is_written_once(path, store):
    with store.batch():
        digest = store.put(b"x" * 1000)
        in_child(store.close)
        in_child(lambda: None)
    assert store.get(digest) == b"x" * 1000
    assert store.verify().clean


def test_a_child_of_a_store_with_threads_can_put_large_blobs(path, store):
    """The pool of threads is not there after a fork, and is made anew."""
    store.put(os.urandom(4_000_000))

    def child():
        with Store.open(path) as mine:
            data = os.urandom(4_000_000)
            assert mine.get(mine.put(data)) == data

    in_child(child)


@pytest.mark.parametrize("end", ["sys.exit()", "os._exit(0)", "del store; gc.collect()", "1/0"])
def test_a_child_takes_nothing_from_its_parent_however_it_ends(path, end):
    """Deallocating the child's copy of the environment would free the parent's reader slots."""
    program = f"""if True:
        import gc, os, sys
        from druse_store import Store
        store = Store.open(sys.argv[1])
        digest = store.put(b"x")
        assert store.get(digest) == b"x"
        if os.fork() == 0:
            sys.stderr = open(os.devnull, "w")
            {end}
            sys.exit()
        os.wait()
        assert store.get(digest) == b"x"
        store.put(b"y")
        store.close()
    """
    run_python(program, str(path))


def test_children_of_children_can_use_it_too(path, store):
    digest = store.put(b"x")

    def child():
        with Store.open(path) as mine:
            mine.put(b"child")

            def grandchild():
                with Store.open(path) as its:
                    assert its.get(digest) == b"x"
                    its.put(b"grandchild")

            in_child(grandchild)
            assert mine.get(mine.put(b"grandchild")) == b"grandchild"

    in_child(child)
    assert store.get(store.put(b"grandchild")) == b"grandchild"
