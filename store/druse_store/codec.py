"""How a chunk's bytes lie in its frame: raw, zstd, or byte-shuffled and then zstd.

`encode` decides by a cheap probe and returns a code with the stored bytes; `decode` undoes it,
never producing more than the size that the index promised. A code says everything that decoding
needs: a shuffle's code is its width, so no parameter lies in the data where damage could bend it.

A shuffle of width w regroups the bytes into planes: plane i holds byte i of every w-byte element.
Exponents and high bytes of numbers repeat; side by side they compress, interleaved with noisy low
bytes they do not. Those may stay together: 2, 4 or 8 planes, byte beside byte, are a lane,
and never compressed. Stored is, for w planes of n bytes and a tail that fills no element:

    size >= 1024 w:  head 1 | w lengths (4 bytes, little-endian) | lanes, each raw or, if it is one
                     plane, zstd | the first `head` bytes, which fill no element, and the tail
    size <  1024 w:  one zstd frame of all planes and the tail: less overhead for what is small

The length of a plane is 0 where it is in the lane of the one before. A raw lane of k planes has a
length of k n bytes.

This is the only importer of zstandard. Everything here is safe to call from several threads:
compressors are kept per thread, and zstd releases the interpreter lock while it works.
"""

from __future__ import annotations

import re
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
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


_RAW, _ZSTD = Codec.RAW, Codec.ZSTD  # a lookup in the enum takes as long as all else for a chunk
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
SMALL: Final = 16 * 1024  # bytes; up to here, compressing costs no more than asking how
_FEW: Final = 8  # chunks, for which a call each is quicker
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
    if len(view) <= SMALL and itemsize == 1:
        return encode_quickly(data, level)
    codec, parts = encode_as(way_of(view, level, itemsize), view)
    if codec == Codec.RAW:
        return codec, data
    return codec, parts[0] if len(parts) == 1 else b"".join(parts)


def encode_quickly(data: Buffer, level: Level = "fast") -> tuple[Codec, Buffer]:
    """As `encode`, without asking how: for what is small, or is known to compress."""
    view = flat(data)
    packed = _compress(view, _EFFORTS[level][0][0])
    return (Codec.RAW, data) if len(packed) > _WORTH * len(view) else (Codec.ZSTD, packed)


def encode_small(chunks: Sequence[bytes], level: Level) -> list[tuple[Codec, Buffer]]:
    """`encode` for many that are small and not empty, in one call that lets other threads work."""
    if len(chunks) < _FEW:
        return [encode(chunk, level=level) for chunk in chunks]
    packed = _compressor_of(_EFFORTS[level][0][0]).multi_compress_to_buffer(list(chunks))
    # The stubs do not say that a segment is a buffer, which it is.
    small = cast("list[memoryview]", [packed[place] for place in range(len(chunks))])
    return [
        (_ZSTD, one) if len(one) <= _WORTH * len(chunk) else (_RAW, chunk)
        for one, chunk in zip(small, chunks, strict=True)
    ]


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
        parts = _pack(data, width, effort, noisy, -at % width, room)
    if sum(map(len, parts)) > _WORTH * len(data):
        return Codec.RAW, [data]
    return _BY_NUMBER[width], parts


def way_of(chunk: memoryview, level: Level, itemsize: int = 1) -> Way | None:
    """The way for one chunk by itself; None to store it raw."""
    if len(chunk) <= SMALL and itemsize == 1:
        return Way(1, _EFFORTS[level][0][0])
    return _choose(chunk, itemsize, level)


def choose(pieces: Sequence[memoryview], itemsize: int, level: Level, at: int = 0) -> Way | None:
    """The way for neighbours that hold numbers of a known size, the first at byte `at` of them."""
    sample = _numbers(pieces, at)
    plain, shuffled = _EFFORTS[level]
    size, way = len(_compress(sample, min(plain[0], 3))), Way(1, plain[-1])
    for width in _candidates(itemsize):
        whole = len(sample) // width
        apart = planes.split(sample[: whole * width], width, planes.lanes_of(width))
        sizes = [len(_compress(plane, _PLANES)) for plane in apart]
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
        _apart(flat(stored), codec, len(room)).join(room)
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
    return _compressor_of(effort).compress(data)


