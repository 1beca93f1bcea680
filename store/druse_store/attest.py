"""In a store that a group shares: who committed which records, signed with each user's own key.

The others could write into the index and the log. So each commit of records is signed, by the key
that signs segments on remotes, too; and a record counts for a user only if a key that the user
trusts has signed it (and, if it came through a remote, only if its own signer is trusted as well).
What was found out is kept in the process that found it out, never in the index.

A batch is `entry*`, an entry `record 32 | signer 32`; the signer is zeros for what was computed
here. Signed are a domain tag, the store's id, the key and the batch.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from druse_store.digest import SIZE, Digest
from druse_store.index.values import Origin
from druse_store.trust import KEY_SIZE, PublicKey, Signer, Trust

if TYPE_CHECKING:
    from collections.abc import Mapping

    from druse_store.index.snapshot import Snapshot

_DOMAIN = b"druse:batch:1\0"
_ENTRY = SIZE + KEY_SIZE
_HERE = bytes(KEY_SIZE)
_NOBODY = "nobody"


class Attester:
    """Signs what this user commits. Makes the user's key if there is none yet."""

    def __init__(self, store_id: bytes) -> None:
        self._store_id = store_id
        self._signer = Signer.create()

    def sign(self, records: Mapping[Digest, Origin | None]) -> tuple[bytes, bytes, bytes]:
        """Key, signature and batch for records, with where they came from."""
        signer = self._signer
        batch = b"".join(
            digest + (_HERE if origin is None else origin.signer)
            for digest, origin in sorted(records.items())
        )
        message = _message(self._store_id, signer.public, batch)
        return bytes(signer.public), signer.sign(message), batch


class Judge:
    """Says whether this user believes a record of a shared store. Thread-safe."""

    def __init__(self, store_id: bytes, trust: Trust | None = None) -> None:
        self._store_id = store_id
        self._trust = trust or Trust()
        self._believed: frozenset[bytes] | None = None
        self._signers: dict[bytes, bytes] = {}  # of records: whose, where that was verified
        self._batches: dict[bytes, str] = {}
        self._guard = threading.Lock()
        self.strangers: dict[str, int] = {}

    def believes(self, snapshot: Snapshot, digest: Digest, packed: bytes) -> bool:
        """Whether a record is what its digest says, and signed by a key that is trusted."""
        if Digest.of(packed) != digest:
            return False
        with self._guard:
            if self._believed is None:
                self._believed = frozenset(bytes(key) for key in self._trust.believed())
            if digest not in self._signers:
                self._verify(snapshot, digest)
            return self._signers.get(digest) in self._believed

    def _verify(self, snapshot: Snapshot, digest: Digest) -> None:
        """Verifies the batch that a record was committed in, once, and notes all that it holds."""
        name = snapshot.attested(digest)
        if name is None:
            self._note(_NOBODY)
            return
        if name not in self._batches:
            self._batches[name] = self._look_at(snapshot, name)
        if digest not in self._signers:
            self._note(self._batches[name])

    def _look_at(self, snapshot: Snapshot, name: bytes) -> str:
        """Who signed a batch, as far as that can be told."""
        found = snapshot.batch(name)
        if found is None or len(found[0]) != KEY_SIZE or len(found[2]) % _ENTRY:
            return _NOBODY
        key, signature, batch = found
        signer = PublicKey(key)
        message = _message(self._store_id, signer, batch)
        if self._believed is None or key not in self._believed:
            return signer.short
        if not signer.verifies(signature, message):
            return _NOBODY
        for at in range(0, len(batch), _ENTRY):
            own = batch[at + SIZE : at + _ENTRY]
            self._signers[batch[at : at + SIZE]] = key if own == _HERE else own
        return _NOBODY  # of what it does not hold

    def _note(self, signer: str) -> None:
        self.strangers[signer] = self.strangers.get(signer, 0) + 1


def batch_name(key: bytes, signature: bytes, batch: bytes) -> Digest:
    """What a batch is kept under."""
    return Digest.of(key + signature + batch)


def records_in(batch: bytes) -> list[bytes]:
    """The digests of the records in a batch."""
    return [batch[at : at + SIZE] for at in range(0, len(batch) - _ENTRY + 1, _ENTRY)]


def _message(store_id: bytes, key: bytes, batch: bytes) -> bytes:
    return b"".join((_DOMAIN, store_id, key, batch))
