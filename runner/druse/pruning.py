"""Exported folders of runs that keep less than all: artifacts go, metrics and markers stay.

Only what this place exported is touched, and of that only files which still are what was exported:
a file that somebody changed, or added, stays.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from druse import layout, names
from druse.ledger import Ledger
from druse.stored import step_names

if TYPE_CHECKING:
    from druse_store import ArtifactRef, LevelChange, Run, Store

_LIGHT = "light"


def prune(store: Store, change: LevelChange, root: Path, threshold: int) -> list[Path]:
    """Removes what a run lost from its folder below `root`; returns the files that went.

    `threshold`: the bytes of an artifact that a `light` run still keeps.
    """
    folder = root / change.experiment / f"v{change.version}"
    note = Ledger(root, change.experiment, store.id).read()
    if note is None or note.folder == folder.name or not (folder / names.METADATA).exists():
        return []  # not of this place, or the newest: that one is whole
    run = store.run(change.experiment, change.version)
    if run is None:
        return []
    gone = []
    for path, artifact in _files(store, run, folder):
        size = sum(blob.size for blob in artifact.ref.blobs())
        if _is_elsewhere(path.parent, root):
            continue  # somebody moved a folder away and left a link: it is an archive of theirs
        if (change.new != _LIGHT or size > threshold) and _is_unchanged(path, artifact):
            path.unlink()
            gone.append(path)
    for place in sorted({path.parent for path in gone}, reverse=True):
        _remove_empty(place, folder)
    return gone


def _files(store: Store, run: Run, folder: Path) -> Iterator[tuple[Path, ArtifactRef]]:
    """Where an export puts the artifacts of a run."""
    steps = step_names(run)
    for (condition, replicate), record in layout.records_of(store, run).items():
        for artifact in layout.shown_artifacts(record):
            known = 0 <= artifact.step < len(steps)
            step = steps[artifact.step] if known else f"step_{artifact.step}"
            place = folder / f"replicate_{replicate}" / condition / step
            yield place / names.check(artifact.name, "an artifact"), artifact


def _is_elsewhere(place: Path, root: Path) -> bool:
    """Whether a link leads out of the folder that was exported."""
    while place != root:
        if place.is_symlink():
            return True
        place = place.parent
    return False


def _is_unchanged(path: Path, artifact: ArtifactRef) -> bool:
    """Whether a file holds exactly what was exported."""
    root = artifact.ref.root
    if path.is_symlink() or not path.is_file() or path.stat().st_size != root.size:
        return False
    hasher = blake3()
    with path.open("rb") as file:
        while block := file.read(4 << 20):
            hasher.update(block)
    return hasher.digest() == root.digest


def _remove_empty(place: Path, folder: Path) -> None:
    """Removes a folder, and those above it within the view, as far as they are empty."""
    with contextlib.suppress(OSError):
        while place != folder:
            place.rmdir()
            place = place.parent
