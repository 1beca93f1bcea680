"""Bringing blobs: only what is not here, in few large reads, each chunk checked before it is kept.

A blob of several chunks is checked as a whole before the index says that it is here: a forged
chunk list would otherwise make later writes of the true bytes believe that they are stored.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from druse_store import codec, frames
from druse_store.digest import Digest
from druse_store.errors import Damaged, NotFound, RemoteDamaged, StoreError, UnknownCodec
from druse_store.frames import ChunkList
from druse_store.index.values import BlobEntry
from druse_store.records import BlobRef
from druse_store.remote import layout
from druse_store.remote.catalog import Catalog
from druse_store.remote.packindex import Place
from druse_store.remote.site import Site
from druse_store.remote.transfer import Meter, Show, all_at_once

if TYPE_CHECKING:
    from druse_store.session import Session, Writing

_GAP = 128 << 10  # bytes between two chunks that are read and thrown away rather than asked around
_RANGE = 8 << 20
_TRIES = 3
_LOOK_AGAIN = 2.0  # seconds between two looks at everything, for what others may have put since


class Span(NamedTuple):
    """A part of a pack that is read at once, and the chunks in it."""

    pack: str
    start: int
    end: int
    chunks: list[tuple[Digest, Place]]


class Fetched(NamedTuple):
    """What came: chunks, bytes as stored, and the blobs that are still not here."""

    chunks: int
    bytes: int
    missing: set[Digest]
    refused: list[str]


class Fetcher:
    """Brings blobs from one remote into one store. Used by one thread."""

    def __init__(self, session: Session, site: Site, catalog: Catalog | None = None) -> None:
        self._session = session
        self._site = site
        self.catalog = catalog or Catalog(site)
        self._chunks = self._bytes = 0
        self._bad: set[str] = set()
        self._refused: list[str] = []
        self._looked = float("-inf")

    def fetch(
        self,
        wanted: Iterable[BlobRef | Digest],
        hints: Iterable[str] = (),
        show: Show | None = None,
    ) -> Fetched:
        """Brings these blobs, as far as the remote has them; `hints` are pack indexes to ask first.

        Raises RemoteError where the remote fails altogether; what had come by then stays.
        """
        self._chunks = self._bytes = 0
        self._refused, self._bad = [], set()
        missing = self._missing(wanted)
        if missing:
            self.catalog.learn(hints)
            with self._session.batch():
                missing = self._bring(missing, show)
                if missing and time.monotonic() - self._looked > _LOOK_AGAIN:
                    self.catalog.refresh()
                    self._looked = time.monotonic()
                    missing = self._bring(missing, show)
        return Fetched(self._chunks, self._bytes, set(missing), self._refused)

    # --- what is to come -----------------------------------------------------------------------

    def _missing(self, wanted: Iterable[BlobRef | Digest]) -> dict[Digest, Digest | None]:
        """The blobs that are not here, with their chunk lists where these are known."""
        found: dict[Digest, Digest | None] = {}
        with self._session.reading() as view:
            for blob in wanted:
                if isinstance(blob, BlobRef):
                    if blob.digest not in view:
                        found[blob.digest] = blob.chunks if blob.chunks != blob.digest else None
                elif blob not in view:
                    found.setdefault(blob, None)
        return found

    def _bring(
        self, missing: dict[Digest, Digest | None], show: Show | None
    ) -> dict[Digest, Digest | None]:
        """One pass over what is missing; returns what still is."""
        outlines = self._outlines(missing)
        singles = {digest for digest in missing if digest not in outlines}
        parts = {chunk for outline in outlines.values() for chunk, _ in outline.chunks}
        self._bring_chunks(singles | parts, frames.CHUNK, show)
        with self._session.writing() as writing:
            for digest, outline in outlines.items():
                self._add_blob(writing, outline, missing[digest])
        still = self._missing(missing)
        return {digest: missing[digest] for digest in still}

    def _outlines(self, missing: dict[Digest, Digest | None]) -> dict[Digest, ChunkList]:
        """The chunk lists of those that have several chunks."""
        bare = {digest for digest, named in missing.items() if named is None}
        claimed = self.catalog.lists(set(missing))
        there = self.catalog.find(bare, tombstoned=True)
        for digest in bare - there.keys():
            missing[digest] = claimed.get(digest)
        lists = {named for named in missing.values() if named is not None}
        self._bring_chunks(lists, frames.LIST, None)
        found = {}
        for digest, named in list(missing.items()):
            outline = self._outline(digest, named)
            if outline is None and named is not None and claimed.get(digest, named) != named:
                # Its owner stored it under another list than whoever sent it.
                missing[digest] = claimed[digest]
                self._bring_chunks({claimed[digest]}, frames.LIST, None)
                outline = self._outline(digest, claimed[digest])
            if outline is not None:
                found[digest] = outline
        return found

    def _outline(self, digest: Digest, named: Digest | None) -> ChunkList | None:
        if named is None:
            return None
        try:
            outline = ChunkList.decode(self._session.reader.read_chunk(named))
        except (NotFound, Damaged):
            return None
        if outline.blob != digest:
            self._refused.append(f"the chunk list {named} is not one of blob {digest}")
            return None
        return outline

    # --- bringing ------------------------------------------------------------------------------

    def _bring_chunks(self, chunks: set[Digest], kind: int, show: Show | None) -> None:
        """Brings chunks that are not here; another pack is tried where one is damaged or gone."""
        for _ in range(_TRIES):
            wanted = self._unknown(chunks)
            places = {
                digest: place
                for digest, place in self.catalog.find(wanted, tombstoned=True).items()
                if place.pack not in self._bad
            }
            if not places:
                return
            bad = len(self._bad)
            self._bring_spans(_spans(places), kind, show)
            if len(self._bad) == bad:
                return

    def _unknown(self, chunks: set[Digest]) -> set[Digest]:
        """Those that are not here, as far as a write may rely on it."""
        with self._session.reading() as view:
            unknown = {digest for digest in chunks if digest not in view}
        with self._session.writing() as writing:
            for digest in chunks - unknown:
                writing.writer.rely(digest)
        return unknown

    def _bring_spans(self, spans: list[Span], kind: int, show: Show | None) -> None:
        meter = Meter("fetching", sum(span.end - span.start for span in spans), show)
        for span, found, error in all_at_once(self._load, spans, lambda s: 2 * (s.end - s.start)):
            with self._session.writing() as writing:
                for digest, place, stored in found:
                    writing.writer.add_chunk(digest, place.size, place.codec, stored, kind)
                    self._bytes += len(stored)
                self._chunks += len(found)
            if error is not None:
                self._bad.add(span.pack)
                self._refused.append(f"pack {span.pack}: {error}")
            meter.moved(span.end - span.start)

    def _load(
        self, span: Span
    ) -> tuple[Span, list[tuple[Digest, Place, bytes]], StoreError | None]:
        found: list[tuple[Digest, Place, bytes]] = []
        try:
            key = layout.pack_key(span.pack)
            data = self._site.backend.load(key, span.start, span.end - span.start)
        except (NotFound, RemoteDamaged) as error:
            return span, found, error
        wrong: StoreError | None = None
        for digest, place in span.chunks:
            at = place.offset - span.start
            stored = data[at : at + place.stored]
            try:
                if Digest.of(codec.decode(place.codec, stored, place.size)) != digest:
                    raise RemoteDamaged(f"the chunk {digest} is not what its name says")
            except (Damaged, UnknownCodec, RemoteDamaged) as error:
                wrong = error
            else:
                found.append((digest, place, stored))
        return span, found, wrong

    def _add_blob(self, writing: Writing, outline: ChunkList, named: Digest | None) -> None:
        if named is None or self._unknown({named, *(chunk for chunk, _ in outline.chunks)}):
            return
        try:
            for _ in self._session.reader.pieces(outline):
                pass
        except (Damaged, NotFound) as error:
            self._refused.append(str(error))
            return
        entry = BlobEntry(named, outline.size, len(outline.chunks))
        writing.writer.add_blob(outline.blob, entry, outline.chunks)


def _spans(places: dict[Digest, Place]) -> list[Span]:
    """Neighbours in a pack together, with small gaps, up to what is read at once."""
    return list(_spanned(sorted(places.items(), key=lambda item: (item[1].pack, item[1].offset))))


def _spanned(ordered: list[tuple[Digest, Place]]) -> Iterator[Span]:
    span: Span | None = None
    for digest, place in ordered:
        end = place.offset + place.stored
        if (
            span is not None
            and span.pack == place.pack
            and place.offset - span.end <= _GAP
            and end - span.start <= _RANGE
        ):
            span.chunks.append((digest, place))
            span = span._replace(end=max(span.end, end))
        else:
            if span is not None:
                yield span
            span = Span(place.pack, place.offset, end, [(digest, place)])
    if span is not None:
        yield span
