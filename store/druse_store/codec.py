"""How a chunk's bytes lie in its frame: raw, zstd, or byte-shuffled and then zstd.

`encode` decides by a cheap probe and returns a code with the stored bytes; `decode` undoes it,
never producing more than the size that the index promised. A code says everything that decoding
needs: a shuffle's code is its width, so no parameter lies in the data where damage could bend it.

A shuffle of width w regroups the bytes into planes: plane i holds byte i of every w-byte element.
Exponents and high bytes of numbers repeat; side by side they compress, interleaved with noisy low
bytes they do not. Stored is, for w planes of n bytes and a tail that fills no element:

    n >= 1024:  w lengths (4 bytes, little-endian) | w planes, each raw (length n) or zstd | tail
    n <  1024:  one zstd frame of all planes and the tail: less overhead for what is small

This is the only importer of zstandard. Everything here is safe to call from several threads:
compressors are kept per thread, and zstd releases the interpreter lock while it works.
"""

from __future__ import annotations

import re
import struct
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias, cast

from druse_store import planes
from druse_store.errors import FrameDamaged, UnknownCodec

if TYPE_CHECKING:
    import zstandard
    from typing_extensions import Buffer

Level = Literal["fast", "balanced", "small"]
Part: TypeAlias = bytes | memoryview


class Codec(IntEnum):
    """The code in a frame's header. Numbers are part of the format: never reused."""

    RAW = 0
    ZSTD = 1
    SHUFFLE_2 = 2
    SHUFFLE_4 = 4
    SHUFFLE_8 = 8
    SHUFFLE_16 = 16


_BY_NUMBER: Final = {int(codec): codec for codec in Codec}  # faster than calling the enum
_WIDTHS: Final = (16, 8, 4, 2)
# In place of a zstd level, for planes: matches of seven bytes and more, found by a small table. Of
# what repeats in noisy bytes, short matches cost more than they save: against level 1, weights get
# a few percent smaller, in half of the time.
_PLANES: Final = 0
# The zstd levels to choose from for bytes, quickest first, and the one for shuffled numbers, which
# gain little from more effort: what repeats lies side by side already. Level 1 stores numbers that
# are written as text smaller than level 3 does, and other text a tenth larger.
_EFFORTS: Final[dict[Level, tuple[tuple[int, ...], int]]] = {
    "fast": ((1,), _PLANES),
    "balanced": ((1, 3), _PLANES),
    "small": ((12,), 9),
}
_SMALL: Final = 16 * 1024  # bytes; up to here, compressing costs no more than asking how
_PROBE: Final = 8 * 1024  # bytes of a larger chunk that are looked at
_WORTH: Final = 0.98  # a codec must save 2 %, or the bytes stay raw and can be mapped
_MIN_PLANE: Final = 1024  # bytes; part of the format
_PLAIN_HANDICAP: Final = 1.20  # at about the same size, numbers are faster shuffled
_PLANE_COST: Final = 16  # bytes that each plane costs in a sample, and hardly any in a whole chunk
_STRIPS: Final = 4  # samples of neighbours
_STRIP: Final = 8 * 1024  # bytes of each
_NOISY: Final = 0.97  # a plane that saves less in a sample is not worth its time
_NPY: Final = re.compile(rb"\x93NUMPY.{4,6}\{'descr': '[<>|=]([a-zA-Z])(\d{1,4})'", re.DOTALL)


class Way(NamedTuple):
    """How bytes are encoded. Of shuffled numbers, `noisy` has a bit for each byte of an element
    that seems not to compress, and is not tried."""

    width: int  # 1: not shuffled
    effort: int
    noisy: int = 0


def encode(data: Buffer, *, level: Level = "balanced", itemsize: int = 1) -> tuple[Codec, Buffer]:
    """Choose a codec for one chunk and apply it.

    `itemsize` is the size in bytes of the numbers in `data`; 1 where it is not known. Returns the
    code and the bytes to store: `data` itself where compression does not pay.
    """
    view = flat(data)
    if len(view) <= _SMALL and itemsize == 1:
        packed = _compress(view, _EFFORTS[level][0][0])
        return (Codec.RAW, data) if len(packed) > _WORTH * len(view) else (_BY_NUMBER[1], packed)
    codec, parts = encode_as(way_of(view, level, itemsize), view)
    if codec == Codec.RAW:
        return codec, data
    return codec, parts[0] if len(parts) == 1 else b"".join(parts)


