"""The remotes of a store, by name: `remotes.json` beside its index. No credentials are in it.

The first one that was added is the default. The id is pinned when a remote is added; what the
server can do was asked then. An address that is used without having been added is pinned, too,
under itself as its name.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from druse_store import disk, names
from druse_store.errors import InvalidInput, RemoteNotFound, StorageFailed
from druse_store.remote.opening import check_url
from druse_store.remote.probe import Capabilities

if TYPE_CHECKING:
    from druse_store.location import Location


@dataclass(frozen=True, slots=True)
class KnownRemote:
    """A remote as it was added. `added` is in seconds since 1970."""

    name: str
    url: str
    id: bytes
    capabilities: Capabilities = field(default_factory=Capabilities)
    added: float = 0.0

    @property
    def is_named(self) -> bool:
        """Whether it was given a name; others are only remembered by their address."""
        return self.name != self.url


class Remotes:
    """The remotes of one store."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._path = location.root / "remotes.json"

    def all(self) -> list[KnownRemote]:
        """The remotes that have names, in the order in which they were added."""
        return [known for known in self._read().values() if known.is_named]

    def get(self, name: str) -> KnownRemote:
        """Raises RemoteNotFound."""
        known = self._read().get(name)
        if known is None:
            there = ", ".join(remote.name for remote in self.all()) or "none"
            raise RemoteNotFound(
                f"there is no remote {name!r} (there are: {there}); `druse remote add NAME URL`"
            )
        return known

    def find(self, name_or_url: str) -> KnownRemote | None:
        """The remote of this name or address, if it was added or used."""
        found = self._read()
        if name_or_url in found:
            return found[name_or_url]
        if not looks_like_url(name_or_url):
            return None
        url = check_url(name_or_url)
        return next((known for known in found.values() if known.url == url), None)

    def default(self) -> KnownRemote | None:
        """The first one that was added."""
        return next(iter(self.all()), None)

    def add(self, name: str, url: str, remote_id: bytes, capabilities: Capabilities) -> KnownRemote:
        """Remembers a remote. A name stands for one address, until it is removed."""
        url = check_url(url)
        if name != url:
            names.check(name, "a remote")
            if looks_like_url(name) or name == "none":
                raise InvalidInput(f"{name!r} cannot be the name of a remote")
        made = KnownRemote(name, url, remote_id, capabilities, time.time())
        with self._changing() as found:
            there = found.get(name)
            if there is not None and (there.url, there.id) != (url, remote_id):
                raise InvalidInput(
                    f"the name {name!r} stands for {there.url} already: `druse remote rm {name}` "
                    "first, or choose another one"
                )
            found[name] = made
        return made

    def remove(self, name: str) -> KnownRemote:
        """Forgets a remote; what lies there stays. Raises RemoteNotFound."""
        known = self.get(name)
        with self._changing() as found:
            found.pop(name, None)
        return known

    def _read(self) -> dict[str, KnownRemote]:
        try:
            values = json.loads(self._path.read_text("utf-8"))
            return {name: _known(name, one) for name, one in values.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StorageFailed(f"{self._path} cannot be read: {error}; remove it, add anew") from (
                error
            )

    def _lock_file(self) -> IO[bytes]:
        """A file of the group's, where the store is one: whoever comes first makes it."""
        path = self._location.holds / "remotes.lock"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        mode = self._location.file_mode
        if mode is not None and os.fstat(fd).st_uid == os.getuid():
            os.fchmod(fd, mode)
        return os.fdopen(fd, "wb")

    @contextmanager
    def _changing(self) -> Iterator[dict[str, KnownRemote]]:
        with disk.translated("changing", self._path), self._lock_file() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = self._read()
            yield found
            text = json.dumps({name: _plain(known) for name, known in found.items()}, indent=1)
            disk.write_file(self._path, f"{text}\n".encode(), self._location.file_mode)


def looks_like_url(text: str) -> bool:
    """Whether this is an address, or a path, rather than a name."""
    return "://" in text or text.startswith(("/", "./", "../", "~"))


def _known(name: str, values: Any) -> KnownRemote:
    remote_id = bytes.fromhex(values["id"])
    if len(remote_id) != 16:
        raise ValueError("no id of 16 bytes")
    capabilities = Capabilities.of(values.get("capabilities"))
    return KnownRemote(name, str(values["url"]), remote_id, capabilities, float(values["added"]))


def _plain(known: KnownRemote) -> dict[str, Any]:
    return {
        "url": known.url,
        "id": known.id.hex(),
        "capabilities": known.capabilities.to_dict(),
        "added": known.added,
    }
