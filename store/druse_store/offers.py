"""Records that others published, as this process has heard of them: found by lookups, and stored
once they are used.

What is published under a base signature may be many times what a run needs. So it is not taken
into the index: hearing of a record costs a microsecond, and a lookup that ends at one adopts it.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from druse_store.digest import Digest
from druse_store.errors import InvalidRecord, RecordDamaged
from druse_store.index.values import Origin, record_key
from druse_store.records import STATUSES, Record

_OUTLINE = struct.Struct("<BBBI32s32s32s")  # as `records` has it
_FAILED = STATUSES.index("failed")


class Offer(NamedTuple):
    """A record that is there for the taking."""

    packed: bytes
    origin: Origin


class Offers:
    """What was heard of. Thread-safe: what is added is seen at the next lookup."""

    def __init__(self, adopt: Callable[[Record, Origin], object] | None) -> None:
        self._adopt = adopt
        self._cells: dict[bytes, Offer] = {}
        self._edges: dict[Digest, tuple[str, ...]] = {}
        self._chains: set[bytes] = set()
        self._replicates: dict[bytes, list[int]] = {}
        self._taken: dict[Digest, Record] = {}
        self._guard = threading.Lock()

    def add(
        self, base: Digest, packed: Sequence[bytes], origin: Origin
    ) -> tuple[list[Record], int]:
        """Adds records under a base signature. Returns those of cells that none was heard of, and
        how many were left out since they stand under another base, or lead to another signature.

        Those of failures are left out, too.
        """
        fresh: list[Record] = []
        wrong = 0
        with self._guard:
            for one in packed:
                try:
                    _, status, _, replicate, signature, own, start = _OUTLINE.unpack_from(one)
                except struct.error:
                    wrong += 1
                    continue
                key = record_key(signature, replicate)
                if status == _FAILED or key in self._cells:
                    continue
                is_led_to = start + signature in self._chains or self._learn(one)
                if own != base or not is_led_to:
                    wrong += 1
                    continue
                self._cells[key] = Offer(one, origin)
                self._replicates.setdefault(signature, []).append(replicate)
                fresh.append(Record.decode(one))
        return fresh, wrong

    def _learn(self, packed: bytes) -> bool:
        """Learns the reads of a signature from its first record. Whether they lead to it."""
        try:
            record = Record.decode(packed)
            nodes = record.nodes()
        except RecordDamaged:
            return False
        if nodes[-1] != record.signature:
            return False
        keys = (*(read.key for read in record.reads), "")
        for node, key in zip(nodes, keys, strict=True):
            known = self._edges.get(node, ())
            if key not in known:
                self._edges[node] = (*known, key)
        self._chains.add(record.start + record.signature)
        return True

    def take(self, key: bytes) -> Record | None:
        """The record of a cell that was offered; it is stored with the next commit.

        None for one whose reads do not lead to its signature: it would be a hit for something else.
        """
        offer = self._cells.get(key)
        if offer is None:
            return None
        try:
            record = Record.decode(offer.packed)
            if self._adopt is not None:
                self._adopt(record, offer.origin)
            elif record.nodes()[-1] != record.signature:
                raise InvalidRecord("its reads lead elsewhere")
        except (RecordDamaged, InvalidRecord):
            self.withdraw(key)
            return None
        self._taken[record.digest] = record
        return record

    def replicates(self, signature: bytes) -> list[int]:
        """The replicates of a signature that may be there for the taking."""
        return self._replicates.get(signature, [])

    def taken(self, digest: Digest) -> Record | None:
        """A record that a lookup took, whether or not it is stored by now."""
        return self._taken.get(digest)

    def next_reads(self, node: Digest) -> tuple[str, ...]:
        """The keys that are read next by cells that were offered."""
        return self._edges.get(node, ())

    def withdraw(self, key: bytes) -> None:
        """Offers a cell's record no longer."""
        with self._guard:
            self._cells.pop(key, None)

    def retract(self, digests: set[Digest]) -> None:
        """Offers these records no longer."""
        with self._guard:
            gone = [k for k, offer in self._cells.items() if Digest.of(offer.packed) in digests]
            for key in gone:
                del self._cells[key]

    def clear(self) -> None:
        """Offers nothing any more."""
        with self._guard:
            self._cells.clear()

    def __len__(self) -> int:
        return len(self._cells)
