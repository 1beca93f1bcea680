"""Single flight: of many machines that run the same, each computes a part, and all get everything.

    flight = Flight(tier)
    while due:
        turn = flight.turn(due, count, done)   # what to compute now, what is done meanwhile
        for cell in turn.mine: flight.done(cell, record)      # or flight.failed(cell)

A lease is given back once its record is published. So whoever then takes one, and looks at the
records after that, sees whether the cell is done already.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from druse_store.digest import Digest
from druse_store.errors import RemoteError, StoreError
from druse_store.records import Record
from druse_store.remote.lease import EXPIRY, LeaseKey, Leases
from druse_store.remote.tier import Tier

_PAUSE = 0.25  # seconds between two looks while others compute


class Turn(NamedTuple):
    """What to do now: compute `mine`; `done` have records here that others published."""

    mine: list[LeaseKey]
    done: list[LeaseKey]


class Flight:
    """A process's part in a division of work."""

    def __init__(self, tier: Tier, expiry: float = EXPIRY) -> None:
        self._tier = tier
        self._leases = Leases(tier.site, expiry, tier.failed)
        self._waiting: dict[Digest, LeaseKey] = {}
        self._guard = threading.Lock()
        self._alone = not tier.publishes
        tier.when_published(self._published)

    def turn(
        self,
        due: Sequence[LeaseKey],
        count: int,
        find_done: Callable[[Sequence[LeaseKey], list[Record]], set[LeaseKey]],
        *,
        wait: bool = True,
    ) -> Turn:
        """What to do next. Waits while others compute all that is due, unless told not to.

        `find_done` says which of these cells have a record in the store: it is asked after what
        others published has come there, and told what that was. Without the remote everything is
        to be computed here.
        """
        while True:
            try:
                mine = due[:count] if self._alone else self._leases.take(due, count)
            except RemoteError as error:
                self._tier.failed(error)
                self._alone = True
                continue
            new: list[Record] = []
            if not self._alone:
                new = self._tier.records_for(sorted({cell.base for cell in due})).new
            done = find_done(due, new)
            over = [cell for cell in mine if cell in done]
            self._give_back(over)
            left = [cell for cell in mine if cell not in done]
            if left or done or not wait:
                return Turn(left, sorted(done))
            time.sleep(_PAUSE)

    def done(self, cell: LeaseKey, record: Digest) -> None:
        """Its record is committed here: it is published, then the lease is given back."""
        with self._guard:
            self._waiting[record] = cell
        self._tier.add(record)

    def failed(self, cell: LeaseKey) -> None:
        """It failed, or is not computed after all: others may try it."""
        self._give_back([cell])

    def close(self) -> None:
        self._leases.close()

    def _published(self, records: list[Digest]) -> None:
        with self._guard:
            cells = [self._waiting.pop(record) for record in records if record in self._waiting]
        self._give_back(cells)

    def _give_back(self, cells: Sequence[LeaseKey]) -> None:
        if not cells or self._alone:
            return
        try:
            self._leases.release(cells)
        except StoreError as error:
            self._tier.failed(error)
