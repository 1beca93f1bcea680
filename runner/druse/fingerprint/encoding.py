"""The bytes that keys are made of: type-tagged, length-prefixed, and the same everywhere.

A value is a tag byte and its content; lengths are eight bytes, little-endian. What a container
holds stands in it as it is while it is short, else as `#` and its digest. Every digest covers the
algorithm's version, so a change of the algorithm changes every key and is seen as such.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from blake3 import blake3

from druse_store import Digest

if TYPE_CHECKING:
    from typing_extensions import Buffer

ALGORITHM: Final = 1
DOMAIN: Final = b"druse:fingerprint:%d\x00" % ALGORITHM
INLINE: Final = 40  # bytes; a longer encoding of something within a container becomes its digest
BULK: Final = 64 * 1024  # bytes; longer text and memory is hashed apart, on all cores

_OPENED: Final = blake3(DOMAIN)
_NAN: Final = struct.pack("<d", float("nan"))
_pack_float = struct.Struct("<d").pack


def digest_of(content: Buffer) -> bytes:
    """The digest of an encoding."""
    hasher = _OPENED.copy()
    hasher.update(content)
    return hasher.digest()


def bulk_digest(memory: Buffer) -> bytes:
    """The digest of much memory."""
    return blake3(memory, max_threads=blake3.AUTO).digest()


def length(count: int) -> bytes:
    return count.to_bytes(8, "little")


def text(value: str) -> bytes:
    """A name or other text within an encoding, with its length."""
    raw = value.encode("utf-8", "surrogatepass")
    return len(raw).to_bytes(8, "little") + raw


def string(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return _bulk(b"s", raw)


def raw_bytes(value: bytes) -> bytes:
    return _bulk(b"b", value)


def _bulk(tag: bytes, raw: bytes) -> bytes:
    size = len(raw).to_bytes(8, "little")
    if len(raw) > BULK:
        return tag.upper() + size + bulk_digest(raw)
    return tag + size + raw


def integer(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"i" + len(raw).to_bytes(8, "little") + raw


def float_bits(value: float) -> bytes:
    """Eight bytes; every NaN is one NaN, and -0.0 is not 0.0."""
    return _pack_float(value) if value == value else _NAN  # noqa: PLR0124 - only NaN differs


def _float(value: float) -> bytes:
    return b"f" + float_bits(value)


def _complex(value: complex) -> bytes:
    return b"c" + float_bits(value.real) + float_bits(value.imag)


ATOMS: Final[dict[type, Any]] = {
    type(None): lambda _: b"N",
    bool: lambda value: b"T" if value else b"F",
    int: integer,
    float: _float,
    complex: _complex,
    str: string,
    bytes: raw_bytes,
    type(...): lambda _: b".",
    type(NotImplemented): lambda _: b"!",
}


def atom(value: Any) -> bytes | None:
    """The encoding of a value of exactly one of the plain types; None for any other."""
    encode = ATOMS.get(type(value))
    return None if encode is None else encode(value)


def inline(encoding: bytes) -> bytes:
    """A container's encoding as it stands within another container."""
    return encoding if len(encoding) <= INLINE else b"#" + digest_of(encoding)


def finish(standing: bytes) -> Digest:
    """The digest that a value or closure is known by, of what stands for it in a container."""
    return Digest(digest_of(b"=" + standing))


def tag(kind: str) -> bytes:
    """What opens the encoding of anything but an atom or a builtin container."""
    return b"~" + text(kind)
