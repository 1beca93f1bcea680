"""What a run exchanges with others through a remote: records before it, bytes when they are needed,
results as they come; and, where that is asked for, which of many machines computes which cell.

A run that works alone has an `Exchange` without a tier, which does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from druse.task import CellName, UpstreamArtifact
from druse_store import ArtifactRef, BlobRef, Digest, Record, Run, Store, StoreError

if TYPE_CHECKING:
    from druse.executors.far import Address
    from druse.prepared import Prepared
    from druse.session import Session
    from druse_store import Flight, LeaseKey, Look, Tier

_TURN = 1.0  # seconds of work that are claimed at once
_MOST = 16
_SHORT, _LONG = 0.1, 2.0
_FIRST = 4  # cells, while nobody knows how long one takes
_INLINE = 64 << 10  # bytes of an artifact that travel with the task; more go by the remote
_DOMAIN = b"druse:lease:1\x00"


class Exchange:
    """One run's exchange. Used by the thread of the run."""

    def __init__(self, tier: Tier | None = None, *, claim: bool = False) -> None:
        self._tier = tier
        self._flight: Flight | None = None
        if tier is not None and claim:
            from druse_store import Flight

            self._flight = Flight(tier)
        self._keys: dict[CellName, LeaseKey] = {}
        self._ahead: tuple[dict[LeaseKey, CellName], Future[Look]] | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._handed_out: dict[Digest, tuple[str, ...]] = {}
        self._seconds = 0.0
        self._computed = 0

    def has_claimed(self, cell: CellName) -> bool:
        """Whether this process is to compute a cell."""
        return cell in self._keys

    @property
    def claims(self) -> bool:
        """Whether cells are claimed before they are computed."""
        return self._flight is not None

    @property
    def address(self) -> Address | None:
        """Where workers on other machines find the remote."""
        if self._tier is None:
            return None
        from druse.executors.far import Address

        trust = {name: str(key) for key, name in self._tier.trust.believed().items()}
        return Address(self._tier.site.backend.url, self._tier.site.id.hex(), trust)

    def hand_out(self, store: Store, artifact: ArtifactRef) -> UpstreamArtifact:
        """An artifact for a worker that may not see the store: with its bytes where these are few,
        else by way of the remote."""
        root = artifact.ref.root
        if self._tier is None:
            return UpstreamArtifact(artifact)
        if root.size <= _INLINE:
            try:
                return UpstreamArtifact(artifact, store.get(root.digest))
            except StoreError:  # the cell says so, and its producer runs again
                return UpstreamArtifact(artifact)
        indexes = self._handed_out.get(root.digest)
        if indexes is None:
            store.flush()
            sent = self._tier.send_blobs([ref.digest for ref in artifact.ref.blobs()])
            indexes = self._handed_out[root.digest] = tuple(sent or ())
        return UpstreamArtifact(artifact, indexes=indexes)

    def take_over(self, store: Store, blobs: Iterable[BlobRef], indexes: Sequence[str]) -> None:
        """Brings what a worker has put on the remote."""
        missing = [blob for blob in blobs if blob.digest not in store]
        if self._tier is not None and missing:
            self._tier.fetch_blobs(missing, indexes)

    # --- before and while cells are computed -----------------------------------------------------

    def look(self, store: Store, prepared: Iterable[Prepared]) -> None:
        """Brings the records that others published of these experiments, and their manifests."""
        if self._tier is None:
            return
        bases = [base for each in prepared for base in bases_of(each)]
        brought = self._tier.records_for(bases)
        if brought.records:
            found = (record for base in bases for record in store.records_of_base(base))
            self._tier.fetch_blobs({r.manifest for r in found if r.manifest is not None})

    @property
    def is_alone(self) -> bool:
        """Whether there is no remote."""
        return self._tier is None

    def bring(self, store: Store, artifacts: Iterable[ArtifactRef], record: Record | None) -> bool:
        """Brings the bytes of artifacts, and of a record's output. Whether all are here now."""
        refs = [ref for artifact in artifacts for ref in artifact.ref.blobs()]
        if record is not None and record.output is not None:
            refs += record.output.blobs()
        missing = [ref for ref in refs if ref.digest not in store]
        if missing and self._tier is not None:
            return not self._tier.fetch_blobs(missing)
        return not missing

    # --- what was computed -----------------------------------------------------------------------

    def computed(self, records: Mapping[CellName, Record], seconds: float) -> None:
        """The records of these cells were made here, in so long: they are published soon."""
        if self._tier is None:
            return
        self._seconds += seconds
        self._computed += len(records)
        for cell, record in records.items():
            key = self._keys.pop(cell, None)
            if key is None or self._flight is None:
                self._tier.add(record.digest)
            else:
                self._flight.done(key, record.digest)

    def failed(self, cell: CellName, record: Record) -> None:
        """A cell failed here: people can see why, and others may try it."""
        if self._tier is None:
            return
        self._tier.add(record.digest)
        key = self._keys.pop(cell, None)
        if key is not None and self._flight is not None:
            self._flight.failed(key)

    def ended(self, store: Store, prepared: Prepared, run: Run | None, is_new: bool) -> None:
        """An experiment's run has ended: it is published, with the steps' records."""
        if self._tier is None or run is None or not is_new:
            return
        for base in bases_of(prepared)[1:]:
            for record in store.records_of_base(base):
                self._tier.add(record.digest)
        self._tier.publish(run)

    def close(self) -> None:
        """Gives back what was claimed, and publishes what waits."""
        if self._thread is not None:
            self._thread.shutdown()
        if self._flight is not None:
            self._flight.close()
        if self._tier is not None:
            self._tier.close()

    # --- dividing the work -----------------------------------------------------------------------

    def look_ahead(self, session: Session, due: Sequence[CellName]) -> None:
        """Begins to claim more of these cells, while those that were claimed are computed."""
        if self._flight is not None and self._ahead is None and due:
            keys = {self._key(session, cell): cell for cell in due}
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="druse-claims")
            self._ahead = keys, self._thread.submit(self._flight.look, list(keys), self.count)

    def turn(
        self,
        session: Session,
        due: Sequence[CellName],
        find_done: Callable[[Sequence[CellName], list[Record]], list[CellName]],
    ) -> tuple[list[CellName], list[CellName]]:
        """Which of these cells to compute now, and which others have computed meanwhile.

        Both may be empty: then others are at all of them.
        """
        assert self._flight is not None
        self.look_ahead(session, due)
        assert self._ahead is not None
        (by_key, looking), self._ahead = self._ahead, None

        def done(keys: Sequence[LeaseKey], new: list[Record]) -> set[LeaseKey]:
            found = set(find_done([by_key[key] for key in keys], new))
            return {key for key in keys if by_key[key] in found}

        turn = self._flight.settle(looking.result(), done)
        for key in turn.mine:
            self._keys[by_key[key]] = key
        return [by_key[key] for key in turn.mine], [by_key[key] for key in turn.done]

    @property
    def count(self) -> int:
        """How many cells are claimed at once."""
        if not self._computed:
            return _FIRST
        mean = self._seconds / self._computed
        return min(max(int(_TURN / max(mean, 1e-3)), 1), _MOST)

    @property
    def pause(self) -> float:
        """Seconds between two looks while others compute all that is left."""
        mean = self._seconds / self._computed if self._computed else _TURN
        return min(max(mean / 4, _SHORT), _LONG)

    def _key(self, session: Session, cell: CellName) -> LeaseKey:
        from druse_store import LeaseKey

        prepared = session.plan.prepared[cell.experiment]
        text = f"{cell.condition}\0{cell.replicate}".encode("utf-8", "surrogatepass")
        parts = [_DOMAIN, text]
        for source in prepared.inputs:
            found = session.upstream.find(source, cell.condition, cell.replicate)
            parts.append(b"" if found is None else found.ref.root.digest)
        return LeaseKey(prepared.base, Digest.of(b"\0".join(parts)))


def bases_of(prepared: Prepared) -> list[Digest]:
    """The base signatures of an experiment's records: that of its cells first, then the steps'."""
    if prepared.uncacheable:
        return []
    return [prepared.base, *prepared.step_bases]
