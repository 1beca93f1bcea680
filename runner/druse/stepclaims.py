"""One execution of a cacheable step, however many cells come to it at the same moment.

Before it runs such a step, a cell claims it: by a lock on one of some files that all processes of
the run share. A cell that finds it claimed waits, and then takes what the other one has kept. Locks
end with the process that holds them. Files are shared by steps, so that at worst a step waits for
another one; no cell holds two.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from druse.task import CellName
from druse_store import Digest

_FILES = 4096


class StepClaims:
    """The claims of one process. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: dict[CellName, int] = {}

    def take(self, cell: CellName, step: Digest) -> bool:
        """Whether the step is this cell's to execute now; `give_back` then ends that."""
        place = int.from_bytes(step[:4], "big") % _FILES
        try:
            descriptor = os.open(self.folder / str(place), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        except OSError:
            return True  # without the folder everybody works for themselves
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._held[cell] = descriptor
        return True

    def give_back(self, cell: CellName) -> None:
        """The step that this cell claimed is executed, or given up."""
        descriptor = self._held.pop(cell, None)
        if descriptor is not None:
            os.close(descriptor)
