"""A worker on a machine that does not see the run's store: one of its own there, and the remote
between the two. What a cell reads comes from the remote; what it writes goes there before its
outcome is handed back, so that the run can bring it. The run signs and publishes the records: a
worker needs no key, and believes whom the run believes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from druse.errors import ExecutorLost
from druse.task import Outcome, WrittenArtifact
from druse_store import (
    BlobRef,
    Digest,
    ObjectRef,
    PublicKey,
    Record,
    Store,
    StoreError,
    Tier,
    Trust,
)

VARIABLE = "DRUSE_WORKER_STORE"


class Address(NamedTuple):
    """A remote as workers find it: their environment has the credentials. `trust`: keys by name."""

    url: str
    id: str
    trust: Mapping[str, str]


class Far:
    """A worker's own store, and its way to the run's remote. Used by one thread."""

    def __init__(self, address: Address) -> None:
        host = os.uname().nodename
        warnings: list[str] = []
        lent = Trust(lent={name: PublicKey.parse(key) for name, key in address.trust.items()})
        try:
            self.store = Store.open(_place(address))
            tier = Tier.open(self.store, address.url, warn=warnings.append, trust=lent)
        except StoreError as error:
            raise ExecutorLost(
                f"a worker on {host} cannot use the run's remote: {error}"
            ) from error
        if tier is None or tier.site.id.hex() != address.id:
            self.store.close()
            why = "; ".join(warnings) or "another remote lies there"
            raise ExecutorLost(f"a worker on {host} cannot use the remote {address.url}: {why}")
        self._tier = tier
        self.kept: list[Record] = []

    def bring(self, refs: Iterable[BlobRef], indexes: Sequence[str] = ()) -> None:
        """Brings blobs that are not here, as far as the remote has them."""
        missing = [ref for ref in refs if ref.digest not in self.store]
        if missing:
            self._tier.fetch_blobs(missing, indexes)

    def look(self, bases: Sequence[Digest]) -> None:
        """Hears of what others published under these base signatures."""
        self._tier.records_for(bases)

    def hand_over(self, outcome: Outcome) -> None:
        """Puts on the remote what an outcome names; what cannot be had there goes along itself."""
        kept, self.kept = self.kept, []
        refs = [a.data for a in outcome.artifacts if isinstance(a.data, ObjectRef)]
        blobs = {blob.digest for ref in refs for blob in ref.blobs()}
        blobs |= {blob for record in kept for blob in record.blobs()}
        if not blobs and not kept:
            return
        sent = self._tier.send_blobs(sorted(blobs))
        if sent is not None:
            outcome.indexes = tuple(sent)
            outcome.kept = tuple(record.encode() for record in kept)
        else:
            outcome.artifacts = [self._with_bytes(each) for each in outcome.artifacts]

    def _with_bytes(self, artifact: WrittenArtifact) -> WrittenArtifact:
        if not isinstance(artifact.data, ObjectRef):
            return artifact
        data = self.store.get(artifact.data.root.digest)
        return WrittenArtifact(artifact.name, artifact.step, data)

    def close(self) -> None:
        self._tier.close()
        self.store.close()


def _place(address: Address) -> Path:
    """Where a worker keeps what it has brought: for later runs, too."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or ""
    cache = Path(base) if base.startswith("/") else Path.home() / ".cache"
    return cache / "druse" / f"worker-{address.id[:16]}"
