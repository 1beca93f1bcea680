"""Small blobs on their way into a pack: encoded in groups, by another thread, while more come in.

To compress one takes longer than all else that is done for it, and a call for each would have
threads wait for each other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable, Sequence
from functools import partial
from itertools import accumulate, repeat
from operator import add
from typing import TYPE_CHECKING, Any, NamedTuple

from druse_store import codec, frames, parallel
from druse_store.appender import Appender
from druse_store.digest import Digest
from druse_store.frames import HEADER_SIZE
from druse_store.index.values import LIVE, ChunkEntry

if TYPE_CHECKING:
    from concurrent.futures import Future

    from typing_extensions import Buffer

_entry: Callable[[Iterable[Any]], ChunkEntry] = partial(tuple.__new__, ChunkEntry)
_GROUP = 512 << 10  # bytes
_FLYING = 3  # groups

Items = dict[Digest, bytes]
Encoded = tuple[codec.Codec, "Buffer"]


class _Group(NamedTuple):
    items: Items
    encoded: Future[list[Encoded]]


class SmallBlobs:
    """What waits to be appended, in order. Not thread-safe: its owner locks."""

    def __init__(self, level: codec.Level) -> None:
        self._level = level
        self._items: Items = {}
        self._size = 0
        self._groups: deque[_Group] = deque()

    def add(self, digest: Digest, data: bytes) -> bool:
        """Takes one in; whether the newest make a group, to be started."""
        self._items[digest] = data
        self._size += len(data)
        return self._size >= _GROUP

    def newest(self) -> list[Digest]:
        """Those that are in no group yet."""
        return list(self._items)

    def leave_out(self, known: Container[Digest]) -> None:
        """Forgets some of the newest."""
        self._items = {d: data for d, data in self._items.items() if d not in known}
        self._size = sum(map(len, self._items.values()))

    def start(self) -> None:
        """Has the newest encoded."""
        if self._items:
            plain = list(self._items.values())
            encoding = parallel.submit(codec.encode_small, plain, self._level)
            self._groups.append(_Group(self._items, encoding))
            self._items, self._size = {}, 0

    @property
    def is_crowded(self) -> bool:
        """Whether so many wait that the oldest should be taken out."""
        return len(self._groups) > _FLYING

    def oldest(self) -> tuple[Items, Sequence[Encoded]]:
        """The oldest ones, and how they are to be stored. They stay until `drop_oldest`."""
        items, future = self._groups[0] if self._groups else (self._items, None)
        # If it has not begun, whoever should do it may be waiting for the caller: not vice versa.
        # If that failed, for want of memory say, it may be possible now.
        if future is None or future.cancel() or future.exception() is not None:
            return items, codec.encode_small(list(items.values()), self._level)
        return items, future.result()

    def drop_oldest(self) -> None:
        """Once they are appended."""
        if self._groups:
            self._groups.popleft()
        else:
            self._items, self._size = {}, 0

    def clear(self) -> None:
        """Forgets all."""
        self._groups.clear()
        self._items, self._size = {}, 0

    def __bool__(self) -> bool:
        return bool(self._items or self._groups)


def append(
    pack: Appender,
    digests: Sequence[Digest],
    plain: Sequence[bytes],
    encoded: Sequence[Encoded],
) -> dict[Digest, ChunkEntry]:
    """Appends small blobs; returns where each lies. No step of it for each is in Python."""
    codecs, stored = zip(*encoded, strict=True)
    sizes, lengths = list(map(len, plain)), list(map(len, stored))
    offsets = list(accumulate(map(add, lengths, repeat(HEADER_SIZE)), initial=pack.end))
    offsets.pop()  # where the next one will be
    pack.append_joined(frames.small_chunks(digests, sizes, codecs, stored), offsets)
    places = map(add, offsets, repeat(HEADER_SIZE))
    same, live, since = repeat(pack.file_id), repeat(LIVE), repeat(0)
    fields = zip(same, places, lengths, sizes, codecs, live, since, strict=False)
    return dict(zip(digests, map(_entry, fields), strict=True))
