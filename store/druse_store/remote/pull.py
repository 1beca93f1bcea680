"""Bringing records: what trusted signers published under base signatures, into the store's index.

Records are small and come whole; their blobs stay where they are until somebody needs them. A
record never takes the place of a local one. From a remote whose policy is `any`, records of
unknown signers come only if they have metrics and no values: what loads a value may run its code,
and not only the encoding `pickle` is one (a user's loader may well unpickle what is bytes here).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from druse_store import changes
from druse_store.digest import Digest
from druse_store.errors import ClaimRefused, InvalidRecord, RecordDamaged
from druse_store.index.values import WITHDRAWN, Origin, record_key
from druse_store.records import Record
from druse_store.remote import bodies, layout
from druse_store.remote.claims import Claim
from druse_store.remote.reading import Heard, read_topic
from druse_store.remote.site import Site
from druse_store.remote.transfer import all_at_once
from druse_store.trust import PublicKey, Trust

if TYPE_CHECKING:
    from druse_store.session import Session
    from druse_store.view import View

_FLUSH_EVERY = 4096  # records


@dataclass(slots=True)
class Brought:
    """What came, and why the rest did not. `indexes` lead to the blobs of what there is."""

    fresh: list[bytes] = field(default_factory=list)
    known: int = 0
    withheld: int = 0
    refused: list[str] = field(default_factory=list)
    unknown: dict[str, int] = field(default_factory=dict)
    indexes: set[str] = field(default_factory=set)

    @property
    def records(self) -> int:
        """How many came."""
        return len(self.fresh)

    @property
    def new(self) -> list[Record]:
        """What came. Decoded each time: there may be many."""
        return [Record.decode(packed) for packed in self.fresh]

    def is_empty(self) -> bool:
        """Whether nothing at all was there."""
        return not (self.records or self.known or self.withheld or self.refused or self.unknown)

    def reasons(self) -> list[str]:
        """Sentences for people: why some of what lies there is not used."""
        strangers = [
            f"{count} signed object{'s' if count > 1 else ''} by a key {signer}… that is not "
            "trusted here (`druse trust add NAME KEY`)"
            for signer, count in sorted(self.unknown.items())
        ]
        withheld = [
            f"{self.withheld} records by keys that are not trusted here have values besides their "
            "metrics, which are loaded only from trusted keys (`druse trust add NAME KEY`)"
        ]
        return self.refused + strangers + withheld * bool(self.withheld)


class Said(NamedTuple):
    """A claim's records that may be used here: encoded, and who says them."""

    base: Digest
    claim: Claim
    packed: list[bytes]
    origin: Origin


def offer_records(session: Session, site: Site, trust: Trust, bases: Iterable[Digest]) -> Brought:
    """Lets lookups find what is published under these base signatures; what they find is stored.

    Raises RemoteError.
    """
    brought = Brought()
    for said in _hear(session, site, trust, bases, brought):
        fresh, wrong = session.offers().add(said.base, said.packed, said.origin)
        brought.fresh += fresh
        if wrong:
            brought.refused.append(
                f"{said.claim.key}: {wrong} records that stand under another base signature, or "
                "whose reads lead to another signature than their own"
            )
    return brought


def bring_records(session: Session, site: Site, trust: Trust, bases: Iterable[Digest]) -> Brought:
    """Stores what is published under these base signatures, where there is no record of a cell.

    Raises RemoteError.
    """
    brought = Brought()
    for said in _hear(session, site, trust, bases, brought):
        with session.batch(), session.reading() as view:
            wanted = list(_wanted(view, said, brought))
        with session.batch(), session.writing() as writing:
            for number, record in enumerate(wanted):
                try:
                    writing.writer.adopt(record, said.origin)
                except (InvalidRecord, RecordDamaged) as error:
                    brought.refused.append(f"{said.claim.key}: {error}")
                else:
                    brought.fresh.append(record.encode())
                if number % _FLUSH_EVERY == _FLUSH_EVERY - 1:
                    writing.writer.flush()
    session.flush()  # inside somebody's batch, too: whoever asked wants to see them
    return brought


