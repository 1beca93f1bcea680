"""Small blobs on their way into a pack: encoded in groups, by another thread, while more come in.

To compress one takes longer than all else that is done for it, and a call for each would have
threads wait for each other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
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

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._size = 0
        self._groups: deque[_Group] = deque()
        self._level: codec.Level = "balanced"

    def add(self, digest: Digest, data: bytes, level: codec.Level) -> bool:
        """Takes one in; whether so many wait that the oldest should be taken out."""
        self._level = level
        self._items.append((digest, data))
        self._size += len(data)
        if self._size >= _GROUP:
            plain = [data for _, data in self._items]
            self._groups.append(
                _Group(self._items, parallel.pool().submit(codec.encode_small, plain, level))
            )
            self._items, self._size = [], 0
        return len(self._groups) > _FLYING

    def oldest(self) -> Iterator[tuple[Digest, bytes, Encoded]]:
        """The oldest ones, encoded. They stay until `drop_oldest`."""
        items, future = self._groups[0] if self._groups else (self._items, None)
        # If it has not begun, whoever should do it may be waiting for the caller: not vice versa.
        if future is None or future.cancel():
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
