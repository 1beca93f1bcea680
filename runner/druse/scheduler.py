"""Which cells can run now. Pure: it is told what is done, and does nothing itself."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Set

from druse.task import CellName

_NOTHING: frozenset[CellName] = frozenset()


class Scheduler:
    """Cells, each with the cells that it waits for. Those that come first run first.

    A lane is a place where cells are executed: what can run in one must not wait for another one to
    have room. A cell that is *held* behind another one is let go when that one is over, however it
    ends. A *gate* is due as a cell is, and never runs.
    """

    def __init__(self) -> None:
        self._order: dict[CellName, int] = {}
        self._lanes: dict[CellName, str] = {}
        self._waits: dict[CellName, Set[CellName]] = {}
        self._waited_for: dict[CellName, list[CellName]] = {}
        self._ready: dict[str, list[tuple[int, CellName]]] = {}
        self._active: set[CellName] = set()
        self._held: dict[CellName, CellName] = {}
        self._behind: dict[CellName, list[CellName]] = {}

    def add(self, cell: CellName, waits: Collection[CellName] = (), lane: str = "") -> None:
        """A cell that is to run once those it waits for (of which some may be over) are done."""
        self._order.setdefault(cell, len(self._order))
        self._lanes.setdefault(cell, lane)
        missing = {other for other in waits if other in self._waits} if waits else None
        self._waits[cell] = missing or _NOTHING
        for other in missing or ():
            self._waited_for.setdefault(other, []).append(cell)
        if not missing:
            self._push(cell)

    def close(self, gate: CellName) -> None:
        """Something that is no cell, and holds those that wait for it until it is done."""
        self._order.setdefault(gate, len(self._order))
        self._waits[gate] = {gate}

    def _push(self, cell: CellName) -> None:
        ready = self._ready.setdefault(self._lanes[cell], [])
        heapq.heappush(ready, (self._order[cell], cell))

    def is_due(self, cell: CellName) -> bool:
        """Whether a cell has been added and is not over."""
        return cell in self._waits

    def get_ready(self, lanes: Iterable[str] = ("",)) -> CellName | None:
        """The first cell that can run in one of these lanes, which is active from now on."""
        first: list[tuple[int, CellName]] | None = None
        for lane in lanes:
            ready = self._ready.get(lane)
            while ready and not self._can_run(ready[0][1]):
                heapq.heappop(ready)
            if ready and (first is None or ready[0] < first[0]):
                first = ready
        if first is None:
            return None
        cell = heapq.heappop(first)[1]
        self._active.add(cell)
        return cell

    def _can_run(self, cell: CellName) -> bool:
        if cell in self._active or cell in self._held:
            return False
        return cell in self._waits and not self._waits[cell]

    def put_back(self, cell: CellName, waits: Collection[CellName] = ()) -> None:
        """An active cell cannot run yet after all."""
        self._active.discard(cell)
        self.add(cell, waits)

    def hold(self, cell: CellName, behind: CellName) -> None:
        """An active cell had better not run before another one, which is active too, is over."""
        self._active.discard(cell)
        self._held[cell] = behind
        self._behind.setdefault(behind, []).append(cell)

    def let_go(self, behind: CellName) -> None:
        """Nothing speaks against the cells that are held behind this one any more."""
        for cell in self._behind.pop(behind, ()):
            if self._held.get(cell) == behind:
                del self._held[cell]
                self._push(cell)

    def held_behind(self, cell: CellName) -> list[CellName]:
        """The cells that are held behind this one."""
        return [each for each in self._behind.get(cell, ()) if self._held.get(each) == cell]

    def done(self, cell: CellName) -> None:
        """A cell is over, with a result."""
        self._leave(cell)
        for other in self._waited_for.pop(cell, ()) if self._waited_for else ():
            missing = self._waits.get(other)
            if missing is not None and cell in missing:
                left = self._waits[other] = missing - {cell}
                if not left:
                    self._push(other)

    def failed(self, cell: CellName) -> list[CellName]:
        """A cell is over without a result: returns the cells that can never run now."""
        blocked: list[CellName] = []
        over = [cell]
        while over:
            each = over.pop()
            self._leave(each)
            for other in self._waited_for.pop(each, ()):
                if self.is_due(other) and each in self._waits[other]:
                    del self._waits[other]
                    blocked.append(other)
                    over.append(other)
        return blocked

    def _leave(self, cell: CellName) -> None:
        self._waits.pop(cell, None)
        self._active.discard(cell)
        if self._behind:
            self.let_go(cell)

    @property
    def is_active(self) -> bool:
        """Whether any cell is not over."""
        return bool(self._waits)

    @property
    def active(self) -> frozenset[CellName]:
        """The cells that run now."""
        return frozenset(self._active)

    @property
    def has_active(self) -> bool:
        """Whether any cell runs now."""
        return bool(self._active)

    def is_busy_besides(self, cell: CellName) -> bool:
        """Whether any other cell runs now."""
        return len(self._active) > (cell in self._active)

    def due(self) -> list[CellName]:
        """The cells that are not over, in their order."""
        return sorted(self._waits, key=self._order.__getitem__)
