"""Cells that are ready, and of which several processes or machines compute a part each.

A cell that another process of this machine computes waits here until that one has committed it, or
given it up. With claims between machines, every cell waits here until this one has claimed it, or
somebody else has published its record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from druse.plan import Decision, State
from druse.task import CellName
from druse_store import Digest

if TYPE_CHECKING:
    from druse.current import Current
    from druse.prepared import Prepared
    from druse_store import Record


class Claims:
    """The cells that wait to be claimed, and those that are and wait for room."""

    def __init__(
        self,
        current: Current,
        decide: Callable[[CellName], Decision],
        settle: Callable[[CellName, Decision], None],
    ) -> None:
        self._current = current
        self._decide = decide
        self._settle = settle
        self._waiting: list[CellName] = []
        self._claimed: list[CellName] = []
        self._next_door: list[CellName] = []

    # --- between the processes of one machine --------------------------------------------------

    def is_ours(self, cell: CellName) -> bool:
        """Whether no other process of this machine computes a cell: else it waits here."""
        current = self._current
        if current.session.decider.is_asked_for(cell) or cell in current.must_run:
            return True
        if current.lanes.is_loop(cell.experiment):
            return True
        prepared = current.plan.prepared[cell.experiment]
        if current.neighbours.take(work(prepared, cell)):
            if not self._is_being_answered(cell):
                return True
            self.give_back(cell)
        self._next_door.append(cell)
        return False

    def _is_being_answered(self, cell: CellName) -> bool:
        """Whether another process computes a cell that may turn out to equal this one."""
        current = self._current
        if not current.neighbours.were_there or not current.twins.may_have(cell):
            return False
        prepared = current.plan.prepared
        with current.session.glance as view:
            current.session.decider.catch_up(view)
            earlier = current.twins.earlier(view, cell)
            return any(
                # One that waits here is next, whoever had it a moment ago: who looks whether work
                # is taken has its lock for so long.
                each in self._next_door
                or current.neighbours.has_taken(work(prepared[each.experiment], each))
                for each in earlier
            )

    def give_back(self, cell: CellName) -> None:
        """A cell is not computed here now."""
        prepared = self._current.plan.prepared[cell.experiment]
        self._current.neighbours.give_back([work(prepared, cell)])

    def get_back(self, lanes: Iterable[str]) -> CellName | None:
        """A cell for one of these lanes that no other process computes any more."""
        fitting = [c for c in self._next_door if self._current.lanes.name(c.experiment) in lanes]
        for cell in fitting:
            self._next_door.remove(cell)
            if self.is_ours(cell):
                return cell
        return None

    @property
    def waits_for_neighbours(self) -> bool:
        """Whether cells wait here that other processes of this machine compute."""
        return bool(self._next_door)

    # --- between machines ----------------------------------------------------------------------

    def holds(self, cell: CellName) -> bool:
        """Whether a cell has to be claimed first: then it waits here."""
        exchange = self._current.exchange
        if not exchange.claims or exchange.has_claimed(cell):
            return False
        self._waiting.append(cell)
        return True

    @property
    def has_claimed(self) -> bool:
        """Whether cells were claimed, and wait for room."""
        return bool(self._claimed)

    def get_claimed(self, lanes: Iterable[str]) -> CellName | None:
        """A claimed cell that can run in one of these lanes now."""
        for cell in self._claimed:
            if self._current.lanes.name(cell.experiment) in lanes:
                self._claimed.remove(cell)
                return cell
        return None

    def look_ahead(self) -> None:
        """Begins to claim more, when no more than one turn's cells are left."""
        if len(self._claimed) <= self._current.exchange.count:
            self._current.exchange.look_ahead(self._current.session, self._waiting)

    @property
    def only_others_work(self) -> bool:
        """Whether nothing is under way here, and something is that others have claimed."""
        return bool(self._waiting) and not self._current.lanes.are_busy

    def take_turn(self, lanes: Sequence[str]) -> bool:
        """Claims some cells for these lanes, and takes in what others did. Whether there was any.

        Where there was not, and nothing goes on here, a moment passes.
        """
        fitting = [c for c in self._waiting if self._current.lanes.name(c.experiment) in lanes]
        if not fitting:
            return False
        exchange = self._current.exchange
        mine, done = exchange.turn(self._current.session, fitting, self._find_done)
        over = {*mine, *done}
        self._waiting = [cell for cell in self._waiting if cell not in over]
        self._claimed += mine
        for cell in done:
            self._settle(cell, self._decide(cell))
        if not over and self.only_others_work:
            time.sleep(exchange.pause)
        return bool(over)

    def _find_done(self, cells: Sequence[CellName], new: list[Record]) -> list[CellName]:
        """Those that a record answers now that these have come."""
        session = self._current.session
        for record in new:
            for name, prepared in session.plan.prepared.items():
                if prepared.base == record.base:
                    session.decider.learn(name, [record])
        replicates = {record.replicate for record in new}
        may_be_done = [cell for cell in cells if cell.replicate in replicates]
        return [cell for cell in may_be_done if self._decide(cell).state is State.HIT]


def work(prepared: Prepared, cell: CellName) -> Digest:
    """What a process claims: a cell, whatever the experiment and its folder are called."""
    return Digest.of(prepared.start + f"{cell.replicate} {cell.condition}".encode())
