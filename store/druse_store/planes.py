"""The byte-shuffle: the bytes of numbers, regrouped into planes, and back.

Plane i holds byte i of every element. With numpy, if the program has loaded it (importing it would
cost more than it saves), and without: the bytes are the same. Each direction is one call of numpy,
since every call gives up the interpreter lock, and threads that fight for it get nothing done.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType


class _Scratch(threading.local):
    """Memory that is used again: fresh memory would cost as much as the shuffle."""

    def __init__(self) -> None:
        self._memory = memoryview(bytearray())

    def of(self, size: int) -> memoryview:
        if len(self._memory) < size:
            self._memory = memoryview(bytearray(size))
        return self._memory[:size]


_scratch = _Scratch()


def _numpy() -> ModuleType | None:
    return sys.modules.get("numpy")


def split(data: memoryview, width: int, room: memoryview | None = None) -> list[memoryview]:
    """The planes of `data`, without the tail that fills no element.

    They lie in `room`, if that is given: at least as many bytes, and none of `data`.
    """
    count = len(data) // width
    whole = count * width
    if room is None:
        room = memoryview(bytearray(whole))
    if (numpy := _numpy()) is not None:
        elements = numpy.frombuffer(data, "u1", whole).reshape(count, width)
        numpy.copyto(numpy.frombuffer(room, "u1", whole).reshape(width, count), elements.T)
    else:
        for plane in range(width):
            room[plane * count : (plane + 1) * count] = data[plane:whole:width].tobytes()
    return [room[start : start + count] for start in range(0, whole, count)] if count else []


def join(planes: Sequence[memoryview], tail: memoryview, room: memoryview) -> None:
    """Fills `room` with the elements of these planes, and the tail."""
    count, width = len(planes[0]), len(planes)
    whole = count * width
    if (numpy := _numpy()) is not None:
        together = _scratch.of(whole)
        for i, plane in enumerate(planes):
            together[i * count : (i + 1) * count] = plane
        elements = numpy.frombuffer(room, "u1", whole).reshape(count, width)
        # Of all ways to say "copy", this one walks along the planes, which is twice as fast.
        numpy.positive(numpy.frombuffer(together, "u1").reshape(width, count), out=elements.T)
    else:
        for i, plane in enumerate(planes):
            room[i:whole:width] = plane
    room[whole:] = tail
