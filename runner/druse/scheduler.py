"""Which cells can run now. Pure: it is told what is done, and does nothing itself."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Collection, Iterable, Set

from druse.task import CellName

_NOTHING: frozenset[CellName] = frozenset()


class _Ready:
    """The cells of one lane that may run, first things first. Most come in their order."""

    __slots__ = ("_late", "_row")

    def __init__(self) -> None:
        self._row: deque[tuple[int, CellName]] = deque()
        self._late: list[tuple[int, CellName]] = []  # a heap

    def push(self, place: int, cell: CellName) -> None:
        row = self._row
        if row and place <= row[-1][0]:
            heapq.heappush(self._late, (place, cell))
        else:
            row.append((place, cell))

    def extend(self, cells: Iterable[tuple[int, CellName]]) -> None:
        """Cells that come after all that came before."""
        self._row.extend(cells)

    def first(self) -> tuple[int, CellName] | None:
        row, late = self._row, self._late
        if not late:
            return row[0] if row else None
        return row[0] if row and row[0] < late[0] else late[0]

    def drop_first(self) -> None:
        row, late = self._row, self._late
        if row and not (late and late[0] < row[0]):
            row.popleft()
        else:
            heapq.heappop(late)


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
        self._ready: dict[str, _Ready] = {}
        self._active: set[CellName] = set()
        self._held: dict[CellName, CellName] = {}
        self._behind: dict[CellName, list[CellName]] = {}

    def add_all(self, cells: Collection[CellName], lane: str = "") -> None:
        """Cells that are new, and wait for none."""
        places = range(len(self._order), len(self._order) + len(cells))
        self._order.update(zip(cells, places, strict=True))
        self._lanes.update(dict.fromkeys(cells, lane))
        self._waits.update(dict.fromkeys(cells, _NOTHING))
        self._ready_in(lane).extend(zip(places, cells, strict=True))

    def add(self, cell: CellName, waits: Collection[CellName] = (), lane: str = "") -> None:
        """A cell that is to run once those it waits for (of which some may be over) are done."""
        place = self._order.setdefault(cell, len(self._order))
        lane = self._lanes.setdefault(cell, lane)
        missing = {other for other in waits if other in self._waits} if waits else None
        self._waits[cell] = missing or _NOTHING
        for other in missing or ():
            self._waited_for.setdefault(other, []).append(cell)
        if not missing:
            self._ready_in(lane).push(place, cell)

    def close(self, gate: CellName) -> None:
        """Something that is no cell, and holds those that wait for it until it is done."""
        self._order.setdefault(gate, len(self._order))
        self._waits[gate] = {gate}

    def _push(self, cell: CellName) -> None:
        self._ready_in(self._lanes[cell]).push(self._order[cell], cell)

    def _ready_in(self, lane: str) -> _Ready:
        ready = self._ready.get(lane)
        if ready is None:
            ready = self._ready[lane] = _Ready()
        return ready

    def is_due(self, cell: CellName) -> bool:
        """Whether a cell has been added and is not over."""
        return cell in self._waits

    def get_ready(self, lanes: Iterable[str] = ("",)) -> CellName | None:
        """The first cell that can run in one of these lanes, which is active from now on."""
        best: tuple[int, CellName] | None = None
        source: _Ready | None = None
        for lane in lanes:
            ready = self._ready.get(lane)
            first = None if ready is None else self._first(ready)
            if first is not None and (best is None or first < best):
                best, source = first, ready
        if best is None or source is None:
            return None
        source.drop_first()
        self._active.add(best[1])
        return best[1]

    def _first(self, ready: _Ready) -> tuple[int, CellName] | None:
        """The first one that can run; those before it are dropped."""
        while (first := ready.first()) is not None:
            cell = first[1]
            # A cell that is over waits for nothing either, and is not among those that are due.
            if self._waits.get(cell, True) or cell in self._active or cell in self._held:
                ready.drop_first()
            else:
                return first
        return None

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

    def all_done(self, cells: Collection[CellName]) -> None:
        """Cells are over, with results."""
        if self._waited_for or self._behind:
            for cell in cells:
                self.done(cell)
            return
        waits = self._waits
        for cell in cells:
            waits.pop(cell, None)
        self._active.difference_update(cells)

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
