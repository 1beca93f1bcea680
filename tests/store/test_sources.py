"""What comes from the user while a write goes on: readers, errors, threads, imports."""

import errno
import io
import os
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from druse_store import Digest, Store, chunker, codec, frames, small
from druse_store.appender import Appender
from druse_store.errors import BlobVanished, InvalidInput, StorageFailed
from druse_store.writer import Writer
from support.damage import content, packs


class Reader:
    """One of the user's own: `pieces` are made as they are asked for."""

    def __init__(self, pieces):
        self._pieces = iter(pieces)
        self._rest = b""

    def read(self, size):
        if not self._rest:
            self._rest = next(self._pieces, b"")
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece


def test_a_reader_of_the_users_is_asked_in_the_thread_that_called(store):
    asked = set()

    def pieces():
        for number in range(30):
            asked.add(threading.get_ident())
            yield content(1 << 20, number)

    store.put(Reader(pieces()))
    assert asked == {threading.get_ident()}


def test_a_reader_may_read_from_the_store_itself(store):
    """Which wants the threads that would else wait for what the reader gives."""
    parts = [content(2_500_000, number) for number in range(6)]
    digests = [store.put(part) for part in parts]
    joined = store.put(Reader(map(store.get, digests)))
    assert joined == Digest.of(b"".join(parts))


def test_the_error_of_a_reader_leaves_nothing_to_the_next_write(store):
    """What was found to be here, and relied on, may be collected once nobody holds it."""
    data = content(12 << 20)
    store.put(data)

    def pieces():
        yield data
        raise ValueError("the user's")

    with pytest.raises(ValueError, match="the user's"):
        store.put(Reader(pieces()))
    with Store.open(store.path) as other:
        other.gc(grace=0)
    assert store.get(store.put(b"next")) == b"next"


def test_a_write_that_outlives_the_batch_it_began_in_is_durable_when_it_returns(path):
    begun, go_on = threading.Event(), threading.Event()

    def pieces():
        yield b"first"
        begun.set()
        go_on.wait(10)
        yield b"second"

    with Store.open(path) as store:
        thread = threading.Thread(target=store.put, args=(Reader(pieces()),))
        with store.batch():
            thread.start()
            begun.wait(10)
        go_on.set()
        thread.join()
        with Store.open(path, read_only=True) as other:
            assert Digest.of(b"firstsecond") in other


def test_a_file_that_has_nothing_to_read_yet_is_no_empty_file(store):
    ends = os.pipe()
    os.set_blocking(ends[0], False)
    with open(ends[0], "rb", 0) as reader, pytest.raises(InvalidInput, match="block"):
        store.put(reader)
    os.close(ends[1])


def test_a_text_file_is_refused(store):
    with pytest.raises(InvalidInput, match="binary"):
        store.put(io.StringIO("text"))


def test_a_segment_that_an_interrupt_left_shorter_cuts_no_stream(monkeypatch):
    monkeypatch.setattr(chunker, "_SEGMENT", 4 * chunker.MAX)
    chunker._spare.clear()
    chunker._spare.append(bytearray(4 * chunker.MAX - 1))
    data = content(6 * chunker.MAX)
    assert b"".join(map(bytes, chunker.chunks(io.BytesIO(data)))) == data
    chunker._spare.clear()


def test_small_blobs_that_could_not_be_encoded_are_encoded_later(store, monkeypatch):
    """There may be no memory for a moment."""
    monkeypatch.setattr(small, "_GROUP", 2_000)
    failed = threading.Event()
    encode = codec.encode_small

    def without_memory(*arguments):
        if threading.current_thread() is not threading.main_thread():
            failed.set()
            raise MemoryError
        return encode(*arguments)

    monkeypatch.setattr(codec, "encode_small", without_memory)
    data = [content(1_000, number) for number in range(20)]
    with store.batch():
        digests = [store.put(item) for item in data]
        failed.wait(10)
    assert [store.get(digest) for digest in digests] == data