def _hear(
    session: Session, site: Site, trust: Trust, bases: Iterable[Digest], brought: Brought
) -> Iterator[Said]:
    believed = trust.believed()
    signers = None if trust.policy(site.id.hex()) == "any" else believed

    def read(base: Digest) -> tuple[Digest, Heard]:
        return base, read_topic(site, layout.records_topic(base), signers)

    for base, heard in all_at_once(read, dict.fromkeys(bases)):
        brought.refused += heard.refused
        for signer, count in heard.unknown.items():
            brought.unknown[signer] = brought.unknown.get(signer, 0) + count
        yield from _said(session, site, believed, base, heard, brought)


def _said(
    session: Session,
    site: Site,
    believed: dict[PublicKey, str],
    base: Digest,
    heard: Heard,
    brought: Brought,
) -> Iterator[Said]:
    found: list[tuple[Claim, bodies.RecordsBody]] = []
    for claim in heard.claims:
        try:
            found.append((claim, bodies.decode_records(claim)))
        except ClaimRefused as error:
            brought.refused.append(str(error))
    taken_back = _note_retractions(session, site, heard.topic, found)
    for claim, body in found:
        brought.indexes.update(body.indexes)
        gone = taken_back.get(claim.signer, set())
        packed = [one for one in body.records if not gone or Digest.of(one) not in gone]
        if claim.signer not in believed:
            packed = [one for one in packed if _is_plain(one, brought)]
        yield Said(base, claim, packed, Origin(claim.signer, site.id))


def _is_plain(packed: bytes, brought: Brought) -> bool:
    """Whether a record has metrics and no values."""
    try:
        record = Record.decode(packed)
        plain = not record.artifacts and record.output is None
    except RecordDamaged:
        return False
    brought.withheld += not plain
    return plain


def _wanted(view: View, said: Said, brought: Brought) -> Iterable[Record]:
    """The records whose cells have no usable record here."""
    for packed in said.packed:
        try:
            record = Record.decode(packed)
            if record.base != said.base:
                raise RecordDamaged("a record stands under another base than its own")
        except RecordDamaged as error:
            brought.refused.append(f"{said.claim.key}: {error}")
            continue
        if record.status == "failed":
            continue
        current = view.current(record_key(record.signature, record.replicate))
        if current is not None and not _failed(view, current):
            brought.known += 1
        else:
            yield record


def _failed(view: View, digest: Digest) -> bool:
    record = view.record_by_digest(digest)
    return record is not None and record.status == "failed"


def _note_retractions(
    session: Session, site: Site, topic: str, said: list[tuple[Claim, bodies.RecordsBody]]
) -> dict[PublicKey, set[Digest]]:
    """What each signer has taken back, ever; takes it out of use here."""
    seen = site.memory.read(topic)
    fresh = [
        (claim.signer.short, {digest.hex() for digest in body.retracted})
        for claim, body in said
        if body.retracted
    ]
    if any(not digests <= seen[short].retracted for short, digests in fresh):
        with site.memory.changing(topic) as seen:
            for short, digests in fresh:
                seen[short].retracted |= digests
        session.offers().retract({d for _, body in said for d in body.retracted})
    found = {
        claim.signer: {Digest.from_hex(text) for text in seen[claim.signer.short].retracted}
        for claim, _ in said
    }
    for signer, taken_back in found.items() if not session.read_only else ():
        for digest in taken_back:
            _withdraw(session, signer, digest)
    return found


def _withdraw(session: Session, signer: PublicKey, digest: Digest) -> None:
    """Takes a record that its signer took back out of the index, where it came from there."""
    with session.reading() as view:
        origin = view.origin(digest)
    if origin is None or origin.signer != signer or origin.state == WITHDRAWN:
        return
    with session.writing() as writing:
        writing.writer.flush()
        writing.writer.flush(writing.writer.change([changes.WITHDRAW, digest]))
