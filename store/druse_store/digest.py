"""Digests: BLAKE3-256 of the uncompressed bytes, the names of everything in the store."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Self

from blake3 import blake3

from druse_store.errors import InvalidDigest
from druse_store.parallel import cores

if TYPE_CHECKING:
    from typing_extensions import Buffer

SIZE = 32
MIN_PREFIX = 6
_LARGE = 32 << 20  # bytes
_HEX = frozenset("0123456789abcdef")


_new = bytes.__new__


class Digest(bytes):
    """Exactly 32 bytes; `str(d)` is its 64 hex digits."""

    __slots__ = ()

    def __new__(cls, value: Buffer) -> Self:
        self = super().__new__(cls, value)
        if len(self) != SIZE:
            raise InvalidDigest(f"a digest has {SIZE} bytes, not {len(self)}: {bytes(self)[:40]!r}")
        return self

    @classmethod
    def of(cls, data: Buffer) -> Self:
        """The digest of `data`."""
        return _new(cls, blake3(data).digest())

    @classmethod
    def of_large(cls, data: Buffer) -> Self:
        """As `of`, by all cores where there is enough to do for them."""
        threads = cores() if memoryview(data).nbytes >= _LARGE else 1
        return bytes.__new__(cls, blake3(data, max_threads=threads).digest())

    @classmethod
    def from_hex(cls, text: str) -> Self:
        """The digest that `text`, 64 hex digits, spells. Raises InvalidDigest."""
        if len(text) != 2 * SIZE or not _HEX.issuperset(text.lower()):
            raise InvalidDigest(f"a digest is written as {2 * SIZE} hex digits, not {text[:80]!r}")
        return cls(bytes.fromhex(text))

    def __str__(self) -> str:
        return self.hex()

    def __repr__(self) -> str:
        return f"Digest({self.hex()[:12]}…)"

    def __reduce__(self) -> tuple[type[Self], tuple[bytes]]:
        return type(self), (bytes(self),)

    @property
    def short(self) -> str:
        """The first 12 hex digits, as shown to people."""
        return self.hex()[:12]


def trusted(value: bytes) -> Digest:
    """A Digest of 32 bytes that are known to be 32 bytes, without asking again."""
    return _new(Digest, value)


def prefix_bounds(prefix: str) -> tuple[bytes, bytes]:
    """The lowest and the highest digest that begin with `prefix`. Raises InvalidDigest."""
    text = prefix.lower()
    if not MIN_PREFIX <= len(text) <= 2 * SIZE or not _HEX.issuperset(text):
        raise InvalidDigest(
            f"{prefix[:80]!r} is no digest prefix: give {MIN_PREFIX} to {2 * SIZE} hex digits"
        )
    width = 2 * SIZE
    return bytes.fromhex(text.ljust(width, "0")), bytes.fromhex(text.ljust(width, "f"))


class Hasher:
    """The digest of bytes that arrive in pieces."""

    __slots__ = ("_state",)

    def __init__(self) -> None:
        self._state = blake3()

    def update(self, data: Buffer) -> None:
        self._state.update(data)

    def digest(self) -> Digest:
        return trusted(self._state.digest())


class TrailingHasher:
    """The digest of pieces that are added in order, and hashed by whichever thread comes by."""

    _MOST = 64  # pieces that may wait

    def __init__(self) -> None:
        self._hasher = Hasher()
        self._waiting: deque[Buffer] = deque()
        self._hashing = threading.Lock()

    def add(self, pieces: Iterable[Buffer]) -> None:
        """Adds pieces, by one thread at a time."""
        self._waiting.extend(pieces)

    def catch_up(self) -> None:
        """Hashes what waits, unless another thread does just that."""
        while self._waiting and self._hashing.acquire(blocking=len(self._waiting) > self._MOST):
            try:
                while self._waiting:
                    self._hasher.update(self._waiting.popleft())
            finally:
                self._hashing.release()

    def digest(self) -> Digest:
        """Once all were added, and no thread hashes any more."""
        self.catch_up()
        return self._hasher.digest()