def test_no_record_rests_on_a_commit_that_failed_while_it_was_added(
    store, make_record, monkeypatch
):
    known = store.put(b"known")

    def is_known(_):
        """The commit that the other blob is in begins just now, and fails."""

        def fdatasync(_):
            raise OSError(errno.EIO, "Input/output error")

        with monkeypatch.context() as patch, pytest.raises(StorageFailed):
            patch.setattr(os, "fdatasync", fdatasync)
            store.flush()
        return True

    with pytest.raises(BlobVanished), store.batch():
        record = make_record(blob=store.put(b"lost"), needs=(known,))
        store._session.writer.add_record(record, is_known)
    assert Digest.of(b"lost") not in store
    assert store.record_by_digest(record.digest) is None


@pytest.mark.parametrize(
    "how", ["threading.Thread(target=write).start()", "atexit.register(write)"]
)
def test_a_store_can_be_used_while_the_interpreter_ends(path, how):
    """Where no more threads are to be had."""
    program = f"""
import atexit, sys, threading, time
from druse_store import Store
store = Store.open(sys.argv[1])
def write():
    time.sleep(0.2)
    digests = [store.put(b"%d words " % n * 200_000) for n in range(3)]
    with store.batch():
        digests += [store.put(b"%d words" % n * 100) for n in range(2_000)]
    assert len({{store.get(digest) for digest in digests}}) == 2_003
    store.close()
    print("written")
{how}
"""
    assert printed(program, str(path)) == "written\n"


def test_numbers_are_shuffled_while_another_thread_imports_numpy():
    program = """
import threading
from contextlib import suppress
from druse_store import codec
numbers = bytes(range(256)) * 64
errors = []
def encode():
    while main.is_set():
        try:
            codec.encode(numbers, itemsize=8)
        except Exception as error:
            errors.append(error)
main = threading.Event()
main.set()
thread = threading.Thread(target=encode)
thread.start()
import numpy
main.clear()
thread.join()
print(errors[:1])
"""
    assert printed(program) == "[]\n"


def printed(program, *arguments):
    """What a program prints that says nothing of errors."""
    command = [sys.executable, "-c", program, *arguments]
    finished = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert finished.stderr == ""
    return finished.stdout


@pytest.mark.parametrize("size", [1_000, 100_000, 3_000_000])
@pytest.mark.parametrize("kind", ["numbers", "noise"])
def test_bytes_that_change_meanwhile_are_stored_as_they_were_seen(path, size, kind):
    """Or refused, where they lie raw; never under the name of something else."""
    plain = content(size) if kind == "noise" else (b"%d, " % size * size)[:size]
    buffer = bytearray(plain)
    is_over = threading.Event()

    def change():
        at = 0
        while not is_over.is_set():
            at = (at * 1_103_515_245 + 12_345) % size
            buffer[at] ^= 0xFF

    thread = threading.Thread(target=change)
    thread.start()
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with Store.open(path) as store:
            digests = []
            for _ in range(40_000_000 // (size + 400_000)):
                with suppress(InvalidInput):
                    digests.append(store.put(buffer))
            for digest in digests:
                store.get(digest)
            assert store.verify().clean
    finally:
        sys.setswitchinterval(before)
        is_over.set()
        thread.join()


def test_an_extent_that_is_refused_leaves_no_frame(path, monkeypatch):
    """Bytes that change between the look at them and the write: the pack says nothing of them."""
    data = bytearray(content(3_000_000))
    with Store.open(path) as store:
        append = Appender.append

        def changed(self, head, *parts):
            if head[4] == frames.EXTENT:
                data[2_500_000] ^= 1
            return append(self, head, *parts)

        with store.batch():
            with monkeypatch.context() as patch, pytest.raises(InvalidInput, match="changed"):
                patch.setattr(Appender, "append", changed)
                store.put(data)
            digest = store.put(data)
        assert store.get(digest) == data
        assert store.verify().clean
        assert sum(pack.stat().st_size for pack in packs(path)) < 3_100_000


def test_a_part_that_is_here_may_change_too(path, monkeypatch):
    plain = content(3_000_000)
    data = bytearray(plain + content(1_000_000, 1))
    start = chunker.split(memoryview(plain))[0]
    second = Digest.of(next(chunker.cuts(memoryview(plain)[start:])))
    with Store.open(path) as store:
        store.put(plain)
        rely = Writer.rely

        def changed(self, digest):
            data[start] ^= digest == second
            return rely(self, digest)

        with monkeypatch.context() as patch, pytest.raises(InvalidInput, match="changed"):
            patch.setattr(Writer, "rely", changed)
            store.put(data)
        digest = store.put(data)
        assert store.get(digest) == data
