"""Removing from a remote what nobody needs, in two phases, beside everybody and other collectors.

First run: what is not needed gets a tombstone, and counts as absent for whoever pushes. A later
run, once the grace is over by the server's clock, looks at everything again: what is needed after
all loses its tombstone, the rest is removed, first from the pack indexes, then itself. A pack of
which little is needed is written anew without the rest, and its old self gets a tombstone.

What two collectors do at once is the same, or harmless: tombstones are named for what they stand
for; of a chunk that lies in several packs the smallest one's copy counts; and before a pack goes,
each needed chunk in it has to be in a pack that stays.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from druse_store import codec, frames
from druse_store.digest import Digest
from druse_store.errors import RemoteDamaged
from druse_store.remote import layout, packindex
from druse_store.remote.catalog import Catalog
from druse_store.remote.liveness import Alive, Inventory, find_alive
from druse_store.remote.packindex import PackIndex, PackOutline, Place
from druse_store.remote.site import Site, require_id
from druse_store.remote.transfer import Meter, Show, all_at_once
from druse_store.remote.upload import GRACE, PACK_SIZE

_WASTE = 0.5  # of a pack's bytes: above, it is written anew
_LEASE_AGE = 24 * 3600.0
_COVERED_AGE = 3600.0


@dataclass(slots=True)
class RemoteGcPlan:
    """What a collection does. Packs are given by id, other objects by key."""

    now: float
    grace: float
    bury: set[str] = field(default_factory=set)  # gets a tombstone
    raise_up: set[str] = field(default_factory=set)  # loses its tombstone
    rewrite: set[str] = field(default_factory=set)  # written anew, then gets a tombstone
    remove_packs: set[str] = field(default_factory=set)
    remove_bases: set[str] = field(default_factory=set)
    remove_objects: list[str] = field(default_factory=list)
    freed: int = 0  # bytes that this run removes
    waiting: int = 0  # bytes under tombstones whose grace is not over
    notes: list[str] = field(default_factory=list)

    def is_empty(self) -> bool:
        return not (
            self.bury
            or self.raise_up
            or self.rewrite
            or self.remove_packs
            or self.remove_bases
            or self.remove_objects
        )


class RemoteGc:
    """A collection of one remote. `plan` changes nothing; `execute` plans anew, by the server's
    clock, and does it. It may be killed at any point and run again."""

    def __init__(self, site: Site, *, grace: float = GRACE, show: Show | None = None) -> None:
        self._site = site
        self._grace = grace
        self._show = show
        self._catalog = Catalog(site)
        self._homes: dict[Digest, Place] = {}

    def plan(self) -> RemoteGcPlan:
        """What would be done now. Raises RemoteError where it cannot be told what is needed."""
        require_id(self._site.backend, self._site.id)
        inventory = Inventory.take(self._site)
        return self._plan(inventory, time.time())  # this clock removes nothing: it only shows

    def execute(self) -> RemoteGcPlan:
        """Does it; returns what was done."""
        require_id(self._site.backend, self._site.id)
        backend = self._site.backend
        clock = f"{layout.INTENTS}{layout.ulid()}"
        backend.store(clock, b'{"collects": true}')
        try:
            inventory = Inventory.take(self._site)
            now = inventory.entries.pop(clock).modified
            plan = self._plan(inventory, now)
            self._execute(plan)
        finally:
            backend.delete([clock])
        return plan

    # --- planning ------------------------------------------------------------------------------

    def _plan(self, inventory: Inventory, now: float) -> RemoteGcPlan:
        self._catalog.refresh()
        alive = find_alive(self._site, self._catalog, inventory, now - self._grace)
        plan = RemoteGcPlan(now, self._grace, notes=list(alive.unreadable))
        self._plan_packs(plan, inventory, alive)
        self._plan_bases(plan, inventory, alive)
        self._plan_objects(plan, inventory, alive)
        return plan

    def _plan_packs(self, plan: RemoteGcPlan, inventory: Inventory, alive: Alive) -> None:
        packs, tombstones = inventory.packs(), inventory.tombstones()
        self._homes = self._find_homes(alive, packs.keys(), packs.keys() - tombstones.keys())
        needed: dict[str, int] = {}
        for place in self._homes.values():
            needed[place.pack] = needed.get(place.pack, 0) + place.stored
        for pack, entry in packs.items():
            used = needed.get(pack, 0)
            if pack in tombstones:
                if used:
                    plan.raise_up.add(pack)
                elif self._is_over(plan, inventory, tombstones[pack]):
                    plan.remove_packs.add(pack)
                    plan.freed += entry.size
                else:
                    plan.waiting += entry.size
            elif entry.modified > plan.now - plan.grace:
                continue  # its segment may be on its way
            elif not used:
                plan.bury.add(pack)
                plan.waiting += entry.size
            elif used < (1 - _WASTE) * entry.size:
                plan.rewrite.add(pack)
                plan.waiting += entry.size

    def _is_over(self, plan: RemoteGcPlan, inventory: Inventory, since: float) -> bool:
        """Whether the grace of a tombstone is over, and no push from before it may still go on."""
        begun = [entry.modified for entry in inventory.under(layout.INTENTS)]
        going_on = any(at <= since and plan.now - at < 2 * plan.grace for at in begun)
        return plan.now - since >= plan.grace and not going_on

    def _find_homes(
        self, alive: Alive, there: Iterable[str], staying: set[str]
    ) -> dict[Digest, Place]:
        """Where each needed chunk is to be: in the smallest pack that stays, else the smallest."""
        present = set(there)
        homes: dict[Digest, Place] = {}
        for _, index in self._catalog.indexes():
            for digest, place in index.find(alive.chunks, set()):
                if place.pack not in present:
                    continue
                known = homes.get(digest)
                rank = (place.pack not in staying, place.pack)
                if known is None or rank < (known.pack not in staying, known.pack):
                    homes[digest] = place
        return homes

    def _plan_bases(self, plan: RemoteGcPlan, inventory: Inventory, alive: Alive) -> None:
        tombstones = inventory.tombstones()
        for topic, entries in inventory.topics(layout.RECORDS).items():
            base = topic.rpartition("/")[2]
            since = tombstones.get(base)
            if base in alive.bases:
                if since is not None:
                    plan.raise_up.add(base)
            elif since is None:
                plan.bury.add(base)
            elif self._is_over(plan, inventory, since):
                old = [entry for entry in entries if entry.modified <= since]
                plan.remove_bases.add(base)
                plan.remove_objects += [entry.key for entry in old]
                plan.freed += sum(entry.size for entry in old)

    def _plan_objects(self, plan: RemoteGcPlan, inventory: Inventory, alive: Alive) -> None:
        def older(key: str, age: float) -> bool:
            entry = inventory.entries.get(key)
            return entry is not None and entry.modified < plan.now - age

        covered = [key for key in alive.covered if older(key, min(_COVERED_AGE, plan.grace))]
        leases = [e.key for e in inventory.under(layout.LEASES) if older(e.key, _LEASE_AGE)]
        intents = [e.key for e in inventory.under(layout.INTENTS) if older(e.key, 2 * plan.grace)]
        topics = {*inventory.topics(layout.RECORDS), *inventory.topics(layout.RUNS)}
        packs = inventory.packs()
        idle = [  # tombstones of what is gone already
            f"{layout.TOMBSTONES}{name}"
            for name, since in inventory.tombstones().items()
            if name not in packs
            and f"{layout.RECORDS}{name}" not in topics
            and since < plan.now - plan.grace
        ]
        plan.remove_objects += [*covered, *leases, *intents, *idle]
        plan.freed += sum(inventory.entries[key].size for key in covered)

    # --- doing it ------------------------------------------------------------------------------

    def _execute(self, plan: RemoteGcPlan) -> None:
        backend = self._site.backend
        backend.delete([f"{layout.TOMBSTONES}{name}" for name in sorted(plan.raise_up)])
        self._rewrite(plan.rewrite)
        for name in sorted(plan.bury | plan.rewrite):
            backend.store(f"{layout.TOMBSTONES}{name}", b"{}")
        backend.delete(plan.remove_objects)
        self._forget_packs(plan.remove_packs)
        backend.delete([layout.pack_key(pack) for pack in sorted(plan.remove_packs)])
        gone = sorted(plan.remove_packs | plan.remove_bases)
        backend.delete([f"{layout.TOMBSTONES}{name}" for name in gone])

    def _forget_packs(self, packs: set[str]) -> None:
        """Takes packs out of the indexes: the new index is there before the old ones go."""
        touched: list[tuple[str, PackIndex]] = [
            (name, index)
            for name, index in self._catalog.indexes()
            if any(pack[0] in packs for pack in index.packs)
        ]
        if not touched:
            return
        kept: dict[str, PackOutline] = {}
        lists: dict[Digest, tuple[Digest, int]] = {}
        for _, index in touched:
            for pack, size, _, _ in index.packs:
                if pack not in packs:
                    kept[pack] = PackOutline(pack, size, index.chunks(pack))
            lists |= index.lists
        if kept:
            held = {digest for outline in kept.values() for digest in outline.chunks}
            named = {blob: one for blob, one in lists.items() if one[0] in held}
            data = packindex.encode(kept.values(), named)
            name = layout.ulid()
            self._site.backend.store(layout.index_key(name), data)
            self._catalog.add(name, data)
        self._site.backend.delete([layout.index_key(name) for name, _ in touched])

    # --- packs with little in them -------------------------------------------------------------

    def _rewrite(self, packs: set[str]) -> None:
        """Copies what is needed of these packs into new ones."""
        moving = [(d, place) for d, place in self._homes.items() if place.pack in packs]
        moving.sort(key=lambda item: (item[1].pack, item[1].offset))
        named = {
            one[0]: (blob, one) for _, i in self._catalog.indexes() for blob, one in i.lists.items()
        }
        meter = Meter("copying", sum(place.stored for _, place in moving), self._show)
        for outline in all_at_once(self._copy, _groups(moving), lambda part: 2 * _size(part)):
            lists = dict(named[digest] for digest in outline.chunks if digest in named)
            data = packindex.encode([outline], lists)
            name = layout.ulid()
            self._site.backend.store(layout.index_key(name), data)
            self._catalog.add(name, data)
            meter.moved(outline.size)

    def _copy(self, part: list[tuple[Digest, Place]]) -> PackOutline:
        """One new pack. Raises RemoteError for a chunk that does not check: it is not spread."""
        pack = layout.new_pack()
        data = bytearray(
            frames.file_header(frames.PACK, bytes.fromhex(pack)[:8], self._site.id[:8], 0)
        )
        places: dict[Digest, Place] = {}
        for digest, place in part:
            key = layout.pack_key(place.pack)
            stored = self._site.backend.load(key, place.offset, place.stored)
            if Digest.of(codec.decode(place.codec, stored, place.size)) != digest:
                raise RemoteDamaged(f"the chunk {digest} in {key} is damaged: push it again")
            data += frames.header(place.kind, place.codec, digest, place.size, place.stored)
            places[digest] = place._replace(pack=pack, offset=len(data))
            data += stored
        data += frames.header(frames.SEAL, frames.RAW, bytes(32), 0, 0, len(places))
        self._site.backend.store(layout.pack_key(pack), data)
        return PackOutline(pack, len(data), places)


def _groups(moving: list[tuple[Digest, Place]]) -> Iterator[list[tuple[Digest, Place]]]:
    part: list[tuple[Digest, Place]] = []
    for item in moving:
        if part and _size(part) + item[1].stored > PACK_SIZE:
            yield part
            part = []
        part.append(item)
    if part:
        yield part


def _size(part: list[tuple[Digest, Place]]) -> int:
    return sum(place.stored + frames.HEADER_SIZE for _, place in part)
