"""Whether an object is the user's code, or wraps it: asked of everything that is loaded."""

from __future__ import annotations

import enum
import functools
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from types import FunctionType, MethodType, ModuleType
from typing import Any, Final

from druse.fingerprint.externals import external_name
from druse.fingerprint.packages import is_installed_file, is_our_file

_HEAP_TYPE: Final = 1 << 9
_IMMUTABLE_TYPE: Final = 1 << 8
_DEPTH: Final = 4  # of wrappers around wrappers
# Debuggers live outside of the folders of packages, and put themselves everywhere.
_DEBUGGERS: Final = ("pydevd", "debugpy", "_pydev_", "pycharm")
_VALUES: Final = (int, float, complex, str, bytes, tuple, enum.Enum, BaseException)
_TOOLS: Final = ("importlib", "_frozen_importlib", "typing", "logging")
_CONTAINERS: Final = frozenset({dict, list, set, OrderedDict, defaultdict})
_DISPATCHER: Final = functools.singledispatch(lambda _: None)
_SINGLE_DISPATCH: Final = _DISPATCHER.__code__  # type: ignore[attr-defined]

_files: dict[str, bool] = {}  # of functions: whether it is the user's


class _Kinds(dict[type, bool]):
    """By type, whether what has it may be, or wrap, somebody's code."""

    def __missing__(self, kind: type) -> bool:
        found = self[kind] = (
            kind is FunctionType
            or kind in _WRAPPED
            or issubclass(kind, type)
            or (_is_of_python_code(kind) and _is_called(kind))
        )
        return found


class _Holders(_Kinds):
    """By type, whether what has it may be, wrap or have in an attribute somebody's code."""

    def __missing__(self, kind: type) -> bool:
        found = self[kind] = (_kinds[kind] or kind in _CONTAINERS) or (
            _is_of_python_code(kind)
            and kind.__dictoffset__ != 0
            and not issubclass(kind, _VALUES)
            and not module_name(kind).startswith(_TOOLS)
        )
        return found


def _is_of_python_code(kind: type) -> bool:
    return bool(kind.__flags__ & _HEAP_TYPE) and not issubclass(kind, ModuleType)


def _is_called(kind: type) -> bool:
    return any("__get__" in vars(base) or "__call__" in vars(base) for base in kind.__mro__)


_kinds: Final = _Kinds()
_holders: Final = _Holders()


class Users:
    """What is loaded at a moment, by whose it is."""

    def __init__(self) -> None:
        self._modules: dict[Any, bool] = {}

    def among(self, values: Iterable[Any]) -> list[Any]:
        """What of many values is worth a closer look: a few."""
        kinds, files = _holders, _files
        return [
            value
            for value in values
            if kinds[kind := type(value)]
            and not (
                kind is FunctionType
                and files.get(value.__code__.co_filename) is False
                and value.__closure__ is None
            )
            and (kind is not type or value.__flags__ & _HEAP_TYPE)
            and (kind not in _CONTAINERS or _may_register(value))
        ]

    def owns(self, value: Any, depth: int = _DEPTH) -> bool:
        """Whether something is the user's code, or wraps it."""
        kind = type(value)
        if depth <= 0:
            return False
        if kind is FunctionType:
            return self._owns_function(value, depth)
        if issubclass(kind, type):
            return self._owns_class(value)
        unwrap = _WRAPPED.get(kind)
        if unwrap is not None:
            return self._owns_any(unwrap(value), depth)
        if self._owns_class(kind):
            return _kinds[kind]  # else it is a value, and no code
        if kind in _CONTAINERS:
            held = list(value.values() if isinstance(value, dict) else value)
        else:
            held = list(_attributes(value).values())
        return bool(held) and self._owns_any(held, depth)

    def _owns_any(self, values: Iterable[Any], depth: int) -> bool:
        for each in values:
            kind = type(each)
            if kind is FunctionType:
                is_known = _files.get(each.__code__.co_filename) is False
                if is_known and each.__closure__ is None:
                    continue
            elif not _kinds[kind]:
                continue
            if self.owns(each, depth - 1):
                return True
        return False

    def pieces(self, value: Any) -> list[tuple[str, Any]]:
        """What of something that is the user's, or wraps it, counts; and where in it that is.

        The whole; but of what a package has by a name, what came into it: the name tells the rest.
        """
        if type(value) in _CONTAINERS:
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            return [(f"[{_label(key)}]", each) for key, each in list(pairs) if self.owns(each)]
        if external_name(value) is None:
            return [("", value)]
        held = _attributes(value)
        if type(value) is FunctionType:
            registry = getattr(value, "registry", {})
            held = {_label(cls): each for cls, each in registry.items()}
        found = [(f"[{key}]", each) for key, each in held.items() if self.owns(each)]
        return found or [("", value)]

    def may_change(self, value: Any) -> bool:
        """Whether something that is no class may come to hold the user's code by itself."""
        kind = type(value)
        if kind is FunctionType:
            return value.__closure__ is not None
        return kind not in _WRAPPED and kind.__module__ != "typing"

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
        if file.startswith("<") and not file.startswith("<frozen"):  # a cell; or made in memory
            return self.owns_module(function.__globals__.get("__name__"))
        _files[file] = not (
            is_installed_file(file) or is_our_file(file) or any(m in file for m in _DEBUGGERS)
        )
        return _files[file]

    def _owns_class(self, cls: type) -> bool:
        return bool(cls.__flags__ & _HEAP_TYPE) and self.owns_module(module_name(cls))

    def owns_module(self, name: Any) -> bool:
        """Not so for a module that is not there: machinery names classes as it likes."""
        known = self._modules.get(name)
        if known is None:
            module = sys.modules.get(name) if isinstance(name, str) else None
            file = _attributes(module).get("__file__")
            is_file = isinstance(file, str) and not is_installed_file(file)
            known = name in ("__main__", "__mp_main__") or (is_file and not is_our_file(str(file)))
            self._modules[name] = known
        return known


def is_open(cls: type) -> bool:
    """Whether anything can be set on a class: it is not one that is compiled in."""
    flags = cls.__flags__
    return bool(flags & _HEAP_TYPE) and not flags & _IMMUTABLE_TYPE


def module_name(cls: type) -> str:
    """Where a class says that it comes from; proxies answer with anything."""
    name = cls.__module__
    return name if isinstance(name, str) else ""


def _may_register(container: Any) -> bool:
    """Whether a container may be a registry: not if it begins with what is no code."""
    values = container.values() if isinstance(container, dict) else container
    for first in values:
        return _kinds[type(first)]
    return True


def _label(key: Any) -> str:
    """A key of a registry, by what is the same in each process."""
    if isinstance(key, type):
        return key.__qualname__
    if isinstance(key, tuple):
        return ",".join(map(_label, key))
    return str(key) if isinstance(key, str | int) else type(key).__qualname__


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
