"""One execution of a cacheable step, however many cells come to it at the same moment.

Before it runs such a step, a cell claims it: by a lock on one of some files that all processes of
the run share. A cell that finds it claimed waits, and then takes what the other one has kept. Locks
end with the process that holds them. Files are shared by steps, so that at worst a step waits for
another one; no cell waits while it holds one.

What a step reads becomes known while a run goes on, and then tells apart what seemed to be one. So
a cell takes what it claims for itself, and what this seemed to be before together with others:
whoever claimed that for itself may be executing the same.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

from druse.task import CellName
from druse_store import Digest

_FILES = 4096


class StepClaims:
    """The claims of one process. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: dict[CellName, list[int]] = {}

    def take(self, cell: CellName, step: Digest, before: Iterable[Digest] = ()) -> bool:
        """Whether the step is this cell's to execute now; `give_back` then ends that."""
        own = _place(step)
        held = self._held[cell] = []
        others = {_place(each) for each in before} - {own}
        if self._lock(held, own, fcntl.LOCK_EX) and all(
            self._lock(held, place, fcntl.LOCK_SH) for place in others
        ):
            return True
        self.give_back(cell)
        return False

    def _lock(self, held: list[int], place: int, how: int) -> bool:
        try:
            descriptor = os.open(self.folder / str(place), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        except OSError:
            return True  # without the folder everybody works for themselves
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        held.append(descriptor)
        return True

    def give_back(self, cell: CellName) -> None:
        """The step that this cell claimed is executed, or given up."""
        for descriptor in self._held.pop(cell, ()):
            os.close(descriptor)


def _place(step: Digest) -> int:
    return int.from_bytes(step[:4], "big") % _FILES
