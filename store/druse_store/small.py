"""Small blobs on their way into a pack: encoded in groups, by another thread, while more come in.

To compress one takes longer than all else that is done for it, and a call for each would have
threads wait for each other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from druse_store import codec, parallel
from druse_store.digest import Digest

if TYPE_CHECKING:
    from concurrent.futures import Future

    from typing_extensions import Buffer

_GROUP = 512 << 10  # bytes
_FLYING = 3  # groups

Item = tuple[Digest, bytes]
Encoded = tuple[codec.Codec, "Buffer"]


class _Group(NamedTuple):
    items: Sequence[Item]
    encoded: Future[list[Encoded]]


class SmallBlobs:
    """What waits to be appended, in order. Not thread-safe: its owner locks."""

    def __init__(self, level: codec.Level) -> None:
        self._level = level
        self._items: list[Item] = []
        self._size = 0
        self._groups: deque[_Group] = deque()

    def add(self, digest: Digest, data: bytes) -> bool:
        """Takes one in; whether the newest make a group, to be started."""
        self._items.append((digest, data))
        self._size += len(data)
        return self._size >= _GROUP

    def newest(self) -> list[Digest]:
        """Those that are in no group yet."""
        return [digest for digest, _ in self._items]

    def leave_out(self, known: Container[Digest]) -> None:
        """Forgets some of the newest."""
        self._items = [item for item in self._items if item[0] not in known]
        self._size = sum(len(data) for _, data in self._items)

    def start(self) -> None:
        """Has the newest encoded."""
        if self._items:
            plain = [data for _, data in self._items]
            encoding = parallel.submit(codec.encode_small, plain, self._level)
            self._groups.append(_Group(self._items, encoding))
            self._items, self._size = [], 0

    @property
    def is_crowded(self) -> bool:
        """Whether so many wait that the oldest should be taken out."""
        return len(self._groups) > _FLYING

    def oldest(self) -> Iterator[tuple[Digest, bytes, Encoded]]:
        """The oldest ones, encoded. They stay until `drop_oldest`."""
        items, future = self._groups[0] if self._groups else (self._items, None)
        # If it has not begun, whoever should do it may be waiting for the caller: not vice versa.
        # If that failed, for want of memory say, it may be possible now.
        if future is None or future.cancel() or future.exception() is not None:
            encoded = codec.encode_small([data for _, data in items], self._level)
        else:
            encoded = future.result()
        for (digest, data), found in zip(items, encoded, strict=True):
            yield digest, data, found

    def drop_oldest(self) -> None:
        """Once they are appended."""
        if self._groups:
            self._groups.popleft()
        else:
            self._items, self._size = [], 0

    def clear(self) -> None:
        """Forgets all."""
        self._groups.clear()
        self._items, self._size = [], 0

    def __bool__(self) -> bool:
        return bool(self._items or self._groups)
