"""Memory for what is large: fresh pages cost more than what is done in them, so few are touched.

Each small page that is touched for the first time costs about as long as hashing what fits on it.
Large blobs come into memory of large pages, and what is encoded or decoded on its way goes through
rooms that are used again.
"""

from __future__ import annotations

import mmap
from collections import deque
from contextlib import suppress
from itertools import count
from typing import Final

_ROOM: Final = 2 << 20  # bytes; a group of chunks is smaller
_LARGE: Final = 4 << 20
_KEPT: Final = 12

_free: deque[memoryview] = deque(maxlen=_KEPT)


def reserve(size: int) -> memoryview:
    """Private writable memory, which lives as long as the view does."""
    return memoryview(bytearray(size)) if size < _LARGE else _pages(size)


def take(size: int) -> memoryview:
    """At least `size` bytes with anything in them. Who has no use for them calls `give_back`."""
    if size > _ROOM:
        return reserve(size)
    try:
        return _free.pop()
    except IndexError:
        return _pages(_ROOM)


def give_back(room: memoryview) -> None:
    """Lets others use a room again; no view of it may be used any more."""
    if len(room) == _ROOM:
        _free.append(room)


class Room:
    """A room that two users share: it is given back by the one that is done last."""

    __slots__ = ("_done", "view")

    def __init__(self, size: int) -> None:
        self.view = take(size)
        self._done = count()

    def let_go(self) -> None:
        """Says that one of them is done."""
        if next(self._done):
            give_back(self.view)


def _pages(size: int) -> memoryview:
    try:
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"no {size} bytes of memory are to be had") from error
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without them
            pages.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(pages)
