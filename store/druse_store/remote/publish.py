"""Saying what is here: signed segments of records, signed runs, and snapshots of them.

A signer's segments of a topic are numbered and linked. Once there are several, a snapshot repeats
all that still holds, so that others need one request for each signer; what it covers is removed
when it has been covered for a while.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from druse_store.digest import Digest
from druse_store.remote import bodies, claims, layout
from druse_store.remote.bodies import RecordsBody, RunBody
from druse_store.remote.claims import NO_CLAIM, Claim, Place
from druse_store.remote.layout import SEGMENT, SNAPSHOT, Name
from druse_store.remote.memory import Seen
from druse_store.remote.reading import current, list_topic, read_topic, remember
from druse_store.remote.site import Site
from druse_store.trust import Signer

SEGMENT_BYTES = 64 << 20  # of a body, before compression
SNAPSHOT_BYTES = 72 << 20
_COVERED_FOR = 3600.0  # seconds, by the server's clock


class Own(NamedTuple):
    """What this signer has said in a topic, and where the next claim stands."""

    topic: str
    claims: list[Claim]
    names: list[Name]
    next: int
    previous: Digest


class Publisher:
    """Publishes on one remote with one key. Used by one thread.

    What it has read and said in a topic it keeps in mind, so that a run that publishes as it goes
    asks little; a snapshot is made of what is there then, since other machines may use the key too.
    """

    def __init__(self, site: Site, signer: Signer) -> None:
        self._site = site
        self._signer = signer
        self._kept: dict[str, tuple[Own, set[Digest]]] = {}

    def own(self, topic: str) -> Own:
        """What was published under this key, as the remote has it now."""
        heard = read_topic(self._site, topic, [self._signer.public])
        names = [name for name in heard.names if name.signer == self._signer.public.short]
        seen = self._site.memory.read(topic).get(self._signer.public.short, Seen())
        highest = max([seen.highest, *(claim.sequence for claim in heard.claims)])
        last = max(heard.claims, key=lambda claim: claim.sequence, default=None)
        if last is not None and last.sequence == highest:
            previous = last.digest
        else:
            previous = Digest.from_hex(seen.last) if seen.last else NO_CLAIM
        return Own(topic, heard.claims, names, highest + 1, previous)

    # --- records -------------------------------------------------------------------------------

    def records(
        self,
        base: Digest,
        records: list[bytes],
        indexes: list[str],
        *,
        fold: bool,
        again: bool = False,
    ) -> list[bytes]:
        """Publishes those records of a base that are not published yet; returns them.

        `fold`: makes a snapshot if there are several segments now. `again`: what was said of this
        base is going to be removed, so it does not count.
        """
        topic = layout.records_topic(base)
        if fold or again or topic not in self._kept:
            own = self.own(topic)
            said = [] if again else [bodies.decode_records(claim) for claim in own.claims]
            there = {Digest.of(record) for body in said for record in body.records}
        else:
            own, there = self._kept[topic]
        fresh = {Digest.of(record): record for record in records}
        for digest in fresh.keys() & there:
            del fresh[digest]
        for part in _parts(list(fresh.values())):
            own = self._say(own, SEGMENT, RecordsBody(part, indexes).encode())
        if fresh:
            own = self._overtaken(own)
        self._kept[topic] = (own, there | fresh.keys())
        if fold and len(own.claims) > 1:
            self._fold_records(own)
            del self._kept[topic]
        return list(fresh.values())

    def retract(self, base: Digest, digests: Iterable[Digest]) -> None:
        """Takes records back: whoever hears of it uses them no more."""
        own = self.own(layout.records_topic(base))
        own = self._say(own, SEGMENT, RecordsBody([], [], list(digests)).encode())
        self._fold_records(own)

    def _fold_records(self, own: Own) -> None:
        said = [bodies.decode_records(claim) for claim in own.claims]
        retracted = {digest for body in said for digest in body.retracted}
        records = dict.fromkeys(
            record
            for body in said
            for record in body.records
            if not retracted or Digest.of(record) not in retracted
        )
        indexes = sorted({name for body in said for name in body.indexes})
        body = RecordsBody(list(records), indexes, sorted(retracted)).encode()
        if len(body) <= SNAPSHOT_BYTES:
            self._say(own, SNAPSHOT, body)
            self._remove_covered(own.topic)

    # --- runs ----------------------------------------------------------------------------------

    def runs(self, experiment: str, runs: list[RunBody]) -> list[RunBody]:
        """Publishes those runs of an experiment that are not published yet; returns them."""
        own = self.own(layout.runs_topic(experiment))
        there = {run.id for claim in own.claims for run in bodies.decode_runs(claim)}
        fresh = [run for run in runs if run.id not in there]
        if not fresh:
            return []
        own = self._say(own, SEGMENT, bodies.encode_runs(fresh))
        own = self._overtaken(own)
        if len(own.claims) > 1:
            known = {run.id: run for claim in own.claims for run in bodies.decode_runs(claim)}
            body = bodies.encode_runs(known.values())
            if len(body) <= SNAPSHOT_BYTES:
                self._say(own, SNAPSHOT, body)
                self._remove_covered(own.topic)
        return fresh

    def remove_runs(self, experiment: str, ids: Iterable[str]) -> list[str]:
        """Takes runs of one's own back, by id; returns those that there were."""
        own = self.own(layout.runs_topic(experiment))
        known = {run.id: run for claim in own.claims for run in bodies.decode_runs(claim)}
        gone = [run_id for run_id in ids if known.pop(run_id, None) is not None]
        if gone:
            self._say(own, SNAPSHOT, bodies.encode_runs(known.values()))
        return gone

    # --- claims --------------------------------------------------------------------------------

    def _say(self, own: Own, kind: str, body: bytes) -> Own:
        place = Place(self._site.id, own.topic, kind, own.next, own.previous)
        key, data = claims.make(self._signer, place, body)
        self._site.backend.store(key, data)
        claim = claims.verify(data, key, self._site.id, lambda _: True)
        remember(self._site, own.topic, [claim])
        self._site.claims.store(key.rpartition("/")[2], data)
        said = [claim] if kind == SNAPSHOT else [*own.claims, claim]
        return own._replace(claims=said, next=own.next + 1, previous=claim.digest)

    def _overtaken(self, own: Own) -> Own:
        """Says again what another machine with the same key has overtaken meanwhile.

        Whoever saw the higher number first would refuse the lower one as put back.
        """
        mine = {claim.key for claim in own.claims}
        listed = list_topic(self._site, own.topic)
        names = [name for name in listed if name.signer == self._signer.public.short]
        highest = max((name.sequence for name in names if name.key not in mine), default=0)
        known = {name.key for name in own.names}
        late = [c for c in own.claims if c.sequence < highest and c.key not in known]
        if not late:
            return own._replace(names=names, next=max(own.next, highest + 1))
        fresh = self.own(own.topic)
        for claim in late:
            fresh = self._say(fresh, SEGMENT, claim.body)
        return fresh

    def _remove_covered(self, topic: str) -> None:
        """Removes one's own claims that a snapshot has covered for so long that nobody reads them
        any more. Both times are the server's."""
        prefix = f"{topic}/"
        entries = {entry.key: entry for entry in self._site.backend.list(prefix)}
        named = [name for name in map(layout.parse_signed, entries) if name is not None]
        mine = [name for name in named if name.signer == self._signer.public.short]
        live = {name.key for name in current(mine)}
        now = max((entry.modified for entry in entries.values()), default=0.0)
        old = [
            name.key
            for name in mine
            if name.key not in live and entries[name.key].modified < now - _COVERED_FOR
        ]
        self._site.backend.delete(old)


def _parts(records: list[bytes]) -> Iterable[list[bytes]]:
    """As many as fit into a segment."""
    part: list[bytes] = []
    size = 0
    for record in records:
        if part and size + len(record) > SEGMENT_BYTES:
            yield part
            part, size = [], 0
        part.append(record)
        size += len(record) + 4
    if part:
        yield part
