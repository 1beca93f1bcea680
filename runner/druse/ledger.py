"""What was exported where: one note for each experiment, in `<root>/.views/`.

A note is about the latest run whose folder was written to that place; host and real path say which
place that is, so that a copied folder, another checkout or another machine's mount is told apart.
By it a marker that somebody deleted, which asks for a new run, is told from one that never was.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from druse import names

FOLDER = ".views"


@dataclass(frozen=True)
class Note:
    """Which run's folder lies in this place, with which markers, with artifacts or without.

    `asked_at`: when it was seen first that markers are gone, while no new folder was written since.
    """

    run: int
    folder: str
    markers: tuple[str, ...]
    artifacts: bool = True
    asked_at: float | None = None


@dataclass(frozen=True)
class Asked:
    """What deleted markers ask for: conditions (None: all of them), of records before a time."""

    conditions: frozenset[str] | None
    since: float

    def covers(self, condition: str, computed_at: float | None) -> bool:
        """Whether a condition's cell is to be executed, whose record came at that time."""
        if self.conditions is not None and condition not in self.conditions:
            return False
        return computed_at is None or computed_at < self.since


class Ledger:
    """The note of one experiment below a views' root, for one store."""

    def __init__(self, root: Path, experiment: str, store_id: str) -> None:
        self._root = root
        self._experiment = names.check(experiment, "an experiment")
        self._place = (socket.gethostname(), os.path.realpath(root), store_id)

    @property
    def _file(self) -> Path:
        return self._root / FOLDER / f"{self._experiment}.json"

    @property
    def is_there(self) -> bool:
        return self._file.exists()

    def read(self) -> Note | None:
        """None where nothing was exported to this place, or what says so cannot be read."""
        try:
            said = json.loads(self._file.read_text("utf-8"))
            if (said["host"], said["root"], said["store"]) != self._place:
                return None
            return _note(said)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, note: Note) -> None:
        """Raises OSError."""
        self._file.parent.mkdir(exist_ok=True)
        host, root, store = self._place
        said = {
            "host": host,
            "root": root,
            "store": store,
            "run": note.run,
            "folder": note.folder,
            "markers": sorted(note.markers),
            "artifacts": note.artifacts,
        }
        if note.asked_at is not None:
            said["asked_at"] = note.asked_at
        aside = self._file.with_name(f".{self._experiment}.{os.getpid()}")
        aside.write_text(json.dumps(said, ensure_ascii=False), "utf-8")
        aside.replace(self._file)

    def forget(self) -> None:
        """From here on nothing is known of the place."""
        with suppress(OSError):
            self._file.unlink()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within the block no other process replaces this experiment's folders. Raises OSError."""
        self._file.parent.mkdir(exist_ok=True)
        with self._file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    # --- deleted markers -----------------------------------------------------------------------

    def asked(self, latest: int | None, now: float) -> Asked | None:
        """What deleted markers ask for, if there are any.

        Only the folder of the latest run counts, and only while its root is there: the ledger lies
        in it.
        """
        note = self.read()
        if note is None or latest is None or note.run != latest:
            return None
        gone = self._gone(note)
        if gone is not None and not gone:
            return None
        return Asked(gone, now if note.asked_at is None else note.asked_at)

    def _gone(self, note: Note) -> frozenset[str] | None:
        """The conditions whose markers were deleted; None: all, or what stands for all."""
        folder = self._root / self._experiment / note.folder
        kept = [folder / names.METADATA]
        if names.MARKER in note.markers:
            kept.append(folder / names.MARKER)
        if not all(path.exists() for path in kept):
            return None
        found = (marker.rpartition("/")[0] for marker in note.markers)
        gone = (name for name in found if name and not (folder / name / names.MARKER).exists())
        return frozenset(gone)

    def remember(self, asked: Asked) -> None:
        """Keeps when it was asked: what is computed from then on is not asked for again."""
        note = self.read()
        if note is not None and note.asked_at is None:
            with suppress(OSError):
                self.write(replace(note, asked_at=asked.since))


def _note(said: Mapping[str, Any]) -> Note:
    """Raises KeyError, TypeError, ValueError for what is no note."""
    asked_at = said.get("asked_at")
    return Note(
        run=int(said["run"]),
        folder=names.check(said["folder"], "a view"),
        markers=tuple(str(marker) for marker in said["markers"]),
        artifacts=bool(said.get("artifacts", True)),
        asked_at=None if asked_at is None else float(asked_at),
    )
