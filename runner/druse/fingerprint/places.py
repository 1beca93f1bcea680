"""The files of user code, as people and other machines know them: relative to the project."""

from __future__ import annotations

import os
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

_MARKS: Final = (".git", "pyproject.toml", "druse.yaml", ".druse", "setup.py", "setup.cfg")


def shown_file(file: str, module_globals: dict[str, Any] | None = None) -> str | None:
    """The path of a source file, below the project's root, or else as its module is imported.

    None for what is no file: a cell of a notebook, say.
    """
    name = str((module_globals or {}).get("__name__", ""))
    return _shown(file, name.count("."))


@lru_cache(maxsize=4096)
def _shown(file: str, depth: int) -> str | None:
    path = Path(file)
    if file.startswith("<") or not path.is_file():
        return None
    if path.is_symlink():
        path = Path(os.path.realpath(file))
    below = _below_root(str(path.parent))
    if below is not None:
        return f"{below}{path.name}"
    depth += path.name == "__init__.py"
    return "/".join(Path(os.path.realpath(path)).parts[-depth - 1 :])


@cache
def _below_root(folder: str) -> str | None:
    """The path of a folder below its project's root, with a slash at its end."""
    real = Path(os.path.realpath(folder))
    root = _root(real)
    if root is None:
        return None
    return "" if root == real else real.relative_to(root).as_posix() + "/"


def below_project(path: str, module_globals: dict[str, Any]) -> str | None:
    """A path below the project of a module, as it is in every copy of the project; else None."""
    file = module_globals.get("__file__")
    if not isinstance(file, str) or not Path(path).is_absolute():
        return None
    for place in _project_folders(file):
        if path == place or path.startswith(place + os.sep):
            return path[len(place) :].replace(os.sep, "/")
    return None


@cache
def _project_folders(file: str) -> tuple[str, ...]:
    """The root of a file's project, or its own folder; as it is named, and as it really is."""
    paths = (Path(file).absolute(), Path(os.path.realpath(file)))
    found = [str(_root(path.parent) or path.parent) for path in paths]
    return tuple(dict.fromkeys(found))


@cache
def _root(folder: Path) -> Path | None:
    """The nearest folder upward that looks like a project's."""
    if folder.parent == folder:
        return None
    if any((folder / mark).exists() for mark in _MARKS):
        return folder
    return _root(folder.parent)
