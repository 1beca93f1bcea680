"""The contract of a remote's backend: it moves bytes by key, and decides nothing.

`testing_remote.RemoteContract` is this contract as tests; `probe` asks a live server.

Keys are relative paths of `layout.check_key`'s alphabet. Objects are immutable once stored, except
where a caller stores the same key again (leases); whoever reads meanwhile gets the old bytes or the
new ones, never a mixture. What `store` returned from is durable and listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from typing_extensions import Buffer

MAX_OBJECT = 80 << 20  # bytes; a pack or segment is at most 64 MiB and its outline


class Entry(NamedTuple):
    """An object as listed; `modified` is in seconds since 1970, by the server's clock."""

    key: str
    size: int
    modified: float


class Backend(Protocol):
    """One place. Thread-safe. Errors are RemoteError's subclasses, whatever lies below."""

    @property
    def url(self) -> str:
        """The address, without credentials."""

    @property
    def read_only(self) -> bool: ...

    def load(self, key: str, start: int = 0, size: int | None = None) -> bytes:
        """`size` bytes from `start`, or all of them. Raises ObjectMissing.

        Never more than MAX_OBJECT: RemoteDamaged for a larger object, or one that ends too early.
        """

    def store(self, key: str, data: Buffer, *, create: bool = False) -> None:
        """Puts an object there, whole or not at all. `create`: raises ObjectExists if there is one,
        on servers that can tell (`probe.Capabilities.create`)."""

    def list(self, prefix: str) -> Iterator[Entry]:
        """The objects under a folder (a prefix that ends in "/", or "" for all), in any order."""

    def delete(self, keys: Iterable[str]) -> None:
        """Removes objects; one that is not there is none the worse."""

    def close(self) -> None: ...
