"""The byte-shuffle: the bytes of numbers, regrouped into lanes, and back.

A lane holds one byte, or a few neighbours, of every element. With numpy, if the program has loaded
it (importing it would cost more than it saves), and without: the bytes are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from druse_store.loaded import loaded

WIDTHS: Final = (8, 4, 2, 1)  # of lanes, in bytes
_TYPES: Final = {8: "u8", 4: "u4", 2: "u2", 1: "u1"}  # what numpy moves in one go
Lane = tuple[int, int]  # the first byte of an element that is in it, and how many


def lanes_of(width: int, noisy: int = 0) -> list[Lane]:
    """The lanes of elements of `width` bytes: bytes that stand in `noisy` stay side by side, as
    far as they are aligned, since to move them together is quicker."""
    found: list[Lane] = []
    at = 0
    while at < width:
        wide = (w for w in WIDTHS if at % w == 0 and (1 << w) - 1 & ~(noisy >> at) == 0)
        found.append((at, next(wide, 1)))
        at += found[-1][1]
    return found


def split(
    data: memoryview, width: int, lanes: Sequence[Lane], room: memoryview | None = None
) -> list[memoryview]:
    """The lanes of `data`, which are whole elements.

    They lie in `room`, if that is given: at least as many bytes, and none of `data`.
    """
    count = len(data) // width
    if room is None:
        room = memoryview(bytearray(len(data)))
    found = [room[first * count : (first + wide) * count] for first, wide in lanes]
    if not count:
        return found
    if (numpy := loaded("numpy")) is None:
        for (first, wide), lane in zip(lanes, found, strict=True):
            for byte in range(wide):
                lane[byte::wide] = data[first + byte :: width].tobytes()
    elif len(lanes) == width:  # one call, as each has threads wait for each other
        elements = numpy.frombuffer(data, "u1").reshape(count, width)
        together = numpy.frombuffer(room, "u1", len(data)).reshape(width, count)
        numpy.copyto(together, elements.T)
    else:
        for (first, wide), lane in zip(lanes, found, strict=True):
            kind = _TYPES[wide]
            bytes_of_all = numpy.ndarray((count,), kind, data, first, (width,))
            numpy.copyto(numpy.frombuffer(lane, kind), bytes_of_all)
    return found


def join(lanes: Sequence[Lane], parts: Sequence[memoryview], width: int, room: memoryview) -> None:
    """Fills `room` with the elements whose lanes have these bytes."""
    count = len(room) // width
    if not count:
        return
    numpy = loaded("numpy")
    for (first, wide), part in zip(lanes, parts, strict=True):
        if numpy is not None:
            kind = _TYPES[wide]
            place = numpy.ndarray((count,), kind, room, first, (width,))
            numpy.copyto(place, numpy.frombuffer(part, kind))
        else:
            for byte in range(wide):
                room[first + byte :: width] = part[byte::wide]
