"""Where damaged files go: out of the way, and not gone, for whoever wants to look at them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from druse_store import disk
from druse_store.location import Location


def put_away(location: Location, paths: Iterable[Path]) -> list[Path]:
    """Moves files to the quarantine; returns where they are now. What is not there is left out.

    Call it once the index, durably, names them no more.
    """
    moved = []
    with disk.translated("moving to", location.quarantine):
        location.quarantine.mkdir(exist_ok=True)
        for path in paths:
            there = location.quarantine / f"{path.name}.{time.time_ns()}"
            with suppress(FileNotFoundError):
                path.rename(there)
                moved.append(there)
        disk.sync_folder(location.quarantine)
    return moved
