"""What on a remote is still needed: every run that anybody published, and what was put lately.

Base signatures that a run names are live, and those whose newest segment is young, or that somebody
holds a lease on. All blobs that their records name are live, whoever signed them: whether a key is
trusted here says nothing about what others need.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from druse_store import codec
from druse_store.digest import Digest
from druse_store.errors import (
    ClaimRefused,
    Damaged,
    InvalidInput,
    RecordDamaged,
    RemoteError,
    UnknownCodec,
)
from druse_store.frames import ChunkList
from druse_store.records import Record
from druse_store.remote import bodies, layout
from druse_store.remote.backend import Entry
from druse_store.remote.catalog import Catalog
from druse_store.remote.claims import Claim
from druse_store.remote.packindex import Place
from druse_store.remote.reading import Heard, current, read_topic
from druse_store.remote.site import Site
from druse_store.remote.transfer import all_at_once


@dataclass(slots=True)
class Inventory:
    """Everything on a remote, as listed at once."""

    entries: dict[str, Entry] = field(default_factory=dict)

    @classmethod
    def take(cls, site: Site) -> Inventory:
        return cls({entry.key: entry for entry in site.backend.list("")})

    def under(self, prefix: str) -> list[Entry]:
        return [entry for key, entry in self.entries.items() if key.startswith(prefix)]

    def topics(self, prefix: str) -> dict[str, list[Entry]]:
        """The signed objects, by topic."""
        found: dict[str, list[Entry]] = defaultdict(list)
        for entry in self.under(prefix):
            if layout.parse_signed(entry.key):
                found[entry.key.rpartition("/")[0]].append(entry)
        return found

    def tombstones(self) -> dict[str, float]:
        """When each was put up, by what it stands for."""
        return {e.key.rpartition("/")[2]: e.modified for e in self.under(layout.TOMBSTONES)}

    def packs(self) -> dict[str, Entry]:
        found = {}
        for entry in self.under(layout.PACKS):
            stem, _, suffix = entry.key.rpartition("/")[2].rpartition(".")
            if suffix == "pack":
                found[stem] = entry
        return found


@dataclass(slots=True)
class Alive:
    """What is needed. `covered` are claims that a snapshot repeats."""

    bases: set[str] = field(default_factory=set)
    chunks: set[Digest] = field(default_factory=set)
    covered: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def find_alive(site: Site, catalog: Catalog, inventory: Inventory, young_from: float) -> Alive:
    """What is needed, where what was stored since `young_from` counts as needed."""
    alive = Alive()
    alive.bases |= _bases_of_runs(site, inventory, alive)
    alive.bases |= {entry.key.split("/")[1] for entry in inventory.under(layout.LEASES)}
    blobs: set[Digest] = set()
    for topic, entries in inventory.topics(layout.RECORDS).items():
        base = topic.rpartition("/")[2]
        if max(entry.modified for entry in entries) >= young_from:
            alive.bases.add(base)
        if base in alive.bases:
            blobs |= _blobs_of(_hear(site, topic, alive), alive)
    alive.chunks = _chunks_of(site, catalog, blobs)
    return alive


def _hear(site: Site, topic: str, alive: Alive) -> Heard:
    """What anybody says in a topic; notes what is covered by snapshots that were verified."""
    heard = read_topic(site, topic, None)
    alive.unreadable += heard.refused
    verified = {claim.key for claim in heard.claims}
    by_signer = defaultdict(list)
    for name in heard.names:
        by_signer[name.signer].append(name)
    for names in by_signer.values():
        kept = [name for name in current(names) if name.key in verified]
        floor = max((n.sequence for n in kept if n.kind == layout.SNAPSHOT), default=0)
        alive.covered += [name.key for name in names if name.sequence < floor]
    return heard


def _bases_of_runs(site: Site, inventory: Inventory, alive: Alive) -> set[str]:
    found: set[str] = set()
    for topic in inventory.topics(layout.RUNS):
        for claim in _hear(site, topic, alive).claims:
            for run in _decoded_runs(claim, alive):
                found.update(base.hex() for base in run.bases)
                found.update(_named(run))
    return found


def _decoded_runs(claim: Claim, alive: Alive) -> list[bodies.RunBody]:
    try:
        return bodies.decode_runs(claim)
    except ClaimRefused as error:
        alive.unreadable.append(str(error))
        return []


def _named(run: bodies.RunBody) -> Iterable[str]:
    named = run.info.get("bases")
    return [text for text in named if isinstance(text, str)] if isinstance(named, list) else []


def _blobs_of(heard: Heard, alive: Alive) -> set[Digest]:
    found: set[Digest] = set()
    for claim in heard.claims:
        try:
            body = bodies.decode_records(claim)
        except ClaimRefused as error:
            alive.unreadable.append(str(error))
            continue
        gone = set(body.retracted)
        for packed in body.records:
            try:
                record = Record.decode(packed)
                if not gone or record.digest not in gone:
                    found.update(record.blobs())
                    found.update(ref.chunks for ref in record.refs())
            except (RecordDamaged, InvalidInput) as error:
                alive.unreadable.append(f"{claim.key}: {error}")
    return found


def _chunks_of(site: Site, catalog: Catalog, blobs: set[Digest]) -> set[Digest]:
    """The chunks that blobs are made of: their lists are read from their packs.

    Raises RemoteError where a list cannot be read: then nobody knows what it needs.
    """
    lists = set(catalog.lists(blobs).values())
    alive = blobs | lists
    places = catalog.find(lists, tombstoned=True)

    def load(item: tuple[Digest, Place]) -> ChunkList:
        digest, place = item
        stored = site.backend.load(layout.pack_key(place.pack), place.offset, place.stored)
        try:
            data = codec.decode(place.codec, stored, place.size)
            if Digest.of(data) != digest:
                raise RemoteError("its digest is another")
            return ChunkList.decode(data)
        except (Damaged, UnknownCodec, RemoteError) as error:
            raise RemoteError(
                f"the chunk list {digest} in pack {place.pack} is damaged ({error}), so what it "
                "needs is not known: nothing is collected. Push the run that it belongs to again"
            ) from error

    for outline in all_at_once(load, places.items(), lambda item: item[1].size):
        alive.update(chunk for chunk, _ in outline.chunks)
    return alive
