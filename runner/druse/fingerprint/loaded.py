"""The text of user modules that are loaded, as far as it says what is loaded.

Other processes that are to execute the same code import these modules from this text, whatever has
become of the files meanwhile.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from types import ModuleType

from druse.fingerprint.sources import known_files, source_of


@dataclass(frozen=True, slots=True)
class LoadedModule:
    """A module by its name. `text` is None for a package without one; `paths` for no package."""

    name: str
    file: str | None
    paths: tuple[str, ...] | None
    text: bytes | None


def user_modules(
    others: Collection[str] = (),
) -> tuple[list[LoadedModule], list[ModuleType]]:
    """The modules whose text fingerprints rest on, and `others`, with the packages they lie in.

    Also those that are not what their text says any more, or import such a one: these have to be
    sent by value.
    """
    files = known_files()
    found: dict[str, LoadedModule] = {}
    changed = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name in ("__main__", "__mp_main__") or not isinstance(file, str):
            continue
        if file not in files and name not in others:
            continue
        source = source_of(file, vars(module))
        if source is None or not source.on_disk or not source.says(module):
            changed.append(module)
            continue
        found[name] = LoadedModule(name, file, _paths(module), source.text)
        for package in _packages(name):
            if package not in found and package in sys.modules:
                found[package] = _package(package)
    _import_changed(found, changed)
    return list(found.values()), changed


def _import_changed(found: dict[str, LoadedModule], changed: list[ModuleType]) -> None:
    """Modules that would import another text than they did here are to be sent by value, too."""
    names = {module.__name__ for module in changed}
    while names:
        importing = [n for n, each in found.items() if not names.isdisjoint(_imported(each))]
        names = set(importing)
        for name in importing:
            del found[name]
            changed.append(sys.modules[name])


def _imported(module: LoadedModule) -> Iterator[str]:
    """The names that a module's text imports, wherever in it."""
    try:
        nodes = list(ast.walk(ast.parse(module.text or b"")))
    except (SyntaxError, ValueError, RecursionError):
        return
    package = module.name if module.paths is not None else module.name.rpartition(".")[0]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _packages(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _package(name: str) -> LoadedModule:
    module = sys.modules[name]
    file = getattr(module, "__file__", None)
    source = source_of(file, vars(module)) if isinstance(file, str) else None
    text = source.text if source is not None and source.on_disk else None
    return LoadedModule(name, file, _paths(module) or (), text)


def _paths(module: ModuleType) -> tuple[str, ...] | None:
    paths = getattr(module, "__path__", None)
    return None if paths is None else tuple(str(path) for path in paths)
