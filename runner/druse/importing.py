"""Taking existing folders in Crystallize's format into the store: each version becomes a run.

Their cells get records of their own, with the status `imported`: nothing says which code and values
they came from, so their key is made of where they were found, and no lookup leads there. They can
be shown, compared, exported and read by other experiments; `druse accept` takes them over.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from druse import folders
from druse.folders import Folder, FolderUnreadable, Key
from druse_store import ArtifactRef, Digest, Record, Run, Store, StoreError

if TYPE_CHECKING:
    from druse_store import ObjectRef

_BASE = b"druse:imported:base:1\x00"
_CELL = b"druse:imported:cell:1\x00"
IMPORTED = "imported"

Progress = Callable[[int, int], None]
"""Told how many bytes are read, and how many there are."""


@dataclass
class Import:
    """One folder, and what is to be done with it. `skipped` says why nothing is, if so."""

    folder: Folder
    skipped: str | None = None
    run: Run | None = None


def plan(
    store: Store | None, root: Path, only: Iterable[str] = (), name: str | None = None
) -> list[Import]:
    """What can be imported from below a root; of these experiments only, if any are named.

    With `name`, the one experiment that there is gets another name. Changes nothing. Raises
    FolderUnreadable where there is nothing, InvalidName.
    """
    wanted = frozenset(only)
    found = [each for each in folders.find(root) if not wanted or each[0] in wanted]
    if not found:
        raise FolderUnreadable(f"{root} holds no runs of {', '.join(sorted(wanted))}")
    several = sorted({experiment for experiment, _, _ in found})
    if name is not None and len(several) > 1:
        raise FolderUnreadable(
            f"{root} holds several experiments ({', '.join(several)}), which cannot all be called "
            f"{name!r}: name one of them with --experiment"
        )
    return [_look(store, name or known, version, path) for known, version, path in found]


def _look(store: Store | None, experiment: str, version: int, path: Path) -> Import:
    try:
        folder = folders.read(experiment, version, path)
    except FolderUnreadable as error:
        empty = Folder(experiment, version, path)
        return Import(empty, skipped=str(error))
    if store is not None:
        for run in store.runs(experiment):
            why = _why_skipped(run, folder)
            if why is not None:
                return Import(folder, skipped=why)
    return Import(folder)


_TAKEN = (
    "another run is {} in this store: import it under another name, with --as EXPERIMENT, or into "
    "another store"
)


def _why_skipped(run: Run, folder: Folder) -> str | None:
    said = run.info.get(IMPORTED)
    if isinstance(said, dict) and said.get("content") == _content(folder).hex():
        return f"it is in the store already, as {run.name}"
    own = folder.identity is not None and run.info.get("id") == folder.identity
    if own and run.version == folder.version and not isinstance(said, dict):
        return f"it is the exported folder of {run.name}"
    return _TAKEN.format(run.name) if run.version == folder.version else None


def _content(folder: Folder) -> Digest:
    """What tells one folder from another: its cells' metrics, and the sizes of its files."""
    hasher = blake3(_CELL)
    for key in folder.cells:
        hasher.update(repr((key, sorted(folder.metrics.get(key, {}).items()))).encode())
        for file in folder.files.get(key, ()):
            hasher.update(repr((file.step, file.name, file.size)).encode("utf-8", "replace"))
    return Digest(hasher.digest())


def execute(store: Store, imports: list[Import], progress: Progress | None = None) -> None:
    """Takes in what was not skipped. What is in the store stays, if it is interrupted.

    Raises StoreError. A folder that cannot be read after all is skipped then, and says why.
    """
    due = [each for each in imports if each.skipped is None]
    total, done = sum(each.folder.size for each in due), 0
    for each in due:

        def show(size: int) -> None:
            nonlocal done
            done += size
            if progress is not None:
                progress(done, total)

        try:
            each.run = _take_in(store, each.folder, show)
        except FolderUnreadable as error:
            each.skipped = str(error)


def _take_in(store: Store, folder: Folder, show: Callable[[int], None]) -> Run:
    writer = store.begin_run(folder.experiment, _info(folder), version=folder.version)
    try:
        if writer.version != folder.version:
            raise FolderUnreadable(_TAKEN.format(f"{folder.experiment}/v{folder.version}"))
        with store.batch():
            for key, record in _records(store, folder, show):
                writer.add(*key, store.put_record(record), IMPORTED)
    except BaseException:
        writer.abandon()
        raise
    return writer.finish(complete=folder.is_complete)


def _info(folder: Folder) -> dict[str, Any]:
    return {
        "conditions": folder.conditions,
        "replicates": folder.replicates,
        "steps": folder.steps,
        "id": folder.identity,
        "host": socket.gethostname(),
        IMPORTED: {
            "from": str(folder.path),
            "at": time.time(),
            "content": _content(folder).hex(),
            "problems": folder.problems[:100],
        },
    }


def _records(
    store: Store, folder: Folder, show: Callable[[int], None]
) -> Iterator[tuple[Key, Record]]:
    steps = {name: place for place, name in enumerate(folder.steps)}
    base = Digest.of(_BASE + folder.experiment.encode("utf-8", "surrogatepass"))
    content = _content(folder)
    for key in folder.cells:
        condition, replicate = key
        artifacts = []
        for file in folder.files.get(key, ()):
            artifacts.append(ArtifactRef(file.name, steps[file.step], _put(store, file.path)))
            show(file.size)
        place = f"{condition}/{replicate}".encode("utf-8", "surrogatepass")
        signature = Digest.of(_CELL + content + place)
        yield (
            key,
            Record(
                signature=signature,
                replicate=replicate,
                status=IMPORTED,
                base=base,
                start=signature,
                reads=(),
                metrics=folder.metrics.get(key, {}),
                artifacts=tuple(artifacts),
                output=None,
                provenance={"imported": str(folder.path), "condition": condition},
                manifest=None,
            ),
        )


def _put(store: Store, path: Path) -> ObjectRef:
    try:
        return store.put_file(path)
    except StoreError as error:
        if not path.exists():
            raise FolderUnreadable(f"{path} vanished while it was read") from error
        raise
