import contextlib
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import zstandard
from blake3 import blake3
from hypothesis import example, given, settings
from hypothesis import strategies as st

from druse_store import codec, planes
from druse_store.codec import Codec
from druse_store.errors import FrameDamaged, UnknownCodec

LEVELS = ("fast", "balanced", "small")


def noise(size: int) -> bytes:
    return blake3(b"druse").digest(length=size)


def walk(dtype: str, count: int = 40_000) -> np.ndarray:
    steps = np.random.default_rng(7).normal(size=count)
    return (np.cumsum(steps) * 10).astype(dtype)


def counting(width: int) -> bytes:
    """Elements 0 to 4, little-endian, with every higher byte 7."""
    return b"".join(bytes([i] + [7] * (width - 1)) for i in range(5))


@given(
    data=st.one_of(
        st.binary(max_size=4096),
        st.tuples(st.binary(min_size=1, max_size=50), st.integers(0, 3000)).map(
            lambda pair: pair[0] * pair[1]
        ),
        st.integers(0, 100_000).map(noise),
    ),
    level=st.sampled_from(LEVELS),
    itemsize=st.integers(1, 40),
)
@example(data=b"", level="balanced", itemsize=8)
@example(data=b"a", level="balanced", itemsize=8)
def test_what_was_encoded_decodes_to_the_same_bytes(data, level, itemsize):
    code, stored = codec.encode(data, level=level, itemsize=itemsize)
    assert codec.decode(code, stored, len(data)) == data


@given(
    count=st.integers(0, 1100),
    width=st.sampled_from([2, 4, 8, 16]),
    tail=st.integers(0, 15),
    noisy=st.integers(0, 0xFFFF),
    head=st.integers(0, 15),
)
@example(count=1023, width=8, tail=7, noisy=0, head=0)
@example(count=1023, width=8, tail=7, noisy=255, head=7)
@example(count=1024, width=8, tail=7, noisy=0, head=0)
@example(count=1024, width=8, tail=0, noisy=0x7E, head=1)
@example(count=1100, width=16, tail=3, noisy=0xFFFF, head=0)
def test_a_shuffle_is_undone_whatever_the_length_and_width(count, width, tail, noisy, head):
    data = noise(count * width)[: count * width // 2].ljust(count * width, b"x") + bytes(
        tail % width
    )
    noisy %= 1 << width
    packed = b"".join(codec._pack(memoryview(data), width, 1, noisy, head % width))
    assert codec.decode(width, packed, len(data)) == data
    assert without_numpy(codec._pack, memoryview(data), width, 1, noisy, head % width) == packed
    assert without_numpy(codec.decode, width, packed, len(data)) == data


def without_numpy(function, *arguments):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(planes, "loaded", lambda _: None)
        return b"".join(
            [function(*arguments)] if function is codec.decode else function(*arguments)
        )


@pytest.mark.parametrize(
    ("width", "noisy", "expected"),
    [
        (8, 0, [(i, 1) for i in range(8)]),
        (8, 0b0011_1111, [(0, 4), (4, 2), (6, 1), (7, 1)]),
        (8, 0b1111_1110, [(0, 1), (1, 1), (2, 2), (4, 4)]),
        (4, 0b1111, [(0, 4)]),
        (
            16,
            0b0011_1111_0000_1111,
            [(0, 4), (4, 1), (5, 1), (6, 1), (7, 1), (8, 4), (12, 2), (14, 1), (15, 1)],
        ),
    ],
)
def test_noisy_neighbours_share_a_lane_where_they_are_aligned(width, noisy, expected):
    assert planes.lanes_of(width, noisy) == expected


