"""The end of a pack that is written in pieces by another thread, past the memory or through it."""

import errno
import os

import pytest

from druse_store import Store, frames
from druse_store.appender import Appender
from druse_store.errors import DiskFull
from druse_store.gc import stream
from druse_store.gc.stream import Stream
from support.runs import noise

PIECES = [noise(size, size) for size in (1, 64, 4_095, 4_096, 700_001, 3_000_000, 5)]


@pytest.fixture
def out(path):
    with Store.open(path) as store:
        made = Appender.create(store._session.location, frames.PACK)
        yield made
        made.close()


def pour(out):
    """Writes all pieces; returns what the file should then have."""
    head = bytes(out._buffer)
    with Stream(out, stream._WORTH) as into:
        into.append_frames(PIECES[:4], 2)
        room = into.space(1_000_000)
        room[:] = noise(1_000_000)
        into.append_frames([room], 1)
        place = into.append(PIECES[0], *PIECES[4:])
        assert into.end == place + len(PIECES[0]) + sum(map(len, PIECES[4:]))
    return b"".join((head, *PIECES[:4], noise(1_000_000), PIECES[0], *PIECES[4:]))


def refuse(monkeypatch, number, *, direct):
    """Lets writes fail: those past the memory, or all large ones."""
    write = os.pwrite

    def pwrite(fd, data, at):
        if _flags(fd) & os.O_DIRECT if direct else len(data) > 4_096:
            raise OSError(number, os.strerror(number))
        return write(fd, data, at)

    monkeypatch.setattr(os, "pwrite", pwrite)


def _flags(fd):
    with open(f"/proc/self/fdinfo/{fd}") as file:
        return int(dict(line.split(maxsplit=1) for line in file)["flags:"], 8)


@pytest.mark.parametrize("way", ["past", "refused", "unknown"])
def test_the_file_has_all_pieces_whatever_the_disk_can_do(out, way, monkeypatch):
    if way == "refused":
        refuse(monkeypatch, errno.EINVAL, direct=True)
    if way == "unknown":
        monkeypatch.delattr(os, "O_DIRECT")
    expected = pour(out)
    out.sync()
    assert out.path.read_bytes() == expected
    assert (out.end, out.frames) == (len(expected), 4)


def test_what_is_appended_later_follows(out):
    expected = pour(out)
    out.append(b"head" * 16, b"more")
    out.sync()
    assert out.path.read_bytes() == expected + b"head" * 16 + b"more"


def test_a_disk_that_is_full_is_told_of_and_the_file_abandoned(out, monkeypatch):
    refuse(monkeypatch, errno.ENOSPC, direct=False)
    with pytest.raises(DiskFull):
        pour(out)
    assert out.failed
