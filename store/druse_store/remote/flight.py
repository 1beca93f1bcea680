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

FindDone = Callable[[Sequence[LeaseKey], list[Record]], set[LeaseKey]]


class Turn(NamedTuple):
    """What to do now: compute `mine`; `done` have records here that others published."""

    mine: list[LeaseKey]
    done: list[LeaseKey]


class Look(NamedTuple):
    """What was claimed of `due`, and what others published, as of after that."""

    due: Sequence[LeaseKey]
    mine: list[LeaseKey]
    new: list[Record]


class Flight:
    """A process's part in a division of work."""

    def __init__(self, tier: Tier, expiry: float = EXPIRY) -> None:
        self._tier = tier
        self._leases = Leases(tier.site, expiry, tier.failed)
        self._waiting: dict[Digest, LeaseKey] = {}
        self._guard = threading.Lock()
        self._alone = not tier.publishes
        tier.when_published(self._published)

    def turn(self, due: Sequence[LeaseKey], count: int, find_done: FindDone) -> Turn:
        """What to do next. Waits while others compute all that is due.

        Without the remote everything is to be computed here: leases are advice.
        """
        while True:
            turn = self.settle(self.look(due, count), find_done)
            if turn.mine or turn.done:
                return turn
            time.sleep(_PAUSE)

    def look(self, due: Sequence[LeaseKey], count: int) -> Look:
        """Claims at most `count` of these cells, then hears of what others published.

        It asks the remote, and nothing else: a thread may do so while cells are computed.
        """
        if not self._alone:
            try:
                mine = self._leases.take(due, count)
                new = self._tier.records_for(sorted({cell.base for cell in due})).new
            except RemoteError as error:
                self._tier.failed(error)
                self._alone = True
            else:
                return Look(due, mine, new)
        return Look(due, list(due[:count]), [])

    def settle(self, look: Look, find_done: FindDone) -> Turn:
        """What comes of a look: `find_done` says which of the cells have a record in the store, now
        that these records came. It may be nothing: then others are at all that is due."""
        done = find_done(look.due, look.new)
        self._give_back([cell for cell in look.mine if cell in done])
        left = [cell for cell in look.mine if cell not in done]
        if not left:  # others may wait for what was computed here
            self._tier.send_soon()
        return Turn(left, sorted(done))

    def done(self, cell: LeaseKey, record: Digest) -> None:
        """Its record is committed here: it is published, then the lease is given back."""
        with self._guard:
            self._waiting[record] = cell
            is_last = len(self._waiting) >= self._leases.count
        self._tier.add(record)
        if is_last:  # others may have nothing to do but to wait for it
            self._tier.send_soon()

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