@pytest.mark.parametrize("lengths", [(0, 3072, 0, 0), (3072, 0, 0, 1024), (4095, 0, 0, 0)])
def test_lanes_that_nobody_writes_are_damage(lengths):
    stored = b"\0" + b"".join(n.to_bytes(4, "little") for n in lengths) + noise(sum(lengths))
    with pytest.raises(FrameDamaged):
        codec.decode(4, stored, 4096)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("f8", Codec.SHUFFLE_8),
        ("f4", Codec.SHUFFLE_4),
        ("i8", Codec.SHUFFLE_8),
        ("i2", Codec.SHUFFLE_2),
        (">f8", Codec.SHUFFLE_8),
    ],
)
def test_numbers_are_shuffled_and_that_beats_zstd_alone(dtype, expected):
    array = walk(dtype)
    code, stored = codec.encode(array, itemsize=array.itemsize)
    assert code == expected
    assert len(stored) < 0.95 * len(zstandard.ZstdCompressor(level=3).compress(array))
    assert codec.decode(code, stored, array.nbytes) == array.tobytes()


def neighbours(data: bytes, sizes: list[int]) -> list[memoryview]:
    view, pieces = memoryview(data), []
    for size in sizes:
        pieces.append(view[:size])
        view = view[size:]
    return [piece for piece in (*pieces, view) if len(piece)]