def _compressor_of(effort: int) -> zstandard.ZstdCompressor:
    mine = _mine()
    compressor = mine.compressors.get(effort)
    if compressor is None:
        compressor = mine.compressors[effort] = _compressor(mine.zstandard, effort)
    return compressor


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
        threads = -1 if sum(sizes) > SMALL else 0
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
    data: memoryview,
    width: int,
    effort: int,
    noisy: int = 0,
    head: int = 0,
    room: memoryview | None = None,
) -> list[Part]:
    """The parts of a shuffled chunk. Its first element begins at byte `head`."""
    large = len(data) >= _MIN_PLANE * width
    head = head if large else 0
    count = (len(data) - head) // width
    end = head + count * width
    lanes = planes.lanes_of(width, noisy if large else 0)
    split = planes.split(data[head:end], width, lanes, room)
    if not large:
        return [_compress(memoryview(b"".join((*split, data[end:]))), effort)]
    parts: list[Part] = []
    lengths = [0] * width
    for (first, _), lane in zip(lanes, split, strict=True):
        part = lane if noisy >> first & 1 else _smaller(_compress(lane, effort), lane)
        lengths[first] = len(part)
        parts.append(part)
    return [struct.pack(f"<B{width}I", head, *lengths), *parts, data[:head], data[end:]]


def _smaller(packed: bytes, plane: memoryview) -> bytes | memoryview:
    return packed if len(packed) < len(plane) else plane


class _Lanes(NamedTuple):
    """A larger shuffled chunk, taken apart and decompressed."""

    width: int
    elements: int
    head: int
    lanes: list[planes.Lane]
    parts: list[memoryview]
    edges: memoryview

    def join(self, room: memoryview) -> None:
        """Fills `room` with the chunk."""
        head, end = self.head, self.head + self.elements * self.width
        planes.join(self.lanes, self.parts, self.width, room[head:end])
        room[:head], room[end:] = self.edges[:head], self.edges[head:]


def _unpack(stored: memoryview, width: int, size: int) -> bytes:
    if size >= _MIN_PLANE * width:
        found = _apart(stored, width, size)
        data = bytearray(size)
        found.join(memoryview(data))
    else:
        shuffled = memoryview(_decompress(stored, size))
        data = bytearray(shuffled)
        count = size // width
        parts = [shuffled[i * count : (i + 1) * count] for i in range(width)]
        planes.join(planes.lanes_of(width), parts, width, memoryview(data)[: count * width])
    return bytes(data)


def _apart(stored: memoryview, width: int, size: int) -> _Lanes:
    """Raises FrameDamaged, before it takes memory for what is not there."""
    start = 1 + 4 * width
    if len(stored) < start:
        raise FrameDamaged(f"a shuffled chunk of {size} bytes is cut short")
    head, *lengths = struct.unpack_from(f"<B{width}I", stored)
    count = (size - head) // width
    lanes, parts = list(_lanes(lengths)), []
    for first, wide in lanes:
        end = start + lengths[first]
        lane = stored[start:end]
        start = end
        if wide == 1 and len(lane) != count:
            lane = memoryview(_decompress(lane, count))
        if len(lane) != wide * count:
            raise FrameDamaged(f"a lane of {wide * count} bytes is stored in {len(lane)}")
        parts.append(lane)
    edges = stored[start:]
    if head >= width or len(edges) != size - count * width:
        raise FrameDamaged(f"a shuffled chunk of {size} bytes is cut short, or too long")
    return _Lanes(width, count, head, lanes, parts, edges)


def _lanes(lengths: Sequence[int]) -> Iterator[planes.Lane]:
    """The lanes that these lengths of planes tell of. Raises FrameDamaged."""
    first = 0
    while first < len(lengths):
        after = first + 1
        while after < len(lengths) and lengths[after] == 0:
            after += 1
        if after - first not in planes.WIDTHS:
            raise FrameDamaged(f"a lane of {after - first} planes is none of any version")
        yield first, after - first
        first = after
