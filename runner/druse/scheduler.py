"""Which cells can run now. Pure: it is told what is done, and does nothing itself."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from druse.task import CellName


class Scheduler:
    """Cells, each with the cells that it waits for. Those that come first run first."""

    def __init__(self) -> None:
        self._order: dict[CellName, int] = {}
        self._waits: dict[CellName, set[CellName]] = {}
        self._waited_for: dict[CellName, list[CellName]] = {}
        self._ready: list[tuple[int, CellName]] = []
        self._active: set[CellName] = set()

    def add(self, cell: CellName, waits: Iterable[CellName] = ()) -> None:
        """A cell that is to run once those it waits for (of which some may be over) are done."""
        order = self._order.setdefault(cell, len(self._order))
        missing = {other for other in waits if self.is_due(other)}
        self._waits[cell] = missing
        for other in missing:
            self._waited_for.setdefault(other, []).append(cell)
        if not missing:
            heapq.heappush(self._ready, (order, cell))

    def is_due(self, cell: CellName) -> bool:
        """Whether a cell has been added and is not over."""
        return cell in self._waits

    def get_ready(self) -> CellName | None:
        """The first cell that can run, which is active from now on; None if there is none."""
        while self._ready:
            _, cell = heapq.heappop(self._ready)
            if cell in self._waits and cell not in self._active:
                self._active.add(cell)
                return cell
        return None

    def put_back(self, cell: CellName, waits: Iterable[CellName] = ()) -> None:
        """An active cell cannot run yet after all."""
        self._active.discard(cell)
        self.add(cell, waits)

    def done(self, cell: CellName) -> None:
        """A cell is over, with a result."""
        self._leave(cell)
        for other in self._waited_for.pop(cell, ()):
            missing = self._waits.get(other)
            if missing is not None and cell in missing:
                missing.discard(cell)
                if not missing:
                    heapq.heappush(self._ready, (self._order[other], other))

    def failed(self, cell: CellName) -> list[CellName]:
        """A cell is over without a result: returns the cells that can never run now."""
        self._leave(cell)
        blocked: list[CellName] = []
        for other in self._waited_for.pop(cell, ()):
            if other in self._waits:
                blocked.append(other)
                blocked += self.failed(other)
        return blocked

    def _leave(self, cell: CellName) -> None:
        self._waits.pop(cell, None)
        self._active.discard(cell)

    @property
    def is_active(self) -> bool:
        """Whether any cell is not over."""
        return bool(self._waits)

    @property
    def active(self) -> frozenset[CellName]:
        """The cells that run now."""
        return frozenset(self._active)

    def due(self) -> list[CellName]:
        """The cells that are not over, in their order."""
        return sorted(self._waits, key=self._order.__getitem__)
