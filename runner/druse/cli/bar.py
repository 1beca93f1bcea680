"""Progress of long work: a bar on a terminal, a line now and then elsewhere, on standard error."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from druse.cli import text
from druse.cli.say import say

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_EVERY = 5.0  # seconds between lines where there is no terminal
_AFTER = 0.5  # seconds; work that is over sooner shows nothing


class Bar:
    """`with Bar("verifying") as bar: work(progress=bar.show)`; amounts are bytes or counts."""

    def __init__(self, what: str, *, unit: str = "bytes", quiet: bool = False) -> None:
        self._what = what
        self._unit = unit
        self._quiet = quiet
        self._started = time.monotonic()
        self._said = self._started
        self._rich: Progress | None = None
        self._task: TaskID | None = None

    def show(self, done: float, total: float, eta: float | None = None) -> None:
        """How far it is. `eta`: seconds that remain, where more is known than the rate."""
        now = time.monotonic()
        if self._quiet or now - self._started < _AFTER:
            return
        if sys.stderr.isatty():
            self._draw(done, total)
        elif now - self._said > _EVERY:
            self._said = now
            left = f", {text.seconds(eta)} left" if eta else ""
            share = 100 * done / total if total else 100.0
            say(f"{self._what}: {share:.0f} %{left}", err=True)

    def _draw(self, done: float, total: float) -> None:
        if self._rich is None:
            from rich import progress
            from rich.console import Console

            amount = (
                progress.DownloadColumn()
                if self._unit == "bytes"
                else progress.MofNCompleteColumn()
            )
            self._rich = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                amount,
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._rich.start()
            self._task = self._rich.add_task(self._what, total=total)
        assert self._task is not None
        self._rich.update(self._task, completed=done, total=total)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._rich is not None:
            self._rich.stop()
