"""The files of user code, as people and other machines know them: relative to the project."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

_MARKS: Final = (".git", "pyproject.toml", "druse.yaml", ".druse", "setup.py", "setup.cfg")


def shown_file(file: str, module_globals: dict[str, Any] | None = None) -> str | None:
    """The path of a source file, below the project's root, or else as its module is imported.

    None for what is no file: a cell of a notebook, say.
    """
    if file.startswith("<") or not Path(file).is_file():
        return None
    name = str((module_globals or {}).get("__name__", ""))
    depth = name.count(".") + (Path(file).name == "__init__.py")
    return _shown(os.path.realpath(file), depth)


@lru_cache(maxsize=4096)
def _shown(real: str, depth: int) -> str:
    path = Path(real)
    for folder in path.parents:
        if folder.parent != folder and any((folder / mark).exists() for mark in _MARKS):
            return path.relative_to(folder).as_posix()
    return "/".join(path.parts[-depth - 1 :])
