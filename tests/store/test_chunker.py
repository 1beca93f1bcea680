import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyfastcdc
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from druse_store import chunker


def noise(size: int, seed: bytes = b"druse") -> bytes:
    return blake3(seed).digest(length=size)


def cut(data: bytes) -> list[bytes]:
    ends = chunker.split(memoryview(data))
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


class ShortReads(io.RawIOBase):
    """A pipe: gives what it has, never as much as was asked for."""

    def __init__(self, data: bytes, at_most: int) -> None:
        self._data = io.BytesIO(data)
        self._at_most = at_most

    def readable(self) -> bool:
        return True

    def readinto(self, room) -> int:
        piece = self._data.read(min(len(room), self._at_most))
        room[: len(piece)] = piece
        return len(piece)


class OnlyRead:
    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        return self._data.read(size)


GOLDEN = {
    b"druse": [543363, 862055, 1400749, 2068720, 2897319, 3473449, 4063150, 4194304],
    b"golden": [533059, 1065639, 1655961, 2339546, 3176298, 3911924, 4194304],
}


@pytest.mark.parametrize("seed", sorted(GOLDEN))
def test_cut_points_of_format_version_1_never_move(seed):
    assert chunker.split(memoryview(noise(4 << 20, seed))) == GOLDEN[seed]


def test_cut_points_in_constant_bytes_are_at_the_maximum():
    size = 3 * chunker.MAX + 5
    expected = [chunker.MAX, 2 * chunker.MAX, 3 * chunker.MAX, size]
    assert chunker.split(memoryview(bytes(size))) == expected


def test_no_bytes_have_no_chunks():
    assert chunker.split(memoryview(b"")) == []
    assert list(chunker.chunks(io.BytesIO())) == []


@pytest.mark.parametrize("size", [1, 2, chunker.MIN - 1, chunker.MIN])
def test_a_blob_of_at_most_the_minimum_is_one_chunk(size):
    assert chunker.split(memoryview(noise(size))) == [size]


@given(size=st.integers(0, 5 * chunker.MAX), seed=st.binary(max_size=8))
def test_chunks_keep_to_their_bounds_and_cover_the_bytes(size, seed):
    data = noise(size, seed)
    pieces = cut(data)
    assert b"".join(pieces) == data
    assert all(chunker.MIN <= len(piece) <= chunker.MAX for piece in pieces[:-1])
    assert all(0 < len(piece) <= chunker.MAX for piece in pieces[-1:])


@pytest.mark.parametrize(
    "size",
    [
        0,
        1,
        chunker.MIN,
        chunker.MAX,
        *(8 * chunker.MAX + more for more in (-1, 0, 1, 12 * chunker.MAX + 12345)),
    ],
)
def test_a_stream_is_cut_where_the_same_bytes_in_memory_are(size):
    data = noise(size)
    assert [bytes(piece) for piece in chunker.chunks(io.BytesIO(data))] == cut(data)


@pytest.mark.parametrize("make", [lambda d: ShortReads(d, 40_001), OnlyRead])
def test_how_a_reader_hands_out_its_bytes_does_not_move_the_cuts(make):
    data = noise(9 * chunker.MAX + 77)
    assert [bytes(piece) for piece in chunker.chunks(make(data))] == cut(data)


def test_streamed_chunks_stay_valid_while_later_ones_are_read():
    data = noise(20 * chunker.MAX)
    assert b"".join(list(chunker.chunks(io.BytesIO(data)))) == data


def test_chunks_stay_valid_while_later_streams_are_read():
    streams = [noise(9 * chunker.MAX + 5, b"%d" % number) for number in range(6)]
    kept = [list(chunker.chunks(io.BytesIO(data))) for data in streams]
    assert [b"".join(pieces) for pieces in kept] == streams


def test_a_long_stream_is_cut_in_constant_memory():
    program = """
import resource, sys
from druse_store import chunker
class Endless:
    left = 512 << 20
    def readinto(self, room):
        count = min(len(room), self.left)
        self.left -= count
        return count
list(zip(range(3), chunker.chunks(Endless())))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for piece in chunker.chunks(Endless()):
    pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    grown_kib = int(run_python(program).stdout)
    assert grown_kib < 32 * 1024


def test_an_insert_changes_only_the_chunks_around_it():
    data = noise(16 << 20)
    edited = data[:5_000_000] + b"a few bytes more" + data[5_000_000:]
    assert len(set(cut(edited)) - set(cut(data))) <= 2


def test_a_platform_without_the_compiled_module_is_refused_loudly(tmp_path):
    """Its users would otherwise wait minutes for what takes a second, and never learn why."""
    installed = Path(pyfastcdc.__file__).parent
    shutil.copytree(installed, tmp_path / "pyfastcdc", ignore=shutil.ignore_patterns("*.so", "cy"))
    program = "from druse_store import chunker; chunker.split(memoryview(bytes(1_000_000)))"
    done = run_python(program, first_on_path=tmp_path)
    assert done.returncode == 1
    assert "EngineMissing: pyfastcdc has no compiled module here" in done.stderr


def run_python(program: str, first_on_path: Path | None = None) -> subprocess.CompletedProcess[str]:
    store = Path(chunker.__file__).parents[1]
    path = os.pathsep.join(str(entry) for entry in (first_on_path, store) if entry)
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
