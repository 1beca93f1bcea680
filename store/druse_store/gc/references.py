"""What records name, many at a time: one decoder runs over all of them side by side.

By grade: artifacts (and a return value) of at most so many bytes, and `needs`; the manifest always.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from druse_store import packing
from druse_store.digest import SIZE
from druse_store.errors import RecordDamaged
from druse_store.gc.roots import BARE, KEEP_ALL

Add = Callable[[bytes], None]


def collect(bodies: Sequence[bytes], grade: int, parts: list[bytearray]) -> None:
    """Adds what these records (the fields behind their metrics) name in a grade to `parts`, by
    first byte. Raises RecordDamaged."""
    limit = (1 << 64) if grade == KEEP_ALL else grade
    count = 0
    with suppress(RecordDamaged):
        for fields in packing.unpack_stream(b"".join(bodies)):
            _collect(fields, limit, parts)
            count += 1
    if count != len(bodies):
        # One of them is no single value, so that they ran together: each for itself tells which.
        for body in bodies:
            _collect(packing.unpack(body), limit, parts)


def _collect(fields: Any, limit: int, parts: list[bytearray]) -> None:
    try:
        _, artifacts, output, _, manifest, needs = fields
        if manifest is not None:
            _add(manifest, parts)
        if limit == BARE:
            return
        for _, _, (_, root, buffers, _) in artifacts:
            digest, size, _ = root
            if buffers:
                _add_object(root, buffers, limit, parts)
            elif len(digest) != SIZE:
                raise ValueError("not a digest")
            elif size <= limit:
                parts[digest[0]] += digest
        if output is not None:
            _add_object(output[1], output[2], limit, parts)
        for digest in needs:
            _add(digest, parts)
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise RecordDamaged("what a stored record names cannot be decoded") from error


def _add(digest: bytes, parts: list[bytearray]) -> None:
    if len(digest) != SIZE:
        raise ValueError("not a digest")
    parts[digest[0]] += digest


def _add_object(root: Any, buffers: Any, limit: int, parts: list[bytearray]) -> None:
    if root[1] + sum(blob[1] for blob in buffers) <= limit:
        for blob in (root, *buffers):
            _add(blob[0], parts)
