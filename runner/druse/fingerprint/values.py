"""The digest of a value: the same for equal values, in every process and on every machine."""

from __future__ import annotations

from typing import Any

from druse.fingerprint.encoding import atom, finish, inline
from druse.fingerprint.plain import CONTAINERS, PlainEncoder
from druse_store import Digest


def value_digest(value: Any, path: str = "value") -> Digest:
    """Raises Unhashable, which names the path of what has no canonical form."""
    digest = plain_digest(value)
    if digest is not None:
        return digest
    from druse.fingerprint.session import current

    return current().value_digest(value, path)


def plain_digest(value: Any) -> Digest | None:
    """The digest of plain data, which needs nothing else; None for any other value."""
    encoded = atom(value)
    if encoded is None and type(value) in CONTAINERS:
        encoded = PlainEncoder().encode(value)
        encoded = None if encoded is None else inline(encoded)
    return None if encoded is None else finish(encoded)
