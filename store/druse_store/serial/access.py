"""How the encodings reach blobs: two functions that the store hands in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from druse_store.records import BlobRef

if TYPE_CHECKING:
    from typing_extensions import Buffer

Put: TypeAlias = "Callable[[Buffer, int], BlobRef]"
"""Store bytes whose numbers have this size (1 where that is not known)."""

Get: TypeAlias = "Callable[[BlobRef, bool], Buffer]"
"""Read a blob, verified; as a read-only memory map where the flag allows it and it lies raw.

What can be written to is nobody else's."""