@settings(deadline=None)  # the smallest level takes its time
@given(
    dtype=st.sampled_from(["f8", "f4", "i8", "u2", "c16", "V3", "V12"]),
    sizes=st.lists(st.integers(1, 90_000), max_size=5),
    level=st.sampled_from(LEVELS),
    at=st.integers(0, 40),
    with_room=st.booleans(),
)
def test_neighbours_that_are_looked_at_together_decode_to_the_same_bytes(
    dtype, sizes, level, at, with_room
):
    width = np.dtype(dtype).itemsize
    data = (walk("f8", 40_000 // 8 * 8).tobytes() * 2)[at:]
    pieces = neighbours(data, sizes)
    way = codec.choose(pieces, width, level, at)
    for piece in pieces:
        room = memoryview(bytearray(len(piece))) if with_room else None
        code, parts = codec.encode_as(way, piece, at, room)
        at += len(piece)
        assert codec.decode(code, b"".join(parts), len(piece)) == piece
        back = memoryview(bytearray(len(piece)))
        codec.decode_into(code, b"".join(parts), back)
        assert back == piece


@pytest.mark.parametrize("shift", [0, 1, 3, 7])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i8"])
def test_planes_that_are_not_tried_would_not_have_compressed(dtype, shift):
    """Also where chunks begin within an element: which plane is which turns with that."""
    array = walk(dtype, 200_000)
    pieces = neighbours(array.tobytes(), [250_000 + shift, 300_001 - shift])
    way = codec.choose(pieces, array.itemsize, "balanced")
    assert way.width == array.itemsize
    assert dtype != "f8" or 4 <= way.noisy.bit_count() < 8
    at = together = alone = 0
    for piece in pieces:
        code, parts = codec.encode_as(way, piece, at)
        assert code == array.itemsize
        together += len(b"".join(parts))
        alone += len(b"".join(codec.encode_as(way._replace(noisy=0), piece, at)[1]))
        at += len(piece)
    assert alone <= together <= 1.01 * alone


def test_neighbours_that_do_not_compress_stay_raw():
    pieces = neighbours(noise(500_000), [100_000, 300_000])
    assert codec.choose(pieces, 8, "balanced") is None
    code, (part,) = codec.encode_as(None, pieces[0])
    assert code == Codec.RAW
    assert part is pieces[0]


def test_numbers_of_unknown_type_are_recognised():
    """A .npy or .pt file arrives as plain bytes."""
    data = b"some header of an odd length" + walk("f8").tobytes()
    code, _ = codec.encode(data)
    assert code == Codec.SHUFFLE_8


@pytest.mark.parametrize(
    ("dtype", "itemsize"), [("f8", 8), (">i2", 2), ("c16", 16), ("U5", 4), ("?", 1), ("S3", 3)]
)
def test_the_head_of_a_npy_file_tells_the_size_of_its_numbers(dtype, itemsize):
    file = io.BytesIO()
    np.save(file, np.zeros(3, dtype))
    assert codec.itemsize_of(file.getvalue()) == itemsize


@pytest.mark.parametrize(
    "head", [b"", b"\x93NUMPY", b"id,value\n", b"\x93NUMPY\1\0v\0{'descr': [("]
)
def test_other_files_do_not_tell(head):
    assert codec.itemsize_of(head) == 1


def test_text_is_compressed_without_a_shuffle():
    text = b"".join(path.read_bytes() for path in sorted(Path(codec.__file__).parent.glob("*.py")))
    code, stored = codec.encode(text)
    assert code == Codec.ZSTD
    assert len(stored) < len(text) / 3


@pytest.mark.parametrize("size", [1, 100, 20_000, 300_000])
def test_noise_is_stored_raw_without_a_copy(size):
    data = noise(size)
    code, stored = codec.encode(data)
    assert code == Codec.RAW
    assert stored is data
    assert size < 1000 or not codec.pays(data)


@pytest.mark.parametrize("itemsize", [1, 2, 4, 8, 16, 24])
def test_noise_does_not_pay_whatever_the_size_of_its_elements(itemsize):
    assert not codec.pays(noise(200_000), itemsize)


def test_a_smaller_level_never_stores_more():
    text = Path(codec.__file__).read_bytes() * 3
    sizes = [len(codec.encode(text, level=level)[1]) for level in LEVELS]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[2]


def test_any_contiguous_buffer_can_be_encoded():
    array = np.arange(60, dtype="f8").reshape(3, 4, 5)
    for buffer in (array, bytearray(array.tobytes()), memoryview(array), np.empty((0, 3))):
        code, stored = codec.encode(buffer, itemsize=8)
        assert codec.decode(code, stored, memoryview(buffer).nbytes) == memoryview(buffer).tobytes()


GOLDEN = [
    (Codec.RAW, "68656c6c6f", b"hello"),
    (Codec.ZSTD, "28b52ffd20786d00003064727573652001002f692902", b"druse " * 20),
    (  # planes of 1024 bytes and more stand apart, each raw or a zstd frame
        Codec.SHUFFLE_2,
        "000004000013000000" + noise(1024).hex() + "28b52ffd6000034d00001007070100fb2b8005" + "74",
        b"".join(bytes([byte, 7]) for byte in noise(1024)) + b"t",
    ),
    (  # four planes in one lane; the first element begins at byte 1
        Codec.SHUFFLE_8,
        "01"
        + "00100000"
        + "00000000" * 3
        + "13000000" * 2
        + "00040000"
        + "13000000"
        + noise(4096).hex()
        + "28b52ffd6000034d00001007070100fb2b8005"
        + "28b52ffd6000034d00001008080100fb2b8005"
        + noise(1024).hex()
        + "28b52ffd6000034d00001009090100fb2b8005"
        + "687461",
        b"h"
        + b"".join(
            noise(4096)[4 * i : 4 * i + 4] + bytes([7, 8, noise(1024)[i], 9]) for i in range(1024)
        )
        + b"ta",
    ),
    (Codec.SHUFFLE_2, "28b52ffd200b5900000001020304070707070774", counting(2) + b"t"),
    (Codec.SHUFFLE_4, "28b52ffd20177d0000480001020304077461690100322802", counting(4) + b"tai"),
    (Codec.SHUFFLE_8, "28b52ffd202b7d00004800010203040774616901000e2802", counting(8) + b"tai"),
    (Codec.SHUFFLE_16, "28b52ffd20537d0000480001020304077461690100878222", counting(16) + b"tai"),
]


@pytest.mark.parametrize(("code", "stored", "data"), GOLDEN)
def test_stored_bytes_of_format_version_1_decode_for_ever(code, stored, data):
    assert codec.decode(int(code), bytes.fromhex(stored), len(data)) == data


def test_the_codes_of_format_version_1_keep_their_numbers():
    assert {code.name: int(code) for code in Codec} == {
        "RAW": 0,
        "ZSTD": 1,
        "SHUFFLE_2": 2,
        "SHUFFLE_4": 4,
        "SHUFFLE_8": 8,
        "SHUFFLE_16": 16,
    }


@pytest.mark.parametrize("code", [3, 5, 17, 255, -1])
def test_an_unknown_codec_is_a_clear_error(code):
    with pytest.raises(UnknownCodec, match=f"codec {code}.*upgrade"):
        codec.decode(code, b"bytes", 5)


@pytest.mark.parametrize("promised", [0, 99, 101, 1 << 40])
@pytest.mark.parametrize("code", [Codec.ZSTD, Codec.SHUFFLE_4, Codec.RAW])
def test_another_size_than_the_promised_one_is_damage(code, promised):
    stored = bytes(100) if code == Codec.RAW else zstandard.ZstdCompressor().compress(bytes(100))
    with pytest.raises(FrameDamaged):
        codec.decode(code, stored, promised)


def test_a_bomb_is_refused_before_it_is_unpacked():
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(1 << 30))
    with pytest.raises(FrameDamaged):
        codec.decode(Codec.ZSTD, bomb, 1000)
    program = f"""
import resource, sys
sys.path.insert(0, {str(Path(codec.__file__).parents[1])!r})
resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))
from druse_store import codec, planes
from druse_store.errors import FrameDamaged
# The header says 1000 bytes; the blocks hold a gibibyte.
bomb = bytearray(sys.stdin.buffer.read())
try:
    codec.decode(1, bytes(bomb), 1000)
except FrameDamaged as error:
    print("refused")
"""
    lying = lie_about_size(bomb, 1000)
    done = subprocess.run(
        [sys.executable, "-c", program], input=lying, capture_output=True, check=True
    )
    assert done.stdout == b"refused\n"


def lie_about_size(frame: bytes, size: int) -> bytes:
    """The same blocks under a header that promises `size` bytes in a window of 1 GiB."""
    header = zstandard.frame_header_size(frame)
    magic, descriptor, window = frame[:4], bytes([0x80]), bytes([(30 - 10) << 3])
    return magic + descriptor + window + size.to_bytes(4, "little") + frame[header:]


@given(
    data=st.binary(max_size=100).map(lambda piece: (piece + noise(60)) * 90),
    code=st.sampled_from([1, 2, 4, 8, 16]),
    flip=st.tuples(st.integers(0, 200), st.integers(0, 255)),
    cut=st.integers(0, 50),
    size=st.integers(-20, 20),
    noisy=st.sampled_from([0, 0b11, 0b1111]),
    head=st.integers(0, 15),
)
def test_hostile_bytes_raise_frame_damaged_or_decode_to_the_promised_size(
    data, code, flip, cut, size, noisy, head
):
    view = memoryview(data)
    packed = (
        codec._compress(view, 1)
        if code == 1
        else codec._pack(view, code, 1, noisy % (1 << code), head % code)
    )
    parts = [packed] if isinstance(packed, bytes) else packed
    stored = bytearray().join(parts)
    stored[flip[0] % len(stored)] ^= flip[1]
    del stored[len(stored) - cut :]
    with contextlib.suppress(FrameDamaged):
        assert len(codec.decode(code, stored, len(data) + size)) == len(data) + size


@given(stored=st.binary(max_size=200), code=st.sampled_from([1, 2, 4, 8, 16]))
@example(stored=b"", code=8)
def test_noise_is_never_decoded(stored, code):
    with pytest.raises(FrameDamaged):
        codec.decode(code, stored, 40_000)


def test_threads_do_not_disturb_each_other():
    arrays = [walk("f8") + i for i in range(4)]
    problems = []

    def work(array) -> None:
        for _ in range(20):
            code, stored = codec.encode(array, itemsize=8)
            if codec.decode(code, stored, array.nbytes) != array.tobytes():
                problems.append(code)

    threads = [threading.Thread(target=work, args=(array,)) for array in arrays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_the_stored_bytes_are_the_same_with_and_without_numpy():
    program = """
import sys
from druse_store import codec, planes
data = sys.stdin.buffer.read()
code, stored = codec.encode(data, itemsize=8)
assert "numpy" not in sys.modules
assert codec.decode(code, stored, len(data)) == data
sys.stdout.buffer.write(bytes([code]) + stored)
"""
    data = walk("f8").tobytes() + b"tail"
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=data,
        env={**os.environ, "PYTHONPATH": str(Path(codec.__file__).parents[1])},
        capture_output=True,
        check=True,
    )
    code, stored = codec.encode(data, itemsize=8)
    assert done.stdout == bytes([code]) + stored
