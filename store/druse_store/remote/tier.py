"""A remote behind a store while experiments run: reads through it, writes back to it, never fails.

    with Tier.open(store, "team", warn=print) as tier:
        tier.records_for(bases)          # before planning: what trusted keys published
        tier.fetch_blobs(record.blobs()) # before a value is loaded
        tier.add(record)                 # after a cell's commit: published soon, in the background
        tier.publish(run)                # at the end: everything that waits, then the run

Whatever goes wrong with the remote makes a miss and one warning. After a failure the remote is left
alone for a while, then tried again; what could not be published is tried again at the end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from druse_store.digest import Digest
from druse_store.errors import (
    BlobVanished,
    Damaged,
    RemoteError,
    RemoteNotFound,
    StoreError,
    TrustError,
)
from druse_store.records import BlobRef, Record
from druse_store.remote import revocation
from druse_store.remote.fetch import Fetcher
from druse_store.remote.patient import Patient
from druse_store.remote.pull import Brought, offer_records
from druse_store.remote.push import load_of
from druse_store.remote.sharing import Timeouts, open_site, remotes_of
from druse_store.remote.site import Site, require_id
from druse_store.remote.upload import Uploader
from druse_store.remote.writeback import WriteBack
from druse_store.run import Run
from druse_store.trust import Signer, Trust

if TYPE_CHECKING:
    from druse_store.store import Store

T = TypeVar("T")
Warn = Callable[[str], None]

RUN_TIMEOUTS = Timeouts(request=30.0, patience=30.0, first=3.0, total=120.0)
_LEFT_ALONE = 30.0  # seconds after a failure


@dataclass(slots=True)
class Traffic:
    """What a tier did, for a summary."""

    records: int = 0
    blobs: int = 0
    bytes: int = 0
    published: int = 0
    refused: list[str] = field(default_factory=list)


class Tier:
    """One remote behind one store. Thread-safe; not used in forked children."""

    def __init__(
        self,
        store: Store,
        site: Site,
        *,
        trust: Trust | None = None,
        signer: Signer | None = None,
        warn: Warn,
        timeouts: Timeouts = RUN_TIMEOUTS,
    ) -> None:
        self.store = store
        self.site = site
        self.trust = trust or Trust()
        self.traffic = Traffic()
        self._warn = warn
        self._timeouts = timeouts
        self._said: set[str] = set()
        self._until = 0.0
        self._guard = threading.Lock()
        self._fetcher = Fetcher(store._session, site)
        self._uploader = Uploader(store._session, site)
        self._indexes: set[str] = set()
        self._is_there = False
        self._back: WriteBack | None = None
        self._lacks_key = signer is None
        if site.backend.read_only or store._session.read_only:
            self._lacks_key = False
        elif signer is not None:
            self._back = WriteBack(store, site, signer, self._uploader, self.failed)

    @classmethod
    def open(
        cls,
        store: Store,
        which: str | None = None,
        *,
        warn: Warn,
        trust: Trust | None = None,
        timeouts: Timeouts = RUN_TIMEOUTS,
    ) -> Self | None:
        """A tier over a remote by name or address, or the default one; None where it cannot be
        had, which was warned of, or where there is no default.

        Raises RemoteNotFound, InvalidInput for what is a user's mistake.
        """
        if which is None and remotes_of(store).default() is None:
            return None
        trust = trust or Trust()
        if not store._session.read_only:
            revocation.enforce_trust(store, trust)
        try:
            site = open_site(store, which, timeouts)
            signer = trust.signer()
        except RemoteNotFound:
            raise
        except (RemoteError, TrustError) as error:
            warn(f"{error}. This run goes on without it")
            return None
        return cls(store, site, trust=trust, signer=signer, warn=warn, timeouts=timeouts)

    # --- reading through -----------------------------------------------------------------------

    def records_for(self, bases: Iterable[Digest]) -> Brought:
        """Lets the store's lookups find what trusted keys published under these base signatures.

        A record is stored when a lookup ends at it.
        """
        named = list(bases)

        def bring() -> Brought:
            found = offer_records(self.store._session, self.site, self.trust, named)
            if not self._is_there and not found.is_empty():
                self._is_there = True
            elif not self._is_there:  # nothing at all: is that the remote, or an empty folder?
                require_id(self.site.backend, self.site.id)
                self._is_there = True
            return found

        brought = self._try(bring) or Brought()
        self.traffic.records += brought.records
        self._indexes |= brought.indexes
        reasons = brought.reasons()
        self.traffic.refused += reasons
        if reasons:
            more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
            self._say("refused", f"not used from {self.site.name}: {reasons[0]}{more}")
        return brought

    def fetch_blobs(
        self, wanted: Iterable[BlobRef | Digest], hints: Iterable[str] = ()
    ) -> set[Digest]:
        """Brings blobs that are not here; returns those that still are not. `hints` are names of
        pack indexes that lead to them, as far as the caller has heard of some."""
        blobs = list(wanted)
        self._uploader.tell(hints)
        self._indexes |= set(hints)
        fetched = self._try(lambda: self._fetcher.fetch(blobs, self._indexes))
        if fetched is None:
            with self.store.reading() as view:
                digests = (blob.digest if isinstance(blob, BlobRef) else blob for blob in blobs)
                return {digest for digest in digests if digest not in view}
        self.traffic.blobs += len(blobs) - len(fetched.missing)
        self.traffic.bytes += fetched.bytes
        if fetched.refused:
            self._say("damaged", f"damaged on {self.site.name}: {fetched.refused[0]}")
        return fetched.missing

    def fetch_for(self, record: Record) -> bool:
        """Brings everything that a record names. Whether all of it is here now."""
        return not self.fetch_blobs([*record.refs(), *record.blobs()])

    def send_blobs(self, digests: Sequence[Digest]) -> list[str] | None:
        """Puts blobs on the remote now, before a record names them. Returns the pack indexes that
        lead to them, or None where not all are there."""

        def send() -> list[str] | None:
            load = load_of(self.store._session, digests)
            with self._uploader.guard:
                if self._uploader.is_stale():
                    self._uploader.begin()
                self._uploader.send(self._uploader.lacking(load.chunks.items()), load.lists)
                lost = load.absent or self._uploader.damaged & load.chunks.keys()
                return None if lost else self._uploader.index_names(load.chunks)

        return self._try(send)

    # --- writing back --------------------------------------------------------------------------

    @property
    def publishes(self) -> bool:
        """Whether what is computed here is published there."""
        return self._back is not None

    def add(self, record: Digest) -> None:
        """Publishes a committed record soon, in the background."""
        if self._back is not None:
            self._back.add(record)
        elif self._lacks_key:
            self._say(
                "key",
                f"you have no key, so that what you compute is not published on {self.site.name}: "
                "`druse trust init` makes one",
            )

    def when_published(self, tell: Callable[[list[Digest]], None]) -> None:
        """Has `tell` called with the records that were published, each time."""
        if self._back is not None:
            self._back.tell = tell

    def send_soon(self) -> None:
        """Publishes in the background what waits, without waiting for more."""
        if self._back is not None:
            self._back.send_soon()

    def flush(self) -> bool:
        """Publishes now what waits; whether everything was."""
        return self._back is None or self._back.flush()

    def publish(self, run: Run) -> bool:
        """Publishes everything that waits, then the run. Whether that went well."""
        if self._back is None:
            return False
        return self._back.finish([run])

    def close(self) -> None:
        """Publishes what waits, and lets go of the remote."""
        if self._back is None:
            self._try(self._uploader.end)
        else:
            left = self._back.close()
            self.traffic.published = self._back.published
            if left:
                self._say(
                    "left",
                    f"{left} records were not published on {self.site.name}: "
                    "`druse push` sends them once it can be reached",
                )
        self.site.backend.close()

    # --- what goes wrong -----------------------------------------------------------------------

    def _try(self, action: Callable[[], T]) -> T | None:
        """Does it, unless the remote failed a moment ago; None where it did, or does now."""
        with self._guard:
            if time.monotonic() < self._until:
                return None
            self._set_deadline()
            try:
                return action()
            except (RemoteError, BlobVanished, Damaged) as error:
                self.failed(error)
                return None

    def _set_deadline(self) -> None:
        backend = self.site.backend
        if isinstance(backend, Patient) and self._timeouts.total is not None:
            backend.deadline = time.monotonic() + self._timeouts.total

    def failed(self, error: StoreError) -> None:
        """Notes trouble with the remote: one warning, and it is left alone for a while."""
        self._until = time.monotonic() + _LEFT_ALONE
        self._say("failed", f"{error}. Going on without {self.site.name}")

    def _say(self, kind: str, text: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            self._warn(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
