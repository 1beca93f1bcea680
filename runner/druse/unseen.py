"""Where results may come from in ways that no key sees: programs, databases, connections.

Audit events tell that a cell used one; what it gave, nothing tells. So it is noted in the record.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from druse_store import Record

_SENTENCES: Final = {
    "subprocess.Popen": "ran the program {0}",
    "os.system": "ran the program {0}",
    "os.exec": "ran the program {0}",
    "os.posix_spawn": "ran the program {0}",
    "os.spawn": "ran the program {1}",
    "sqlite3.connect": "opened the database {0}",
    "socket.connect": "connected to {1}",
    "socket.sendto": "connected to {1}",
}
EVENTS: Final = frozenset(_SENTENCES)
_STARTING: Final = "popen_"  # the modules by which multiprocessing, or loky, start a process anew
_LONGEST: Final = 80

Unseen = dict[tuple[int, str], None]
"""What was noted, in order: the place of the step, and a sentence without its subject."""


def sentence(event: str, args: tuple[Any, ...]) -> str | None:
    """What an event tells, for people; None where it is nothing from outside."""
    if event == "sqlite3.connect" and args[0] in (":memory:", ""):
        return None
    return _SENTENCES[event].format(*(_shown(arg) for arg in args))


def _shown(arg: Any) -> str:
    if isinstance(arg, tuple) and len(arg) >= 2:  # an address
        return ":".join(str(part) for part in arg[:2])
    text = os.fsdecode(arg) if isinstance(arg, bytes | os.PathLike) else str(arg)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def started_anew(file: str) -> str | None:
    """What it tells that a module hands something over through a pipe; None where nothing."""
    name = Path(file).name
    if name.startswith(_STARTING) and not name.startswith("popen_fork.py"):
        return "started a Python process, which reads by itself"
    return None


def of_path(path: str, *, by_flags: bool) -> str | None:
    """What cannot be seen of a path that is about to be opened; None for a plain file."""
    try:
        mode = Path(path).stat().st_mode
    except OSError:
        if by_flags and not Path(path).is_absolute():
            return f"opened {path}, perhaps within a folder that was opened before"
        return None
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    return f"read from {path}, which is no file"


def in_records(records: Iterable[Record]) -> dict[int, list[str]]:
    """What no key sees, and cells used all the same, each once, by the places of steps."""
    places: dict[int, dict[str, None]] = {}
    for record in records:
        for place, sentence in noted(record):
            places.setdefault(place, {})[sentence] = None
    return {place: list(sentences) for place, sentences in places.items()}


def noted(record: Record) -> Iterator[tuple[int, str]]:
    """What a record notes of that; records of others may hold anything."""
    found = record.provenance.get("unseen")
    for each in found if isinstance(found, list | tuple) else ():
        if isinstance(each, list | tuple) and len(each) == 2 and isinstance(each[0], int):
            yield each[0], str(each[1])
