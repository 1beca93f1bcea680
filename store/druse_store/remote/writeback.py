"""Publishing while a run goes on: one thread that sends what was committed, a little later.

Records wait here as digests; they are read from the store when they are sent. A batch is: chunks
that the remote lacks, tombstones again, a segment for each base. What fails waits for the next try.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from druse_store.digest import Digest
from druse_store.errors import RemoteError, StoreError
from druse_store.remote.push import Sender, gather
from druse_store.remote.site import Site, require_id
from druse_store.remote.upload import Uploader
from druse_store.run import Run
from druse_store.trust import Signer

if TYPE_CHECKING:
    from druse_store.store import Store

_PAUSE = 2.0  # seconds between two batches
_AFTER_FAILURE = 30.0


class WriteBack:
    """The publishing side of a tier. `add` may be called from any thread."""

    def __init__(
        self,
        store: Store,
        site: Site,
        signer: Signer,
        uploader: Uploader,
        failed: Callable[[StoreError], None],
    ) -> None:
        self._store = store
        self._failed = failed
        self._site = site
        self._uploader = uploader
        self._sender = Sender(store._session, site, signer, uploader=uploader)
        self._waiting: dict[Digest, None] = {}
        self._runs: list[Run] = []
        self._guard = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._begun = False
        self._resume_at = 0.0
        self.published = 0
        self.tell: Callable[[list[Digest]], None] = lambda _: None

    def add(self, record: Digest) -> None:
        with self._guard:
            self._waiting[record] = None
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="druse-write-back", daemon=True
                )
                self._thread.start()

    def flush(self) -> bool:
        """Sends what waits now. Whether nothing waits any more."""
        return self._send_waiting(fold=False)

    def send_soon(self) -> None:
        """Lets the thread send what waits at once."""
        self._wake.set()

    def finish(self, runs: Sequence[Run]) -> bool:
        """Sends what waits and these runs, with their records as far as they are one's own."""
        with self._guard:
            self._runs += runs
            for run in runs:
                for cell in run.cells:
                    self._waiting[cell.record] = None
        return self._send_waiting(fold=True)

    def close(self) -> int:
        """Sends what waits, and ends. Returns how many records could not be sent."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self._resume_at = 0.0
        if not (self._waiting or self._runs) or self._send_waiting(fold=True):
            try:
                with self._uploader.guard:
                    self._sender.end()
            except RemoteError as error:
                self._failed(error)
        return len(self._waiting)

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait(_PAUSE)
            self._wake.clear()
            if self._waiting and not self._closing:
                self._send_waiting(fold=False)

    def _send_waiting(self, *, fold: bool) -> bool:
        """Sends all that waits, unless that failed a moment ago. Whether nothing waits any more."""
        with self._uploader.guard:
            if time.monotonic() < self._resume_at:
                return False
            with self._guard:
                taken, self._waiting = self._waiting, {}
                runs, self._runs = self._runs, []
            try:
                self._send(list(taken), fold, runs)
            except StoreError as error:
                self._resume_at = time.monotonic() + _AFTER_FAILURE
                with self._guard:
                    self._waiting = {**taken, **self._waiting}
                    self._runs = runs + self._runs
                self._failed(error)
                return False
        self.tell(list(taken))
        return True

    def _send(self, digests: list[Digest], fold: bool, runs: Sequence[Run]) -> None:
        if not self._begun:
            require_id(self._site.backend, self._site.id)
            self._begun = True
        found = (self._store.record_by_digest(digest) for digest in digests)
        records = [record for record in found if record is not None]
        load = gather(self._store._session, records, runs)
        if load.records or load.runs:
            self.published += self._sender.send(load, fold=fold).records
