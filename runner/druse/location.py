"""Which store: the one that is named, or the nearest."""

from __future__ import annotations

import os
from pathlib import Path

from druse_store import Store

FOLDER = ".druse"
VARIABLE = "DRUSE_STORE"


def store_path(explicit: str | os.PathLike[str] | None = None) -> Path:
    """`explicit`, else $DRUSE_STORE, else the nearest `.druse` upward, else `./.druse`."""
    if explicit:
        return Path(explicit)
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / FOLDER / "format").is_file():
            return folder / FOLDER
    return here / FOLDER


def open_store(
    explicit: str | os.PathLike[str] | None = None, *, create: bool = True, read_only: bool = False
) -> Store:
    """Opens it. Raises what `Store.open` raises."""
    return Store.open(store_path(explicit), create=create, read_only=read_only)