def encode_as(
    way: Way | None, data: memoryview, at: int = 0, room: memoryview | None = None
) -> tuple[Codec, list[Part]]:
    """Encodes in this way (None: raw); returns the code, and what to store, in parts.

    `data` begins at byte `at` of the numbers that the way was chosen for. With a `room` of as many
    bytes, parts may lie in there.
    """
    if way is None:
        return Codec.RAW, [data]
    width, effort, noisy = way
    if width == 1:
        parts: list[Part] = [_compress(data, effort)]
    else:
        parts = _pack(data, width, effort, _turned(noisy, at % width, width), room)
    if sum(map(len, parts)) > _WORTH * len(data):
        return Codec.RAW, [data]
    return _BY_NUMBER[width], parts


def way_of(chunk: memoryview, level: Level, itemsize: int = 1) -> Way | None:
    """The way for one chunk by itself; None to store it raw."""
    if len(chunk) <= _SMALL and itemsize == 1:
        return Way(1, _EFFORTS[level][0][0])
    return _choose(chunk, itemsize, level)


def choose(pieces: Sequence[memoryview], itemsize: int, level: Level, at: int = 0) -> Way | None:
    """The way for neighbours that hold numbers of a known size, the first at byte `at` of them."""
    sample = _numbers(pieces, at)
    plain, shuffled = _EFFORTS[level]
    size, way = len(_compress(sample, min(plain[0], 3))), Way(1, plain[-1])
    for width in _candidates(itemsize):
        whole = len(sample) // width
        sizes = [len(_compress(plane, _PLANES)) for plane in planes.split(sample, width)]
        total = sum(min(packed, whole) for packed in sizes)
        if total <= size * _PLAIN_HANDICAP:
            quick = shuffled == _PLANES
            noisy = (1 << i for i, packed in enumerate(sizes) if quick and packed > _NOISY * whole)
            size, way = total, Way(width, shuffled, sum(noisy))
    return way if size < _WORTH * len(sample) else None


def decode(codec: int, stored: Buffer, size: int) -> bytes:
    """The `size` bytes that `encode` was given.

    Raises `UnknownCodec` for a code of a newer version, and `FrameDamaged` where the stored bytes
    do not decode to exactly `size` bytes. Never allocates more than a small multiple of `size`.
    """
    if codec == Codec.RAW:
        plain = bytes(stored)
        if len(plain) != size:
            raise FrameDamaged(f"a raw chunk of {size} bytes is stored in {len(plain)} bytes")
        return plain
    if codec not in _BY_NUMBER:
        raise UnknownCodec(
            f"a chunk was stored with codec {codec}, which this version of druse does not know; "
            "a newer version wrote it: upgrade druse to read it"
        )
    if codec == Codec.ZSTD:
        return _decompress(flat(stored), size)
    return _unpack(flat(stored), codec, size)


def decode_into(codec: int, stored: Buffer, room: memoryview) -> None:
    """As `decode`, to exactly the bytes of `room`; what it holds after an error is undefined."""
    if codec in _WIDTHS and len(room) >= codec * _MIN_PLANE:
        planes.join(*_planes(flat(stored), codec, len(room)), room)
    else:
        room[:] = decode(codec, stored, len(room))


