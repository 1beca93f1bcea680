"""How a chunk's bytes lie in its frame: raw, zstd, or byte-shuffled and then zstd.

`encode` decides by a cheap probe and returns a code with the stored bytes; `decode` undoes it,
never producing more than the size that the index promised. A code says everything that decoding
needs: a shuffle's code is its width, so no parameter lies in the data where damage could bend it.

A shuffle of width w regroups the bytes: first every 0th byte of the w-byte elements, then every
1st, and so on, then the tail that fills no element. Exponents and high bytes of numbers repeat;
side by side they compress, interleaved with noisy low bytes they do not.

This is the only importer of zstandard. Everything here is safe to call from several threads:
compressors are kept per thread, and zstd releases the interpreter lock while it works.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING, Final, Literal

from druse_store.errors import FrameDamaged, UnknownCodec

if TYPE_CHECKING:
    from types import ModuleType

    import zstandard
    from typing_extensions import Buffer

Level = Literal["fast", "balanced", "small"]


class Codec(IntEnum):
    """The code in a frame's header. Numbers are part of the format: never reused."""

    RAW = 0
    ZSTD = 1
    SHUFFLE_2 = 2
    SHUFFLE_4 = 4
    SHUFFLE_8 = 8
    SHUFFLE_16 = 16


_WIDTHS: Final = (16, 8, 4, 2)
# (zstd level for bytes, for shuffled numbers). Shuffled numbers gain nothing from more effort
# than level 1 except at "small": what repeats lies side by side already.
_EFFORT: Final[dict[Level, tuple[int, int]]] = {
    "fast": (1, 1),
    "balanced": (3, 1),
    "small": (12, 9),
}
_PROBE: Final = 16 * 1024  # bytes looked at before a codec is chosen for a larger chunk
_WORTH: Final = 0.98  # a codec must save 2 %, or the bytes stay raw and can be mapped
_POOR: Final = 0.85  # bytes of unknown kind that zstd shrinks less than this may be numbers


def encode(data: Buffer, *, level: Level = "balanced", itemsize: int = 1) -> tuple[Codec, Buffer]:
    """Choose a codec for one chunk and apply it.

    `itemsize` is the size in bytes of the numbers in `data`; 1 where it is not known. Returns the
    code and the bytes to store: `data` itself where compression does not pay.
    """
    view = flat(data)
    width = _choose(view, itemsize)
    if width == 0:
        return Codec.RAW, data
    plain, shuffled = _EFFORT[level]
    if width == 1:
        stored = _compressor(plain).compress(view)
    else:
        stored = _compressor(shuffled).compress(_shuffle(view, width))
    if len(stored) > _WORTH * len(view):
        return Codec.RAW, data
    return Codec(width), stored


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
    if codec not in _KNOWN:
        raise UnknownCodec(
            f"a chunk was stored with codec {codec}, which this version of druse does not know; "
            "a newer version wrote it: upgrade druse to read it"
        )
    plain = _decompress(flat(stored), size)
    return plain if codec == Codec.ZSTD else _unshuffle(plain, codec)


_KNOWN: Final = frozenset(int(codec) for codec in Codec)


def pays(data: Buffer, itemsize: int = 1) -> bool:
    """Whether a sample says that these bytes compress; if not, they are best stored raw, whole."""
    return _choose(flat(data), itemsize) != 0


def flat(data: Buffer) -> memoryview:
    """The bytes of any contiguous buffer, whatever its shape and element type."""
    view = memoryview(data)
    return view.cast("B") if view.nbytes else memoryview(b"")


def _choose(view: memoryview, itemsize: int) -> int:
    """The shuffle width that a sample favours; 1 for zstd alone, 0 for raw."""
    if len(view) <= _PROBE and itemsize == 1:
        return 1 if view else 0  # compressing it is as cheap as asking
    sample = _sample(view)
    worth = _WORTH * len(sample)
    sizes = {1: _squeezed(sample)}
    for width in _candidates(itemsize, sizes[1] / len(sample) if sample else 0.0):
        sizes[width] = _squeezed(_shuffle(sample, width))
    best = min(sizes, key=lambda width: (sizes[width], width))
    return best if sizes[best] < worth else 0


def _candidates(itemsize: int, plain_ratio: float) -> Iterable[int]:
    if itemsize > 1:
        return [width for width in _WIDTHS if itemsize % width == 0][:2]
    return (8, 4, 2) if plain_ratio > _POOR else ()


def _sample(view: memoryview) -> memoryview:
    """The start and the middle: a header at the start must not speak for the whole chunk."""
    if len(view) <= _PROBE:
        return view
    half = _PROBE // 2
    middle = len(view) // 2 // 16 * 16  # keeps the phase of the elements
    return memoryview(bytes(view[:half]) + bytes(view[middle : middle + half]))


def _squeezed(data: memoryview | bytearray) -> int:
    return len(_compressor(1).compress(data))


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


def _compressor(effort: int) -> zstandard.ZstdCompressor:
    try:
        return _mine().compressors[effort]
    except KeyError:
        mine = _mine()
        made: zstandard.ZstdCompressor = mine.zstandard.ZstdCompressor(level=effort)
        mine.compressors[effort] = made
        return made


def _decompress(stored: memoryview, size: int) -> bytes:
    try:
        # The frame's header is as little to be trusted as the rest: zstd allocates what it says.
        promised = _mine().zstandard.frame_content_size(stored)
        if promised != size:
            raise FrameDamaged(f"a zstd chunk of {size} bytes says that it has {promised}")
        plain = _mine().decompressor.decompress(stored, allow_extra_data=False)
    except _mine().zstandard.ZstdError as error:
        raise FrameDamaged(f"a zstd chunk of {size} bytes does not decompress: {error}") from error
    if len(plain) != size:
        raise FrameDamaged(f"a zstd chunk of {size} bytes decompressed to {len(plain)}")
    return plain


def _numpy() -> ModuleType | None:
    """numpy, if the program has loaded it: importing it would cost more than it saves.

    Both ways give the same bytes; numpy also releases the interpreter lock.
    """
    return sys.modules.get("numpy")


def _shuffle(data: memoryview, width: int) -> bytearray:
    count = len(data) // width
    whole = count * width
    planes = bytearray(len(data))
    if (numpy := _numpy()) is not None:
        elements = numpy.frombuffer(data[:whole], "u1").reshape(count, width)
        by_plane = numpy.frombuffer(planes, "u1", whole).reshape(width, count)
        by_plane[...] = elements.T
    else:
        for plane in range(width):
            planes[plane * count : (plane + 1) * count] = data[plane:whole:width]
    planes[whole:] = data[whole:]
    return planes


def _unshuffle(planes: bytes, width: int) -> bytes:
    count = len(planes) // width
    whole = count * width
    data = bytearray(len(planes))
    if (numpy := _numpy()) is not None:
        by_plane = numpy.frombuffer(planes, "u1", whole).reshape(width, count)
        elements = numpy.frombuffer(data, "u1", whole).reshape(count, width)
        for plane in range(width):  # a third faster than one transposed assignment
            elements[:, plane] = by_plane[plane]
    else:
        for plane in range(width):
            data[plane:whole:width] = planes[plane * count : (plane + 1) * count]
    data[whole:] = planes[whole:]
    return bytes(data)
