"""Whether an object is the user's code, or wraps it: asked of everything that is loaded."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any, Final

from druse.fingerprint.packages import is_installed_file, is_our_file

_HEAP_TYPE: Final = 1 << 9
_DEPTH: Final = 4  # of wrappers around wrappers
# Debuggers live outside of the folders of packages, and put themselves everywhere.
_DEBUGGERS: Final = ("pydevd", "debugpy", "_pydev_", "pycharm")
_DISPATCHER: Final = functools.singledispatch(lambda _: None)
_SINGLE_DISPATCH: Final = _DISPATCHER.__code__  # type: ignore[attr-defined]

_files: dict[str, bool] = {}  # of functions: whether it is the user's
_kinds: dict[type, bool] = {}  # whether what has this type may be, or wrap, somebody's code


class Users:
    """What is loaded at a moment, by whose it is."""

    def __init__(self) -> None:
        self._modules: dict[Any, bool] = {}

    def among(self, held: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        """What of a dictionary is worth a closer look: a few of very many."""
        kinds, files = _kinds, _files
        for key, value in held.items():
            kind = type(value)
            if kind is FunctionType:
                if value.__closure__ is None and files.get(value.__code__.co_filename) is False:
                    continue
            elif kind is type:
                if not value.__flags__ & _HEAP_TYPE:
                    continue
            elif not (kinds[kind] if kind in kinds else self.may_be(kind)):
                continue
            yield key, value

    def may_be(self, kind: type) -> bool:
        """Whether an object of this type may be, or wrap, somebody's code."""
        known = _kinds.get(kind)
        if known is None:
            known = _kinds[kind] = (
                kind is FunctionType or kind in _WRAPPED or issubclass(kind, type)
            ) or (
                bool(kind.__flags__ & _HEAP_TYPE)
                and not issubclass(kind, ModuleType)
                and any(
                    "__get__" in vars(base) or "__call__" in vars(base) for base in kind.__mro__
                )
            )
        return known

    def owns(self, value: Any, depth: int = _DEPTH) -> bool:
        """Whether something is the user's code, or wraps it."""
        kind = type(value)
        if depth <= 0 or not self.may_be(kind):
            return False
        if kind is FunctionType:
            return self._owns_function(value, depth)
        if issubclass(kind, type):
            return self._owns_class(value)
        unwrap = _WRAPPED.get(kind)
        if unwrap is not None:
            return self._owns_any(unwrap(value), depth)
        if self._owns_class(kind):
            return True
        held = _attributes(value)
        return bool(held) and self._owns_any(list(held.values()), depth)

    def _owns_any(self, values: Iterable[Any], depth: int) -> bool:
        return any(self.owns(each, depth - 1) for each in values)

    def may_hold(self, cls: type) -> bool:
        """Whether anything of the user's may be set on a class: it is not druse's, nor one that is
        compiled in, which nothing can be set on."""
        is_open = bool(cls.__flags__ & _HEAP_TYPE)
        return is_open and module_name(cls).partition(".")[0] not in ("druse", "druse_store")

    def _owns_function(self, function: FunctionType, depth: int) -> bool:
        file = function.__code__.co_filename
        known = _files.get(file)
        if known is None:
            known = self._is_users_file(function, file)
        if known or function.__closure__ is None:
            return known
        if function.__code__ is _SINGLE_DISPATCH:
            registry = getattr(function, "registry", {})
            return self._owns_any(list(registry.values()), depth)
        return self._owns_any(_contents(function), depth)

    def _is_users_file(self, function: FunctionType, file: str) -> bool:
        if file.startswith("<"):  # a cell of a notebook; or what machinery made in memory
            return self._is_users_module(function.__globals__.get("__name__"))
        _files[file] = not (
            is_installed_file(file) or is_our_file(file) or any(m in file for m in _DEBUGGERS)
        )
        return _files[file]

    def _owns_class(self, cls: type) -> bool:
        return bool(cls.__flags__ & _HEAP_TYPE) and self._is_users_module(module_name(cls))

    def _is_users_module(self, name: Any) -> bool:
        """Not so for a module that is not there: machinery names classes as it likes."""
        known = self._modules.get(name)
        if known is None:
            module = sys.modules.get(name) if isinstance(name, str) else None
            file = _attributes(module).get("__file__")
            is_file = isinstance(file, str) and not is_installed_file(file)
            known = name in ("__main__", "__mp_main__") or (is_file and not is_our_file(str(file)))
            self._modules[name] = known
        return known


def module_name(cls: type) -> str:
    """Where a class says that it comes from; proxies answer with anything."""
    name = cls.__module__
    return name if isinstance(name, str) else ""


def _attributes(value: Any) -> dict[str, Any]:
    """What an object holds, without asking it."""
    try:
        held = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return held if type(held) is dict else {}


def _contents(function: FunctionType) -> list[Any]:
    found = []
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:
            continue
    return found


_WRAPPED: Final[dict[type, Callable[[Any], tuple[Any, ...]]]] = {
    staticmethod: lambda v: (v.__func__,),
    classmethod: lambda v: (v.__func__,),
    property: lambda v: (v.fget, v.fset, v.fdel),
    MethodType: lambda v: (v.__func__, v.__self__),
    functools.partial: lambda v: (v.func, *v.args),
    functools.partialmethod: lambda v: (v.func, *v.args),
    functools.cached_property: lambda v: (v.func,),
    functools.singledispatchmethod: lambda v: (v.func, v.dispatcher),
    type(functools.lru_cache(lambda: None)): lambda v: (v.__wrapped__,),
}