def decode_many(chunks: Sequence[tuple[int, Buffer, int]]) -> list[Buffer | None]:
    """`decode(*chunk)` for each, on all cores; None for one that cannot be decoded."""
    plain: list[Buffer | None] = [None] * len(chunks)
    together = [place for place, chunk in enumerate(chunks) if chunk[0] == Codec.ZSTD]
    sizes = [chunks[place][2] for place in together]
    try:
        found = _decompress_many([flat(chunks[place][1]) for place in together], sizes)
    except FrameDamaged:
        together = []  # one of them: each for itself tells which
    else:
        for place, data in zip(together, found, strict=True):
            plain[place] = data
    done = set(together)
    for place, (kind, stored, size) in enumerate(chunks):
        if kind == Codec.RAW and memoryview(stored).nbytes == size:
            plain[place] = stored
        elif place not in done:
            with suppress(FrameDamaged, UnknownCodec):
                plain[place] = decode(kind, stored, size)
    return plain


def pays(data: Buffer, itemsize: int = 1) -> bool:
    """Whether a sample says that these bytes compress; if not, they are best stored raw, whole."""
    return _choose(flat(data), itemsize, "fast") is not None


def itemsize_of(head: Buffer) -> int:
    """The size of the numbers in a file that begins with `head`, if it is a .npy file; else 1."""
    if (found := _NPY.match(flat(head)[:128])) is None:
        return 1
    kind, size = found.groups()
    return 4 if kind == b"U" else max(int(size), 1)


def flat(data: Buffer) -> memoryview:
    """The bytes of any contiguous buffer, whatever its shape and element type."""
    view = memoryview(data)
    return view.cast("B") if view.nbytes else memoryview(b"")


def _choose(view: memoryview, itemsize: int, level: Level) -> Way | None:
    """The way that a sample of one chunk favours; None to store it raw."""
    plain, shuffled = _EFFORTS[level]
    sample = _sample(view)
    known = itemsize > 1  # then shuffling is likely right, and needs less proof
    tried: list[tuple[float, int, Way]] = []
    for width in _candidates(itemsize):
        size = sum(map(len, _pack(sample, width, _PLANES)))
        cost = _PLANE_COST * width if known else 0
        tried.append((size - cost, size, Way(width, shuffled)))
    for effort in plain:
        size = len(_compress(sample, min(effort, 3)))
        tried.append((size * (_PLAIN_HANDICAP if known else 1), size, Way(1, effort)))
    _, size, way = min(tried)
    return way if size < _WORTH * len(sample) else None


def _candidates(itemsize: int) -> Iterable[int]:
    """The widths to try: the largest that fits, or the usual ones where the size is not known."""
    return (8, 4, 2) if itemsize == 1 else [w for w in _WIDTHS if itemsize % w == 0][:1]


def _sample(view: memoryview) -> memoryview:
    """The start and the middle: a header at the start must not speak for the whole chunk."""
    if len(view) <= _PROBE:
        return view
    half = _PROBE // 2
    middle = len(view) // 2 // 16 * 16  # keeps the phase of the elements
    return memoryview(bytes(view[:half]) + bytes(view[middle : middle + half]))


