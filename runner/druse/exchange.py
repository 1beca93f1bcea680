"""What a run exchanges with others through a remote: records before it, bytes when they are needed,
results as they come; and, where that is asked for, which of many machines computes which cell.

A run that works alone has an `Exchange` without a tier, which does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from druse.task import CellName
from druse_store import ArtifactRef, Digest, Record, Run, Store

if TYPE_CHECKING:
    from druse.prepared import Prepared
    from druse.session import Session
    from druse_store import Flight, LeaseKey, Tier

_TURN = 1.0  # seconds of work that are claimed at once
_MOST = 16
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
        self._seconds = 0.0
        self._computed = 0

    def has_claimed(self, cell: CellName) -> bool:
        """Whether this process is to compute a cell."""
        return cell in self._keys

    @property
    def claims(self) -> bool:
        """Whether cells are claimed before they are computed."""
        return self._flight is not None

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

    def computed(self, cell: CellName, record: Record, seconds: float) -> None:
        """A cell's record was made here: it is published soon."""
        if self._tier is None:
            return
        self._seconds += seconds
        self._computed += 1
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
        if self._flight is not None:
            self._flight.close()
        if self._tier is not None:
            self._tier.close()

    # --- dividing the work -----------------------------------------------------------------------

    def turn(
        self,
        session: Session,
        due: Sequence[CellName],
        find_done: Callable[[Sequence[CellName], list[Record]], list[CellName]],
    ) -> tuple[list[CellName], list[CellName]]:
        """Which of these cells to compute now, and which others have computed meanwhile."""
        assert self._flight is not None
        by_key = {self._key(session, cell): cell for cell in due}

        def done(keys: Sequence[LeaseKey], new: list[Record]) -> set[LeaseKey]:
            found = set(find_done([by_key[key] for key in keys], new))
            return {key for key in keys if by_key[key] in found}

        mean = self._seconds / self._computed if self._computed else _TURN
        count = min(max(int(_TURN / max(mean, 1e-3)), 1), _MOST)
        turn = self._flight.turn(list(by_key), count, done, wait=False)
        for key in turn.mine:
            self._keys[by_key[key]] = key
        return [by_key[key] for key in turn.mine], [by_key[key] for key in turn.done]

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
