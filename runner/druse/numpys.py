"""numpy's generator: seeded where numpy is loaded, and else as soon as it is.

To load it for cells that never use it would take longer than thousands of them do.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_set: Callable[[int], None] | None = None
_waiting: int | None = None
_is_expected = False


def seed(value: int) -> None:
    """Sets the generator, now or when numpy is loaded."""
    global _set, _waiting, _is_expected  # noqa: PLW0603 - there is one generator
    if _set is None:
        if "numpy" not in sys.modules and "torch" not in sys.modules:  # which would load it
            _waiting = value
            if not _is_expected:
                _is_expected = True
                sys.meta_path.insert(0, _Finder())
            return
        numpy = load()  # waits for whoever is loading it
        _set = numpy.random.seed if hasattr(numpy, "random") else _nothing
    _set(value % 2**32)


def _nothing(value: int) -> None:
    """There is no numpy."""


def waiting() -> int | None:
    """The seed that numpy's generator gets when numpy is loaded."""
    return _waiting


def load() -> Any:
    """numpy, now; None where it is not installed."""
    if importlib.util.find_spec("numpy") is None:
        return None
    import numpy

    return numpy


class _Finder(MetaPathFinder):
    """Finds numpy as the interpreter does, and has its generator set once it is executed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "numpy":
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:  # as of a folder of data by that name
                    _seed_behind(spec.loader)
                return spec
        return None


def _seed_behind(loader: Any) -> None:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        if loader.exec_module is exec_module:
            del loader.exec_module
        if _waiting is not None:
            seed(_waiting)

    loader.exec_module = exec_module
