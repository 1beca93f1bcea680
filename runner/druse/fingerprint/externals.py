"""Names of what is not the user's: of the standard library, of packages, of druse."""

from __future__ import annotations

import sys
from types import BuiltinFunctionType, FunctionType
from typing import Any, Final

from druse.fingerprint.packages import Origin, origin_of_file, origin_of_module
from druse.fingerprint.proxies import is_class, is_function, is_module
from druse.fingerprint.resolve import External
from druse.readers import is_wrapped

_PUBLIC: Final = {"posixpath": "os.path", "ntpath": "os.path", "_thread": "threading"}
_HEAP_TYPE: Final = 1 << 9


def origin_of(function: FunctionType) -> Origin:
    """A function that a package makes in memory belongs to the module that it can be found in."""
    if is_wrapped(function):
        return origin_of_module(str(function.__module__))
    if function.__code__.co_filename.startswith("<"):
        module = function.__module__
        if isinstance(module, str) and not (origin := origin_of_module(module)).is_user:
            return origin
    return origin_of_file(function.__code__.co_filename)


def external_name(value: Any) -> External | None:
    """The name of a function, class or constant of the standard library or a package."""
    if is_function(value):
        origin = origin_of(value)
        if origin.is_user or origin.kind == "druse" or not _is_found_where_it_says(value):
            return None
        return External(_public(str(value.__module__), value.__qualname__, value, origin), origin)
    if is_class(value):
        return None if is_made_here(value) else _of_module(value, value.__qualname__)
    if type(value) is BuiltinFunctionType:
        owner = value.__self__
        if owner is not None and not is_module(owner):
            return None
        return _of_module(value, value.__name__)
    return constant_of_a_package(value)


def _of_module(value: Any, name: str) -> External | None:
    module = str(value.__module__ or getattr(value.__self__, "__name__", "builtins"))
    origin = origin_of_module(module)
    if origin.kind == "druse":
        return None
    return External(_public(module, name, value, origin), origin)


def _public(module: str, name: str, value: Any, origin: Origin) -> str:
    """The standard library's own name for a thing; where it is defined differs by version."""
    if origin.kind == "stdlib":
        for public in (_PUBLIC.get(module, ""), module.partition(".")[0].lstrip("_")):
            known: dict[str, Any] = getattr(sys.modules.get(public), "__dict__", {})
            if known.get(name) is value:
                return f"{public}.{name}"
    return f"{module}.{name}"


def _is_found_where_it_says(function: FunctionType) -> bool:
    """Not so for a wrapper that passes for what it wraps, or what was made at run time."""
    module = str(function.__module__)
    return not origin_of_module(module).is_user and is_importable(function)


def is_made_here(cls: type) -> bool:
    """Whether a class is the user's, or was made at run time by a package's machinery."""
    if not cls.__flags__ & _HEAP_TYPE:
        return False
    if origin_of_module(str(cls.__module__)).is_user:
        return True
    if is_importable(cls):
        return False
    return any(is_function(held) for held in vars(cls).values())


def constant_of_a_package(value: Any) -> External | None:
    """What a package defines by a name, as numpy does its functions, scipy its distributions."""
    for module in dict.fromkeys((getattr(value, "__module__", None), type(value).__module__)):
        if not isinstance(module, str) or module not in sys.modules or module == "builtins":
            continue
        origin = origin_of_module(module)
        if origin.is_user or origin.kind == "druse":
            continue
        known = vars(sys.modules[module])
        own = getattr(value, "__name__", None)
        if isinstance(own, str) and known.get(own) is value:
            return External(f"{module}.{own}", origin)
        for name, other in list(known.items()):
            if other is value:
                return External(f"{module}.{name}", origin)
    return None


def is_importable(thing: Any) -> bool:
    """Whether a function or class is what its module and qualified name say."""
    here: Any = sys.modules.get(getattr(thing, "__module__", None) or "")
    for name in str(getattr(thing, "__qualname__", "")).split("."):
        here = getattr(here, "__dict__", {}).get(name)
    return here is thing
