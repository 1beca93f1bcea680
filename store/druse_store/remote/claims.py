"""Signed objects: who says what, in which place, as the how-manieth thing.

    magic 8 | signer's key 32 | signature 64 | length of the head 4 | head | body

The signature covers the head, which is msgpack: format version, the remote's id, the signer's key,
the object's own key, its topic and kind, the signer's sequence number in that topic, the digest of
the signer's object before it, and the body's codec, sizes and digest. So a claim counts only where
it was put, and nothing can be moved to another base, experiment or remote. It is verified before
any part of head or body is decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from druse_store import codec, packing
from druse_store.digest import Digest
from druse_store.errors import ClaimRefused, FrameDamaged, RecordDamaged, UnknownCodec
from druse_store.remote import layout
from druse_store.trust import KEY_SIZE, SIGNATURE_SIZE, PublicKey, Signer

VERSION = 1
MAX_BODY = 256 << 20  # bytes, uncompressed
NO_CLAIM = Digest(bytes(32))

_MAGIC = b"\xd6DCLAIM\n"
_DOMAIN = b"druse:claim:1\0"
_OUTER = struct.Struct(f"<8s{KEY_SIZE}s{SIGNATURE_SIZE}sI")
_MAX_HEAD = 8 << 10
_FIELDS = 11


class Claim(NamedTuple):
    """A signed object whose signature was verified."""

    key: str
    signer: PublicKey
    topic: str
    kind: str
    sequence: int
    previous: Digest
    body: bytes
    digest: Digest


class Place(NamedTuple):
    """Where a claim is made: on which remote, about what, as the how-manieth."""

    remote_id: bytes
    topic: str
    kind: str
    sequence: int
    previous: Digest


def make(signer: Signer, place: Place, body: bytes) -> tuple[str, bytes]:
    """The key and the bytes of a claim."""
    key = layout.signed_key(place.topic, place.sequence, signer.public, place.kind)
    kind, stored = codec.encode(body)
    head = packing.pack(
        [
            VERSION,
            place.remote_id,
            bytes(signer.public),
            key,
            place.topic,
            place.kind,
            place.sequence,
            place.previous,
            int(kind),
            len(body),
            Digest.of(stored),
        ]
    )
    outer = _OUTER.pack(_MAGIC, signer.public, signer.sign(_DOMAIN + head), len(head))
    return key, b"".join((outer, head, stored))


def verify(data: bytes, key: str, remote_id: bytes, believes: Callable[[PublicKey], bool]) -> Claim:
    """The claim that lies under `key`. Raises ClaimRefused, which says why it does not count."""
    if len(data) < _OUTER.size:
        raise ClaimRefused(f"{key} is cut off")
    magic, signer_bytes, signature, length = _OUTER.unpack_from(data)
    head = data[_OUTER.size : _OUTER.size + length]
    if magic != _MAGIC or length > _MAX_HEAD or len(head) != length:
        raise ClaimRefused(f"{key} is no signed object, or is damaged")
    signer = PublicKey(signer_bytes)
    if not believes(signer):
        raise ClaimRefused(
            f"{key} is signed by {signer}, which is not trusted here: "
            "`druse trust add NAME KEY` if you know whose it is"
        )
    if not signer.verifies(signature, _DOMAIN + head):
        raise ClaimRefused(f"{key}: its signature does not verify; it was changed or damaged")
    return _checked(data, key, remote_id, signer, head)


def _checked(data: bytes, key: str, remote_id: bytes, signer: PublicKey, head: bytes) -> Claim:
    """What the signature covers, compared with where the object was found."""
    try:
        fields = packing.unpack(head)
        if type(fields) is not list or len(fields) != _FIELDS or fields[0] != VERSION:
            raise ClaimRefused(f"{key} has another format than this version of druse knows")
        _, remote, by, own_key, topic, kind, sequence, previous, way, size, digest = fields
        claim = Claim(
            own_key, signer, topic, kind, int(sequence), Digest(previous), b"", Digest.of(data)
        )
    except (RecordDamaged, TypeError, ValueError) as error:
        raise ClaimRefused(f"{key}: its head cannot be decoded") from error
    if remote != remote_id:
        raise ClaimRefused(f"{key} was signed for another remote")
    if own_key != key or by != signer or not key.startswith(f"{topic}/"):
        raise ClaimRefused(f"{key} was signed for another place: {str(own_key)[:200]}")
    name = layout.parse_signed(key)
    if name is None or (name.sequence, name.kind) != (sequence, kind):
        raise ClaimRefused(f"{key}: its name and what was signed contradict each other")
    stored = memoryview(data)[_OUTER.size + len(head) :]
    if Digest.of(stored) != digest or not 0 <= size <= MAX_BODY:
        raise ClaimRefused(f"{key}: its body is not the one that was signed")
    try:
        body = codec.decode(way, stored, size)
    except (FrameDamaged, UnknownCodec) as error:
        raise ClaimRefused(f"{key}: its body cannot be decoded") from error
    return claim._replace(body=body)
