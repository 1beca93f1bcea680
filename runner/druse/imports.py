"""Imports of the user's modules: what is executed is what the text says, and the text is known.

The interpreter takes a compiled file for the source's if second and size agree: an edit of the same
size within that second would execute the old code. So a compiled file so young is passed over; and
of a file that may change while the process runs, the text that was executed is kept.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

from druse import readers
from druse.fingerprint import compiled, sources
from druse.places import comes_with_python


class FreshLoader(SourceFileLoader):
    """Executes what a file holds now."""

    def get_code(self, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        if compiled.unchanged_since_start(path) and not compiled.outdated_compilation(path):
            return super().get_code(fullname)
        text = self.get_data(path)
        sources.executed(path, text)
        return self.source_to_code(text, path)


class ReaderLoader(SourceFileLoader):
    """Has the readers of a package tell what they open."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        readers.wrap(module)


class FreshFinder(MetaPathFinder):
    """Finds what the interpreter would find, and has the user's modules loaded so."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            file = spec.loader.path
            if fullname in readers.MODULES:
                spec.loader = ReaderLoader(spec.loader.name, file)
            elif not comes_with_python(file):
                spec.loader = FreshLoader(spec.loader.name, file)
        return spec


def install() -> None:
    """From now on the user's modules are imported so."""
    if not any(isinstance(each, FreshFinder) for each in sys.meta_path):
        readers.wrap_loaded()
        place = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else 0
        sys.meta_path.insert(place, FreshFinder())


def spec_of(name: str, path: Path, folders: list[str] | None = None) -> ModuleSpec:
    """How to load a file as a module of this name; `folders`: as a package."""
    loader = FreshLoader(name, str(path))
    spec = spec_from_file_location(name, path, loader=loader, submodule_search_locations=folders)
    assert spec is not None
    return spec