def _numbers(pieces: Sequence[memoryview], at: int) -> memoryview:
    """Samples from all over neighbours, which begin at byte `at`: whole numbers, side by side."""
    found: list[memoryview] = []
    every = max(len(pieces) // _STRIPS, 1)
    for number, piece in enumerate(pieces):
        if number % every == 0:
            start = len(piece) // 2 // 16 * 16 + -at % 16
            found.append(piece[start : start + _STRIP])
        at += len(piece)
    return memoryview(b"".join(found))


def _turned(noisy: int, by: int, width: int) -> int:
    """The bits of a chunk whose first byte is byte `by` of an element."""
    return (noisy >> by | noisy << width - by) & (1 << width) - 1


class _PerThread(threading.local):
    """A zstd context is not safe to share, and costs too much to make for each chunk."""

    def __init__(self) -> None:
        import zstandard  # nine milliseconds, which a command that reads no blob can do without

        self.zstandard = zstandard
        self.compressors: dict[int, zstandard.ZstdCompressor] = {}
        self.decompressor = zstandard.ZstdDecompressor()


@cache
def _mine() -> _PerThread:
    """Made at first use, each thread's part when that thread comes."""
    return _PerThread()


def _compress(data: memoryview, effort: int) -> bytes:
    mine = _mine()
    compressor = mine.compressors.get(effort)
    if compressor is None:
        compressor = mine.compressors[effort] = _compressor(mine.zstandard, effort)
    return compressor.compress(data)


def _compressor(zstd: Any, effort: int) -> zstandard.ZstdCompressor:
    made: zstandard.ZstdCompressor
    if effort == _PLANES:
        parameters = zstd.ZstdCompressionParameters.from_level(
            1, strategy=zstd.STRATEGY_FAST, min_match=7, hash_log=11
        )
        made = zstd.ZstdCompressor(compression_params=parameters)
    else:
        made = zstd.ZstdCompressor(level=effort)
    return made


def _decompress(stored: memoryview, size: int) -> bytes:
    mine = _mine()
    try:
        # The frame's header is as little to be trusted as the rest: zstd allocates what it says.
        promised = mine.zstandard.frame_content_size(stored)
        if promised != size:
            raise FrameDamaged(f"a zstd chunk of {size} bytes says that it has {promised}")
        plain = mine.decompressor.decompress(stored, allow_extra_data=False)
    except mine.zstandard.ZstdError as error:
        raise FrameDamaged(f"a zstd chunk of {size} bytes does not decompress: {error}") from error
    if len(plain) != size:
        raise FrameDamaged(f"a zstd chunk of {size} bytes decompressed to {len(plain)}")
    return plain


def _decompress_many(stored: list[memoryview], sizes: list[int]) -> list[Buffer]:
    """Raises FrameDamaged if one of them is."""
    if not stored:
        return []
    mine = _mine()
    expected = struct.pack(f"={len(sizes)}Q", *sizes)
    try:
        threads = -1 if sum(sizes) > _SMALL else 0
        found = mine.decompressor.multi_decompress_to_buffer(
            stored,  # type: ignore[arg-type]  # a list is invariant
            decompressed_sizes=expected,
            threads=threads,
        )
    except mine.zstandard.ZstdError as error:
        raise FrameDamaged(f"one of {len(sizes)} zstd chunks does not decompress") from error
    # The stubs do not say that a segment is a buffer, which it is.
    return [cast("Buffer", found[place]) for place in range(len(found))]


def _pack(
    data: memoryview, width: int, effort: int, noisy: int = 0, room: memoryview | None = None
) -> list[Part]:
    count = len(data) // width
    split, tail = planes.split(data, width, room), data[width * count :]
    if count < _MIN_PLANE:
        return [_compress(memoryview(b"".join((*split, tail))), effort)]
    packed = [
        plane if noisy >> i & 1 else _smaller(_compress(plane, effort), plane)
        for i, plane in enumerate(split)
    ]
    return [b"".join(len(plane).to_bytes(4, "little") for plane in packed), *packed, tail]


def _smaller(packed: bytes, plane: memoryview) -> bytes | memoryview:
    return packed if len(packed) < len(plane) else plane


def _unpack(stored: memoryview, width: int, size: int) -> bytes:
    count = size // width
    if count >= _MIN_PLANE:
        return _unshuffle(*_planes(stored, width, size))
    shuffled = memoryview(_decompress(stored, size))
    parts = [shuffled[i * count : (i + 1) * count] for i in range(width)]
    return _unshuffle(parts, shuffled[width * count :])


def _planes(stored: memoryview, width: int, size: int) -> tuple[list[memoryview], memoryview]:
    """The planes of a larger chunk, and its tail. Raises FrameDamaged."""
    count = size // width
    found = []
    start = 4 * width
    for head in range(0, start, 4):
        end = start + int.from_bytes(stored[head : head + 4], "little")
        plane = stored[start:end]
        found.append(plane if end - start == count else memoryview(_decompress(plane, count)))
        start = end
    tail = stored[start:]
    if len(tail) != size % width or any(len(plane) != count for plane in found):
        raise FrameDamaged(f"a shuffled chunk of {size} bytes is cut short, or too long")
    return found, tail


def _unshuffle(parts: Sequence[memoryview], tail: memoryview) -> bytes:
    data = bytearray(len(parts) * len(parts[0]) + len(tail))
    planes.join(parts, tail, memoryview(data))
    return bytes(data)
