"""The Python files beside a config.yaml, imported under names that pickles can find again.

`classifier/steps.py` becomes the module `classifier.steps`, whatever lies above the folder. The
working directory and the folder above the experiments can be imported from, so that experiments
can share helpers.
"""

from __future__ import annotations

import difflib
import importlib.util
import sys
import traceback
import types
from pathlib import Path
from typing import Any

from druse import imports
from druse.errors import ConfigError


def make_importable(*folders: Path) -> None:
    """Lets code import from these folders: the first one before all, the others after all."""
    imports.install()
    for place, folder in enumerate(folders):
        text = str(folder.resolve())
        if text not in sys.path:
            sys.path.insert(0, text) if place == 0 else sys.path.append(text)


def load(folder: Path, stem: str) -> types.ModuleType | None:
    """The module of `<folder>/<stem>.py`, imported anew; None if there is no such file.

    Raises ConfigError, with the traceback, for what the module raises.
    """
    path = folder / f"{stem}.py"
    if not path.is_file():
        return None
    package = _package(folder)
    name = f"{package}.{stem}"
    spec = imports.spec_of(name, path)
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    _forget_siblings(package, folder)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        sys.modules.pop(name, None)
        raise ConfigError(f"{path} cannot be imported:\n{_traceback(error)}") from error
    setattr(sys.modules[package], stem, module)
    _configured.add(name)
    return module


_configured: set[str] = set()
_MACHINERY = (__file__, imports.__file__, "<frozen")


def configured() -> frozenset[str]:
    """The names of the modules that lie beside configurations: only this process knows them."""
    return frozenset(_configured)


def _traceback(error: BaseException) -> str:
    """The traceback from the imported file on: the machinery above it says nothing to anyone."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_MACHINERY):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace)).rstrip()


def _package(folder: Path) -> str:
    """The name of the package that an experiment's folder stands for, made if need be."""
    text = "".join(c if c.isalnum() else "_" for c in folder.name)
    name = text if text.isidentifier() else f"experiment_{text}"
    if not _is_free(name, folder):
        name = f"experiment_{name}"
    if name not in sys.modules or not _is_of(sys.modules[name], folder):
        _make_package(name, folder)
    return name


def _is_free(name: str, folder: Path) -> bool:
    """Whether nothing else can be imported by this name."""
    known = sys.modules.get(name)
    if known is not None:
        return _is_of(known, folder)
    spec = importlib.util.find_spec(name)
    return spec is None or str(folder.resolve()) in (spec.submodule_search_locations or ())


def _is_of(module: types.ModuleType, folder: Path) -> bool:
    return str(folder.resolve()) in getattr(module, "__path__", ())


def _make_package(name: str, folder: Path) -> None:
    paths = [str(folder.resolve())]
    init = folder / "__init__.py"
    if not init.is_file():
        module = types.ModuleType(name)
        module.__path__ = paths
        sys.modules[name] = module
        return
    spec = imports.spec_of(name, init, paths)
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


_CONFIGURED = ("datasources", "steps", "outputs", "verifiers")


def _forget_siblings(package: str, folder: Path) -> None:
    """Other modules of the folder may have changed since they were imported: a helper, say."""
    for name, module in list(sys.modules.items()):
        if not name.startswith(package + "."):
            continue
        file = getattr(module, "__file__", None)
        stem = name[len(package) + 1 :]
        if file and Path(file).parent == folder.resolve() and stem not in _CONFIGURED:
            del sys.modules[name]


def get(module: types.ModuleType | None, folder: Path, stem: str, name: str, what: str) -> Any:
    """What a configuration names in one of its modules. Raises ConfigError."""
    path = folder / f"{stem}.py"
    config = folder / "config.yaml"
    if module is None:
        raise ConfigError(
            f"{config} names the {what} {name!r}, and there is no {path}: write it there"
        )
    found = getattr(module, name, None)
    if found is None or name.startswith("_"):
        public = [each for each in vars(module) if not each.startswith("_")]
        close = difflib.get_close_matches(name, public, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"{config} names the {what} {name!r}, and {path} has no such name{hint}")
    return found
