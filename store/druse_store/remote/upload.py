"""Sending chunks: into packs of its own, and only what the remote lacks.

What is relied upon because it is there already may be going to be deleted: the remote's collector
puts up a tombstone first and waits for a long grace. So whoever sends first says that it does (an
intent), then looks at what is there, and before anything is said to rest on it looks at the
tombstones again: what lies in a pack with one counts as absent, and is sent anew.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from druse_store import frames
from druse_store.digest import Digest
from druse_store.errors import Damaged, NotFound
from druse_store.index.values import ChunkEntry
from druse_store.remote import layout, packindex
from druse_store.remote.catalog import Catalog
from druse_store.remote.packindex import PackOutline, Place
from druse_store.remote.site import Site
from druse_store.remote.transfer import Meter, Show, all_at_once

if TYPE_CHECKING:
    from druse_store.session import Session

PACK_SIZE = 32 << 20  # bytes; a few of these fit into what may be in flight
GRACE = 7 * 24 * 3600.0  # seconds between a tombstone and its pack's end
_PACKS_PER_INDEX = 4

Chunk = tuple[Digest, int]  # a digest, and its frame's kind


class Uploader:
    """One session of sending to one remote. Used by one thread at a time, which holds `guard`
    where there are several."""

    def __init__(self, session: Session, site: Site, show: Show | None = None) -> None:
        self._session = session
        self._site = site
        self._show = show
        self.catalog = Catalog(site)
        self.guard = threading.Lock()
        self._intent: str | None = None
        self._began = 0.0
        self._looked = 0.0
        self.relied: dict[Digest, Place] = {}
        self._told: set[str] = set()
        self.sent_bytes = 0
        self.damaged: set[Digest] = set()

    # --- the intent ----------------------------------------------------------------------------

    def begin(self) -> None:
        """Says that something is going to be sent, then looks at what is there."""
        self.end()
        self._began = _clock()
        key = f"{layout.INTENTS}{layout.ulid()}"
        self._site.backend.store(key, json.dumps({"host": socket.gethostname()}).encode())
        self._intent = key
        self._looked = _clock()
        self.catalog.refresh()
        self.relied.clear()

    def is_stale(self) -> bool:
        """Whether so much of the grace has passed that what was seen may be gone."""
        return self._intent is None or _clock() - self._began > GRACE / 2

    def end(self) -> None:
        """Takes the intent back."""
        if self._intent is not None:
            self._site.backend.delete([self._intent])
            self._intent = None

    # --- sending -------------------------------------------------------------------------------

    def tell(self, indexes: Iterable[str]) -> None:
        """Says that there are these pack indexes now. May be called from any thread."""
        self._told |= set(indexes)

    def lacking(self, chunks: Iterable[Chunk]) -> list[Chunk]:
        """Those that the remote does not have, each once; the others are relied upon now."""
        told, self._told = self._told, set()
        self.catalog.learn(told)
        wanted = {digest: kind for digest, kind in chunks if digest not in self.relied}
        self.relied |= self.catalog.find(set(wanted))
        return [chunk for chunk in wanted.items() if chunk[0] not in self.relied]

    def send(self, chunks: list[Chunk], lists: dict[Digest, tuple[Digest, int]]) -> None:
        """Sends chunks that the remote lacks; `lists` names the blobs with a chunk list.

        A chunk that is damaged or gone here is left out, and noted in `damaged`.
        """
        entries = self._entries(chunks)
        meter = Meter("sending", sum(entry.stored for _, _, entry in entries), self._show)
        done: list[PackOutline] = []
        packs = all_at_once(self._send_pack, _packs(entries), _size)
        for outline in packs:
            done.append(outline)
            meter.moved(outline.size)
            if len(done) == _PACKS_PER_INDEX:
                self._send_index(done, lists)
                done = []
        if done:
            self._send_index(done, lists)

    def settle(self, lists: dict[Digest, tuple[Digest, int]], unless_within: float = 0.0) -> bool:
        """Looks at the tombstones again, and sends anew what stands under one. Whether it did.

        A look that is not older than `unless_within` seconds will do: that has to be next to
        nothing of the grace.
        """
        if _clock() - self._looked < unless_within:
            return False
        self._looked = _clock()
        tombstoned = self.catalog.look_at_tombstones()
        lost = [d for d, place in self.relied.items() if place.pack in tombstoned]
        if not lost:
            return False
        kinds = {digest: self.relied.pop(digest).kind for digest in lost}
        self.send(self.lacking(kinds.items()), lists)
        return True

    def index_names(self, chunks: Iterable[Digest]) -> list[str]:
        """The pack indexes that lead to these chunks."""
        packs = {self.relied[digest].pack for digest in chunks if digest in self.relied}
        return sorted(self.catalog.index_names(packs))

    def _entries(self, chunks: list[Chunk]) -> list[tuple[Digest, int, ChunkEntry]]:
        found = []
        for digest, kind in chunks:
            entry = self._session.reader.chunk(digest)
            if entry is None:
                self.damaged.add(digest)
            else:
                found.append((digest, kind, entry))
        return found

    def _send_pack(self, part: list[tuple[Digest, int, ChunkEntry]]) -> PackOutline:
        pack = layout.new_pack()
        store_id = self._session.location.store_id
        head = frames.file_header(frames.PACK, bytes.fromhex(pack)[:8], store_id, 0)
        data = bytearray(head)
        places: dict[Digest, Place] = {}
        for digest, kind, _ in part:
            try:
                entry, stored = self._session.reader.read_stored(digest)
            except (Damaged, NotFound):
                self.damaged.add(digest)
                continue
            data += frames.header(kind, entry.codec, digest, entry.size, len(stored))
            offset = len(data)
            data += stored
            places[digest] = Place(pack, offset, len(stored), entry.size, entry.codec, kind)
        data += frames.header(frames.SEAL, frames.RAW, bytes(32), 0, 0, len(places))
        self._site.backend.store(layout.pack_key(pack), data)
        return PackOutline(pack, len(data), places)

    def _send_index(
        self, packs: list[PackOutline], lists: dict[Digest, tuple[Digest, int]]
    ) -> None:
        held = {digest for pack in packs for digest in pack.chunks}
        named = {blob: outline for blob, outline in lists.items() if outline[0] in held}
        data = packindex.encode(packs, named)
        name = layout.ulid()
        self._site.backend.store(layout.index_key(name), data)
        self.catalog.add(name, data)
        for pack in packs:
            self.relied |= pack.chunks
            self.sent_bytes += pack.size


def _packs(
    entries: list[tuple[Digest, int, ChunkEntry]],
) -> Iterator[list[tuple[Digest, int, ChunkEntry]]]:
    """Neighbours together, up to a pack's size."""
    part: list[tuple[Digest, int, ChunkEntry]] = []
    size = 0
    for item in entries:
        length = item[2].stored + frames.HEADER_SIZE
        if part and size + length > PACK_SIZE:
            yield part
            part, size = [], 0
        part.append(item)
        size += length
    if part:
        yield part


def _size(part: list[tuple[Digest, int, ChunkEntry]]) -> int:
    return sum(entry.stored + frames.HEADER_SIZE for _, _, entry in part)


def _clock() -> float:
    """Seconds that also pass while the machine sleeps, and that nobody can set."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
