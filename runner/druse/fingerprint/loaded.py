"""The text of user modules that are loaded, as far as it says what is loaded.

Other processes that are to execute the same code import these modules from this text, whatever has
become of the files meanwhile.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any

from druse.fingerprint.compiled import unchanged_since_start
from druse.fingerprint.sources import Source, known_files, source_of


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

    Also those that are not what their text says any more: these have to be sent by value.
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
        if source is None or not source.on_disk or not _says(source, module):
            changed.append(module)
            continue
        found[name] = LoadedModule(name, file, _paths(module), source.text)
        for package in _packages(name):
            if package not in found and package in sys.modules:
                found[package] = _package(package)
    return list(found.values()), changed


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


def _says(source: Source, module: ModuleType) -> bool:
    """Whether the text is that of what is loaded, as far as its functions show."""
    if all(source.holds(code) for code in _codes(module, source.file)):
        return True
    return unchanged_since_start(source.file)  # some tool rewrote the code while it was imported


def _codes(module: ModuleType, file: str) -> Iterator[CodeType]:
    for value in list(vars(module).values()):
        members: list[Any] = [value]
        if isinstance(value, type) and value.__module__ == module.__name__:
            members += vars(value).values()
        for member in members:
            function = getattr(member, "__func__", getattr(member, "fget", member))
            while isinstance(function, FunctionType):
                if function.__code__.co_filename == file:
                    yield function.__code__
                function = getattr(function, "__wrapped__", None)
