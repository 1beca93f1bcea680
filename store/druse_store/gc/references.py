"""What records name, many at a time: one decoder runs over all of them side by side.

By grade: artifacts (and a return value) of at most so many bytes, and `needs`; the manifest always.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from druse_store import packing
from druse_store.digest import SIZE
from druse_store.errors import RecordDamaged
from druse_store.gc.roots import BARE, KEEP_ALL

Add = Callable[[bytes], None]


def collect(bodies: Sequence[bytes], grade: int, parts: list[bytearray]) -> None:
    """Adds what these records (the msgpack behind their outlines) name in a grade to `parts`, by
    first byte. Raises RecordDamaged."""
    for fields in _decoded(bodies):
        try:
            _, _, artifacts, output, _, manifest, needs = fields
            if manifest is not None:
                _add(manifest, parts)
            if grade == BARE:
                continue
            for _, _, ref in artifacts:
                _add_object(ref, grade, parts)
            if output is not None:
                _add_object(output, grade, parts)
            for digest in needs:
                _add(digest, parts)
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            raise RecordDamaged("what a stored record names cannot be decoded") from error


def _decoded(bodies: Sequence[bytes]) -> list[Any]:
    """The fields of each. A record that is no single value shows as another number of them."""
    decoded = packing.unpack_stream(b"".join(bodies))
    if decoded is not None and len(decoded) == len(bodies):
        return decoded
    return [packing.unpack(body) for body in bodies]  # raises at the one that is wrong


def _add(digest: bytes, parts: list[bytearray]) -> None:
    if len(digest) != SIZE:
        raise ValueError("not a digest")
    parts[digest[0]] += digest


def _add_object(ref: Any, grade: int, parts: list[bytearray]) -> None:
    _, root, buffers, _ = ref
    if grade != KEEP_ALL and root[1] + sum(blob[1] for blob in buffers) > grade:
        return
    digest = root[0]
    if len(digest) != SIZE:
        raise ValueError("not a digest")
    parts[digest[0]] += digest
    for blob in buffers:
        _add(blob[0], parts)
