"""Which paths a pattern finds, where listing folders does not say it all.

`*.csv` is answered by the names in one folder, whose listing counts. `*/metrics.json` asks for a
name in each folder that is there, and `raw/*.csv` whether there is `raw`: no event tells of that.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

EVENTS: Final = frozenset({"glob.glob/2", "pathlib.Path.glob", "pathlib.Path.rglob"})
BETWEEN: Final = "//"  # the folder, and the pattern below it: no path has two in a row
_MAGIC: Final = re.compile(r"[*?[]")


class Asked(NamedTuple):
    """Paths that were asked for: a folder, and a pattern below it."""

    folder: str
    pattern: str


def asked(event: str, args: tuple[Any, ...]) -> Asked | None:
    """What an event asks for; None where listings of folders tell all of it."""
    if event == "glob.glob/2":
        pathname, _, root, fd = args
        if fd is not None:
            return None
        parts = (Path(os.fsdecode(root or ".")) / os.fsdecode(pathname)).parts
        first = next((n for n, part in enumerate(parts) if _MAGIC.search(part)), len(parts) - 1)
        folder, rest = Path(*parts[:first]), list(parts[first:])
    else:
        folder, rest = Path(args[0]), list(Path(args[1]).parts)
        if event == "pathlib.Path.rglob":
            rest.insert(0, "**")
    is_listed = folder.is_dir() and all(_MAGIC.search(part) for part in rest)
    if ".." in rest or not rest or is_listed:
        return None
    rest = [part if part == "**" else re.sub(r"\*+", "*", part) for part in rest]
    return Asked(str(folder), "/".join(rest))


def found(folder: str, pattern: str) -> list[str]:
    """The paths below a folder that a pattern finds."""
    try:
        return sorted(str(path) for path in Path(folder).glob(pattern))
    except (OSError, ValueError):
        return []
