"""Files that somebody added to an exported folder: another export of the run takes them along."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path


def take_along(folder: Path, aside: Path, exported: Collection[str]) -> None:
    """Has the new folder, still aside, hold what the old one holds besides what was `exported`.

    Raises OSError where a name is taken by a folder, or a folder's by a file.
    """
    for path in _added(folder, exported):
        target = aside / path
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, f"{folder / path} is in the way")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(folder / path, target, follow_symlinks=False)
        except OSError:  # not everywhere
            shutil.copy2(folder / path, target, follow_symlinks=False)


def _added(folder: Path, exported: Collection[str]) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        links = [name for name in folders if Path(place, name).is_symlink()]
        for name in [*names, *links]:
            path = os.path.relpath(f"{place}/{name}", folder)
            if path not in exported:
                yield path
