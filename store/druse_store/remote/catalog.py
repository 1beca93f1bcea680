"""Which chunks lie where on a remote: its pack indexes, read once and kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from druse_store.digest import Digest
from druse_store.errors import ObjectMissing, RemoteDamaged
from druse_store.remote import layout
from druse_store.remote.packindex import PackIndex, Place
from druse_store.remote.site import Site
from druse_store.remote.transfer import all_at_once

_KEPT = 64  # decoded indexes


class Catalog:
    """The pack indexes of a remote, as far as they were asked for. Not thread-safe."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._decoded: OrderedDict[str, PackIndex] = OrderedDict()
        self.names: set[str] = set()
        self.tombstoned: set[str] = set()
        self.complete = False

    def refresh(self) -> None:
        """Learns of everything that is there now."""
        backend = self._site.backend
        listed = {_name(entry.key) for entry in backend.list(layout.PACKINDEX)}
        listed.discard("")
        self.look_at_tombstones()
        self.names = self._bring(listed)
        self.complete = True
        for name in self._site.indexes.names() - listed:
            self._site.indexes.remove(name)

    def learn(self, names: Iterable[str]) -> None:
        """Learns of these indexes, as far as they are there."""
        known = {name for name in names if layout.is_key(name) and "/" not in name}
        self.names |= self._bring(known - self.names)

    def look_at_tombstones(self) -> set[str]:
        """The packs that are going to be deleted, as of now."""
        found = self._site.backend.list(layout.TOMBSTONES)
        self.tombstoned = {entry.key.rpartition("/")[2] for entry in found}
        return self.tombstoned

    def add(self, name: str, data: bytes) -> None:
        """An index that was just put there."""
        self._site.indexes.store(name, data)
        self.names.add(name)

    # --- finding -------------------------------------------------------------------------------

    def find(self, wanted: set[Digest], *, tombstoned: bool = False) -> dict[Digest, Place]:
        """Where the wanted chunks lie; of several packs, in the one of the smallest id.

        Packs that are going to be deleted count for readers only, who say `tombstoned`.
        """
        without = set() if tombstoned else self.tombstoned
        found: dict[Digest, Place] = {}
        for index in self._indexes():
            for digest, place in index.find(wanted, without):
                known = found.get(digest)
                if known is None or place.pack < known.pack:
                    found[digest] = place
        return found

    def lists(self, blobs: set[Digest]) -> dict[Digest, Digest]:
        """The chunk lists of these blobs, as the indexes claim."""
        found: dict[Digest, Digest] = {}
        for index in self._indexes():
            for blob in blobs & index.lists.keys():
                found.setdefault(blob, index.lists[blob][0])
        return found

    def index_names(self, packs: set[str]) -> set[str]:
        """The indexes that tell of these packs."""
        return {
            name
            for name in self.names
            if (index := self._index(name)) and any(pack[0] in packs for pack in index.packs)
        }

    def indexes(self) -> Iterable[tuple[str, PackIndex]]:
        """All that are known, by name."""
        for name in sorted(self.names):
            index = self._index(name)
            if index is not None:
                yield name, index

    def _indexes(self) -> Iterable[PackIndex]:
        return (index for _, index in self.indexes())

    # --- reading -------------------------------------------------------------------------------

    def _bring(self, names: set[str]) -> set[str]:
        """Reads the indexes that are not kept yet; returns the names of those that are there."""
        kept = self._site.indexes.names()
        fresh = sorted(names - kept)
        there = names & kept
        for name, data in all_at_once(self._load, fresh, lambda _: 4 << 20):
            if data is not None:
                self._site.indexes.store(name, data)
                there.add(name)
        return there

    def _load(self, name: str) -> tuple[str, bytes | None]:
        try:
            return name, self._site.backend.load(layout.index_key(name))
        except ObjectMissing:
            return name, None

    def _index(self, name: str) -> PackIndex | None:
        index = self._decoded.get(name)
        if index is None:
            index = self._decode(name)
            if index is None:
                return None
            self._decoded[name] = index
            if len(self._decoded) > _KEPT:
                self._decoded.popitem(last=False)
        return index

    def _decode(self, name: str) -> PackIndex | None:
        """A kept index; read again where what was kept is damaged, passed over where both are."""
        for data in (self._site.indexes.load(name), self._load(name)[1]):
            if data is not None:
                try:
                    return PackIndex(data)
                except RemoteDamaged:
                    self._site.indexes.remove(name)
        return None


def _name(key: str) -> str:
    stem, dot, suffix = key.rpartition("/")[2].rpartition(".")
    return stem if dot and suffix == "idx" else ""
