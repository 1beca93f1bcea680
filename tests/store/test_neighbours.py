import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from druse_store import Digest, Neighbours, Store

WORK, OTHER = Digest.of(b"a cell"), Digest.of(b"another cell")
PROGRAM = """
    import sys
    from druse_store import Digest, Neighbours, Store
    store = Store.open(sys.argv[1])
    neighbours = Neighbours(store)
    took = neighbours.take(Digest.of(b"a cell"))
    print("took" if took else "taken", flush=True)
    sys.stdin.readline()
    neighbours.give_back([Digest.of(b"a cell")])
    print("gave back", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / ".druse") as store:
        yield store


class Next:
    """Another process, which takes the work at once and gives it back when told to."""

    def __init__(self, store: Store) -> None:
        program = "\n".join(line[4:] for line in PROGRAM.splitlines())
        command = [sys.executable, "-c", program, str(store.path)]
        self._process = subprocess.Popen(command, stdin=-1, stdout=-1, text=True)
        self.said = self.hear()

    def hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def tell(self) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.hear()

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()


@pytest.fixture
def next_door(store: Store) -> Iterator[Next]:
    with ExitStack() as stack:
        process = Next(store)
        stack.callback(process.kill)
        yield process


def test_alone_everything_is_ours(store: Store) -> None:
    with Neighbours(store) as neighbours:
        assert neighbours.take(WORK)
        assert neighbours.take(WORK)
        assert not neighbours.were_there


def test_what_another_process_took_is_not_ours_until_it_is_given_back(
    store: Store, next_door: Next
) -> None:
    assert next_door.said == "took"
    with Neighbours(store) as neighbours:
        assert neighbours.were_there
        assert not neighbours.take(WORK)
        assert neighbours.take(OTHER)
        assert next_door.tell() == "gave back"
        assert neighbours.take(WORK)


def test_what_a_killed_process_took_is_free(store: Store, next_door: Next) -> None:
    with Neighbours(store) as neighbours:
        assert not neighbours.take(WORK)
        next_door.kill()
        assert neighbours.take(WORK)
        assert neighbours.were_there, "what it committed may be news"


def test_a_neighbour_is_noticed_that_comes_later(store: Store) -> None:
    with Neighbours(store) as neighbours:
        assert neighbours.take(WORK)
        process = Next(store)
        try:
            assert process.said == "taken"
            assert neighbours.were_there
        finally:
            process.kill()


def test_a_forked_child_neither_has_the_claims_nor_ends_them(store: Store) -> None:
    with Neighbours(store) as neighbours:
        assert neighbours.take(WORK)
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        process = Next(store)
        process.kill()
        assert process.said == "taken"


def test_without_the_file_everybody_works_for_themselves(store: Store) -> None:
    (store.path / "claims").mkdir()
    with Neighbours(store) as neighbours:
        assert neighbours.take(WORK)
        assert not neighbours.were_there
