"""Who computes what just now: leases on cells, so that machines divide the work. Advice, no locks.

A lease is an object that is created, kept alive by being stored again, and removed once the cell's
record is published. Whoever finds one takes another cell. A holder that falls silent (its lease
does not change for as long as it may last, by the observer's own steady clock) is passed over. If
two hold the same cell all the same, because the server let two create it or a holder was only
slow, both compute it, and the first record that is seen counts.
"""

from __future__ import annotations

import json
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from druse_store.digest import Digest
from druse_store.errors import ObjectExists, ObjectMissing, RemoteError, StoreError
from druse_store.remote import layout
from druse_store.remote.site import Site
from druse_store.remote.transfer import all_at_once

_FEWEST = 2  # machines that are reckoned with, each of which takes its part of what is free
_CROWDED = 8  # times as many as are wanted: with fewer to choose from, others want the same
EXPIRY = 30.0  # seconds without a sign of life


class LeaseKey(NamedTuple):
    """A cell as machines agree on it before it runs, when its signature is not known yet: its base
    signature, and a digest of its condition, replicate and inputs."""

    base: Digest
    cell: Digest

    @property
    def lease(self) -> str:
        return f"{layout.LEASES}{self.base.hex()}/{self.cell.hex()}"


@dataclass(slots=True)
class _Seen:
    """A lease of somebody else: when it was stored, and since when it looks so here."""

    modified: float
    since: float


@dataclass(slots=True)
class Leases:
    """The leases of one process on one remote. Thread-safe. Others' that were seen and are gone
    are `_over`: their cells have a record, or failed."""

    site: Site
    expiry: float = EXPIRY
    failed: Callable[[StoreError], None] = lambda _: None
    holder: str = field(default_factory=lambda: os.urandom(8).hex())
    _held: dict[str, None] = field(default_factory=dict)
    _seen: dict[str, _Seen] = field(default_factory=dict)
    _over: set[str] = field(default_factory=set)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def take(self, cells: Sequence[LeaseKey], count: int) -> list[LeaseKey]:
        """Takes at most `count` of these cells that nobody else is at. Raises RemoteError."""
        busy = self._busy({cell.base for cell in cells})
        free = [cell for cell in cells if cell.lease not in busy and cell.lease not in self._held]
        random.shuffle(free)  # machines that begin at the same end would meet all the time
        free.sort(key=lambda cell: cell.lease in self._over)  # these are probably done
        fresh = sum(cell.lease not in self._over for cell in free)
        machines = 1 + len(busy - self._held.keys()) / max(1, self.count)
        fair = max(1, int(fresh / max(_FEWEST, machines)))  # so that all end together
        taken = []
        crowded = fresh < _CROWDED * count
        for cell, mine in all_at_once(lambda c: self._take(c, crowded), free[: min(count, fair)]):
            if mine:
                taken.append(cell)
        self._keep_alive()
        return taken

    def release(self, cells: Iterable[LeaseKey]) -> None:
        """Gives leases back: their records are published, or nobody will compute them here."""
        with self._guard:
            keys = [cell.lease for cell in cells if cell.lease in self._held]
            for key in keys:
                del self._held[key]
        self.site.backend.delete(keys)

    def close(self) -> None:
        """Gives everything back."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with self._guard:
            keys, self._held = list(self._held), {}
        try:
            self.site.backend.delete(keys)
        except RemoteError as error:
            self.failed(error)

    @property
    def count(self) -> int:
        """How many are held now."""
        return len(self._held)

    # --- others --------------------------------------------------------------------------------

    def _busy(self, bases: set[Digest]) -> set[str]:
        """The leases of others that show signs of life."""
        now = time.monotonic()
        found: dict[str, _Seen] = {}
        for base in bases:
            for entry in self.site.backend.list(f"{layout.LEASES}{base.hex()}/"):
                known = self._seen.get(entry.key)
                if known is None or known.modified != entry.modified:
                    known = _Seen(entry.modified, now)
                found[entry.key] = known
        self._over |= self._seen.keys() - found.keys()
        self._seen = found
        return {key for key, seen in found.items() if now - seen.since < self.expiry}

    def _take(self, cell: LeaseKey, crowded: bool) -> tuple[LeaseKey, bool]:
        """Takes one. Where the server may let two create it, and where they are likely to want the
        same (`crowded`), the last one to have said so counts."""
        silent = cell.lease in self._seen
        honoured = self.site.capabilities.create
        try:
            self.site.backend.store(cell.lease, self._said(), create=honoured and not silent)
        except ObjectExists:
            return cell, False
        sure = honoured and not silent and (self.site.capabilities.one_winner or not crowded)
        if not sure and not self._is_mine(cell.lease):
            return cell, False
        with self._guard:
            self._held[cell.lease] = None
        return cell, True

    def _is_mine(self, key: str) -> bool:
        try:
            said = json.loads(self.site.backend.load(key))
        except (ObjectMissing, ValueError):
            return False
        return isinstance(said, dict) and said.get("holder") == self.holder

    # --- signs of life -------------------------------------------------------------------------

    def _said(self) -> bytes:
        values = {"holder": self.holder, "host": socket.gethostname(), "pid": os.getpid()}
        return json.dumps(values).encode()

    def _keep_alive(self) -> None:
        if self._thread is None and self._held:
            self._thread = threading.Thread(target=self._beat, name="druse-leases", daemon=True)
            self._thread.start()

    def _beat(self) -> None:
        while not self._stop.wait(self.expiry / 3):
            with self._guard:
                held = list(self._held)
            for key in held:
                with self._guard:
                    still = key in self._held
                try:
                    if still:
                        self.site.backend.store(key, self._said())
                except RemoteError as error:
                    self.failed(error)
                    break
