"""Looking things up: what is committed, and what this store has written but not committed yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from druse_store.digest import Digest, trusted
from druse_store.errors import IndexDamaged
from druse_store.index import values
from druse_store.index.environment import Environment
from druse_store.index.snapshot import Snapshot
from druse_store.records import Record

if TYPE_CHECKING:
    from druse_store.attest import Judge
    from druse_store.pending import Pending


class Offered(Protocol):
    """What others offer to this store's lookups."""

    def take(self, signature: bytes, replicate: int) -> Record | None:
        """The record of a cell, stored from now on."""

    def replicates(self, signature: bytes) -> list[int]: ...

    def taken(self, digest: Digest) -> Record | None: ...

    def next_reads(self, node: Digest) -> tuple[str, ...]: ...


class View(Snapshot):
    """One state of the store, for many lookups: `with store.reading() as view:`.

    A lookup costs a fraction of one on the store itself. Keep the block short, and run no user
    code in it: while it is open, the index cannot use the space of what is removed.
    """

    __slots__ = ("_judge", "_offered", "_waiting")

    def __init__(
        self,
        environment: Environment,
        waiting: Sequence[Pending],
        offered: Offered | None = None,
        judge: Judge | None = None,
    ) -> None:
        self._offered = offered
        self._judge = judge
        # Taken before the snapshot begins: what is committed in between is then found twice,
        # rather than not at all.
        self._waiting = waiting
        super().__init__(environment)

    def __enter__(self) -> View:
        super().__enter__()
        return self

    def record_at(self, signature: Digest, replicate: int) -> Record | None:
        """The current record of a cell; else one that others have published and this process has
        heard of, which is here from then on."""
        key = values.record_key(signature, replicate)
        found = self._current_at(key)
        if self._offered is not None and (found is None or found.status == "failed"):
            return self._offered.take(signature, replicate) or found
        return found

    def _current_at(self, key: bytes) -> Record | None:
        for pending in self._waiting:
            digest = pending.rows.pointers.get(key)
            if digest is not None:
                return Record.decode(pending.rows.records[digest], digest)
        digest = self.current(key)
        if digest is None:
            return None
        packed = self.record(digest)
        if packed is None:
            if self.is_removed(digest):
                return None
            raise IndexDamaged(
                f"the current record {digest} of a cell is missing; "
                "`druse repair --rebuild-index` makes a new index from the packs"
            )
        if self._judge is None:
            return Record.decode(packed, digest)
        record = self._believed(packed, digest)
        # In a shared store others could have let the index name another cell's record.
        if record is None or values.record_key(record.signature, record.replicate) != key:
            return None
        return record

    def _believed(self, packed: bytes, digest: Digest) -> Record | None:
        """A record, if it is one's own, or the store is, or its signer is trusted."""
        if self._judge is not None and not self._judge.believes(self, digest, packed):
            return None
        return Record.decode(packed, digest)

    @property
    def has_offers(self) -> bool:
        """Whether records may come from elsewhere when they are looked up."""
        return self._offered is not None

    def records_at(self, signature: Digest) -> dict[int, Digest]:
        """The current record of each replicate of a signature."""
        found = dict(self.currents(signature))
        for pending in reversed(self._waiting):
            for key, digest in list(pending.rows.pointers.items()):
                if key.startswith(signature):
                    found[values.replicate_of(key)] = digest
        if self._judge is not None:
            believed = ((replicate, self.record_at(signature, replicate)) for replicate in found)
            found = {replicate: record.digest for replicate, record in believed if record}
        if self._offered is not None:
            for replicate in self._offered.replicates(signature):
                record = None if replicate in found else self.record_at(signature, replicate)
                if record is not None:
                    found[replicate] = record.digest
        return found

    def failed_under_base(self, base: Digest) -> Iterator[Record]:
        """The committed records of cells that failed, and have had no result since."""
        for key in self.under_base(base):
            digest = self.current(key)
            packed = None if digest is None else self.record(digest)
            if packed is not None and Record.decode(packed).status == "failed":
                yield Record.decode(packed, digest)

    def record_by_digest(self, digest: Digest) -> Record | None:
        """The record with this digest, current or not."""
        for pending in self._waiting:
            packed = pending.rows.records.get(digest)
            if packed is not None:
                return Record.decode(packed, digest)
            if digest in pending.adoptions:
                return pending.adoptions[digest][0]
        packed = self.record(digest)
        if packed is None:
            return None if self._offered is None else self._offered.taken(digest)
        return self._believed(packed, digest)

    def missing(self, record: Record) -> list[Digest]:
        """The blobs of a record that are not here: dropped by retention, evicted, or damaged; or
        left on the remote that the record came from."""
        return [digest for digest in record.blobs() if digest not in self]

    def next_reads(self, node: Digest) -> tuple[str, ...]:
        """The keys that are read next by the cells that came to this node; "" is the end."""
        keys = self.edges(node)
        for pending in self._waiting:
            fresh = pending.rows.next_reads(node)
            keys += tuple(key for key in fresh if key not in keys)
        if self._offered is not None:
            offered = self._offered.next_reads(node)
            keys += tuple(key for key in offered if key not in keys)
        return keys

    def __contains__(self, digest: object) -> bool:
        """Whether a blob is here."""
        if not isinstance(digest, bytes):
            return False
        name = trusted(digest)
        return any(pending.has_blob(name) for pending in self._waiting) or self.is_known(name)
