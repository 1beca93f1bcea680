"""What rests on a key, and taking it out of use once the key is trusted no more.

Only what the key signed is hidden. A result that was computed here from such a record's artifacts
is named, and needs no hiding: it is found under the content that it read, so it answers again only
where a trusted computation gives the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from druse_store.digest import Digest
from druse_store.index.values import REVOKED, WITHDRAWN, Origin
from druse_store.records import Record
from druse_store.run import RunName
from druse_store.trust import PublicKey, Trust

if TYPE_CHECKING:
    from druse_store.store import Store


@dataclass(slots=True)
class Resting:
    """What rests on a key: the records that it signed, the results that were computed from them,
    and the runs that have any of these."""

    records: list[Record] = field(default_factory=list)
    downstream: list[Record] = field(default_factory=list)
    runs: list[RunName] = field(default_factory=list)


def resting_on(store: Store, key: PublicKey) -> Resting:
    """What of this store rests on a key. Reads all records and runs."""
    signed = {digest for digest, origin in _origins(store) if origin.signer == key}
    if not signed:
        return Resting()
    others: list[Record] = []
    found = Resting()
    for digest in store._session.record_digests():
        record = store.record_by_digest(digest)
        if record is not None:
            (found.records if digest in signed else others).append(record)
    found.downstream = _downstream(found.records, others)
    named = signed | {record.digest for record in found.downstream}
    for run in store.runs():
        if any(cell.record in named for cell in run.cells):
            found.runs.append(RunName(run.experiment, run.version))
    return found


def _downstream(bad: list[Record], others: list[Record]) -> list[Record]:
    """Records that read what only bad ones, or others downstream of these, have given."""
    found: list[Record] = []
    while True:
        sound = {blob for record in others for blob in _given(record)}
        tainted = {blob for record in (*bad, *found) for blob in _given(record)} - sound
        fresh = [record for record in others if tainted.intersection(_taken(record))]
        if not fresh:
            return found
        found += fresh
        taken = {record.digest for record in fresh}
        others = [record for record in others if record.digest not in taken]


def _given(record: Record) -> list[Digest]:
    return [ref.digest for ref in record.refs()]


def _taken(record: Record) -> list[Digest]:
    return [*(read.value for read in record.reads), *record.needs]


def enforce_trust(store: Store, trust: Trust) -> dict[PublicKey, bool]:
    """Hides what untrusted keys signed, and shows again what keys signed that are trusted again.

    Returns the keys whose records changed, and whether they are hidden now.
    """
    store._session.offers().clear()  # what is still to be used is offered again
    believed = trust.believed()
    open_to_all: dict[bytes, bool] = {}
    changed: dict[PublicKey, bool] = {}
    for _, origin in _origins(store):
        if origin.remote not in open_to_all:
            open_to_all[origin.remote] = trust.policy(origin.remote.hex()) == "any"
        signer = PublicKey(origin.signer)
        hide = signer not in believed and not open_to_all[origin.remote]
        if origin.state != WITHDRAWN and hide != (origin.state == REVOKED):
            changed[signer] = hide
    for signer, hide in changed.items():
        store.hide_signer(signer, hide)
    return changed


def _origins(store: Store) -> list[tuple[Digest, Origin]]:
    with store._session.snapshot() as snapshot:
        return list(snapshot.origins())
