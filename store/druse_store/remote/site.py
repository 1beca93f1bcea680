"""A remote in use: its backend, its id, and what is kept of it beside the store."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field

from druse_store.errors import ForeignRemote, NotARemote, ObjectExists, ObjectMissing
from druse_store.location import Location
from druse_store.remote import layout
from druse_store.remote.backend import Backend
from druse_store.remote.cache import Cache
from druse_store.remote.memory import Memory
from druse_store.remote.probe import Capabilities

FORMAT_VERSION = 1
_SETTLED = 1.0  # seconds after which a second creator of the same remote has been heard of


@dataclass(frozen=True, slots=True)
class Site:
    """An opened remote, for one store."""

    name: str
    backend: Backend
    id: bytes
    claims: Cache
    indexes: Cache
    memory: Memory
    capabilities: Capabilities = field(default_factory=Capabilities)

    @classmethod
    def of(
        cls,
        location: Location,
        name: str,
        backend: Backend,
        remote_id: bytes,
        capabilities: Capabilities | None = None,
        memory: Memory | None = None,
    ) -> Site:
        folder = location.root / "remotes" / remote_id.hex()
        mode = location.file_mode
        return cls(
            name,
            backend,
            remote_id,
            Cache(folder / "claims", mode),
            Cache(folder / "packindex", mode),
            memory or Memory(remote_id),
            capabilities or Capabilities(),
        )


def read_id(backend: Backend) -> bytes:
    """The id that a remote has. Raises NotARemote where there is none."""
    try:
        data = backend.load(layout.MARKER)
    except ObjectMissing as error:
        raise NotARemote(
            f"{backend.url} is no remote yet: `druse remote add NAME URL` makes an empty place one"
        ) from error
    try:
        values = json.loads(data)
        version, remote_id = values["druse_remote"], bytes.fromhex(values["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise NotARemote(f"{backend.url}/{layout.MARKER} is not the marker of a remote") from error
    if version != FORMAT_VERSION:
        raise NotARemote(
            f"{backend.url} has format {version}; this version of druse knows {FORMAT_VERSION}: "
            "upgrade druse"
        )
    if len(remote_id) != 16:
        raise NotARemote(f"{backend.url}/{layout.MARKER} has no id of 16 bytes")
    return remote_id


def require_id(backend: Backend, pinned: bytes) -> None:
    """Raises ForeignRemote if another remote lies there than the one that was added."""
    found = read_id(backend)
    if found != pinned:
        raise ForeignRemote(
            f"{backend.url} is another remote ({found.hex()}) than the one that was added "
            f"({pinned.hex()}): remove it and add it again if that is meant to be"
        )


def create(backend: Backend, *, one_winner: bool) -> bytes:
    """Makes a remote of an empty place; returns its id, or that of the one which is there.

    `one_winner`: of several who create an object at once, one is told that it did.
    """
    try:
        return read_id(backend)
    except NotARemote:
        if any(not entry.key.startswith(layout.PROBE) for entry in backend.list("")):
            return read_id(backend)  # another creator was quicker, or this is no empty place
    values = {"druse_remote": FORMAT_VERSION, "id": os.urandom(16).hex()}
    try:
        backend.store(layout.MARKER, json.dumps(values).encode(), create=True)
    except ObjectExists:
        return read_id(backend)
    if not one_winner:
        time.sleep(_SETTLED)  # the last one counts
    return read_id(backend)
