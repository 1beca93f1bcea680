"""Progress of a run: a bar on a terminal, a line now and then elsewhere, on standard error."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from druse.listener import Listener
from druse.remaining import Remaining

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from druse.plan import Plan
    from druse.progress import Summary
    from druse.task import CellName

_AFTER = 0.5  # seconds; a run that is over sooner shows nothing
_EVERY = 0.1  # seconds between two states of the bar
_FIRST_LINE = 10.0  # seconds; further lines come after a tenth of the time that has passed
_LONGEST = 600.0


class Display(Listener):
    """Shows how many cells are done, what runs, and how long it will take."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._is_terminal = sys.stderr.isatty()
        self._started = self._shown = time.monotonic()
        self._next_line = self._started + _FIRST_LINE
        self._due = self._done = self._failed = 0
        self._remaining: Remaining | None = None
        self._rich: Progress | None = None
        self._task: TaskID | None = None

    def planned(self, plan: Plan) -> None:
        from druse.plan import State

        due = Counter(
            (cell.experiment, cell.condition)
            for cell, decision in plan.decisions.items()
            if decision.state is not State.HIT
        )
        self._due = sum(due.values())
        self._started = time.monotonic()
        self._remaining = Remaining(due, plan.usual_seconds, self._started)

    def started(self, cell: CellName) -> None:
        with self._lock:
            if self._remaining is not None:
                self._remaining.begin(cell, time.monotonic())
        self._show(cell)

    def put_back(self, cell: CellName) -> None:
        with self._lock:
            if self._remaining is not None:
                self._remaining.put_back(cell)

    def finished(self, cell: CellName, status: str) -> None:
        with self._lock:
            self._failed += status == "failed"
        self._over(cell)

    def hit(self, cell: CellName) -> None:
        self._over(cell)

    def _over(self, cell: CellName) -> None:
        with self._lock:
            self._done += 1
            self._due = max(self._due, self._done)  # one that was a hit may be executed after all
            if self._remaining is not None:
                self._remaining.end(cell, time.monotonic())
        self._show(cell)

    def ended(self, summary: Summary) -> None:
        with self._lock:
            self._due -= len(summary.blocked)  # they will never run

    # --- showing -------------------------------------------------------------------------------

    def _show(self, cell: CellName) -> None:
        now = time.monotonic()
        with self._lock:
            if now - self._started < _AFTER:
                return
            if self._is_terminal and now - self._shown > _EVERY:
                self._shown = now
                self._draw(cell, now)
            elif not self._is_terminal and now > self._next_line:
                pause = (now - self._started) / 10
                self._next_line = now + min(max(pause, _FIRST_LINE), _LONGEST)
                sys.stderr.write(f"{self._state(now)}\n")
                sys.stderr.flush()

    def _state(self, now: float) -> str:
        parts = [f"{self._done}/{self._due} cells"]
        if self._failed:
            parts.append(f"{self._failed} failed")
        left = self._remaining.seconds(now) if self._remaining is not None else None
        if left is not None and self._done < self._due:
            parts.append(f"about {duration(left)} left")
        return ", ".join(parts)

    def _draw(self, cell: CellName, now: float) -> None:
        if self._rich is None:
            from rich import progress
            from rich.console import Console
            from rich.table import Column

            columns = (
                progress.BarColumn(bar_width=24),
                progress.TextColumn(
                    "{task.description}",
                    markup=False,
                    table_column=Column(no_wrap=True, overflow="ellipsis"),
                ),
            )
            self._rich = progress.Progress(
                *columns, console=Console(stderr=True), transient=True, refresh_per_second=5
            )
            self._rich.start()
            self._task = self._rich.add_task("", total=max(self._due, 1))
        assert self._task is not None
        text = f"{self._state(now)}  {cell}"
        total = max(self._due, 1)
        self._rich.update(self._task, completed=self._done, total=total, description=text)

    def clear(self) -> None:
        """Makes room for other text; the bar comes back when there is something new."""
        with self._lock:
            if self._rich is not None:
                self._rich.stop()
                self._rich = None


def duration(seconds: float) -> str:
    """A time, for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
