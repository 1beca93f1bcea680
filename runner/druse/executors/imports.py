"""In a worker: user modules are imported from the text that the run's own process has of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from druse.fingerprint.loaded import LoadedModule


class _Loader(Loader):
    """Executes a module's text."""

    def __init__(self, module: LoadedModule) -> None:
        self._module = module

    def exec_module(self, module: ModuleType) -> None:
        text, file = self._module.text, self._module.file
        if text is not None and file is not None:
            code = compile(text, file, "exec", dont_inherit=True)
            exec(code, vars(module))  # noqa: S102 - what importing is

    def get_source(self, name: str) -> str:
        """For tracebacks and `inspect`."""
        return (self._module.text or b"").decode("utf-8", "replace")


class Finder(MetaPathFinder):
    """Finds the modules that it was told of, before anything else does."""

    def __init__(self) -> None:
        self._modules: dict[str, LoadedModule] = {}

    def add(self, modules: Sequence[LoadedModule]) -> None:
        """Tells of modules. One that was imported from another text is imported again."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        for module in modules:
            known = self._modules.get(module.name)
            if known is not None and known.text != module.text:
                sys.modules.pop(module.name, None)
            self._modules[module.name] = module

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        module = self._modules.get(name)
        if module is None:
            return None
        spec = ModuleSpec(name, _Loader(module), origin=module.file)
        spec.has_location = module.file is not None
        if module.paths is not None:
            spec.submodule_search_locations = list(module.paths)
        return spec
