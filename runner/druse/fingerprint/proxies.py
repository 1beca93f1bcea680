"""What an object is, not what it passes for: a proxy's `__class__` is that of what it wraps."""

from __future__ import annotations

import abc
from types import FunctionType, ModuleType
from typing import Any, TypeGuard


def is_function(value: Any) -> TypeGuard[FunctionType]:
    return type(value) is FunctionType


def is_class(value: Any) -> TypeGuard[type]:
    return issubclass(type(value), type)


def is_module(value: Any) -> TypeGuard[ModuleType]:
    return issubclass(type(value), ModuleType)


def is_code(value: Any) -> bool:
    return is_function(value) or is_class(value) or is_module(value)


def virtual_subclasses(cls: type) -> list[type]:
    """The classes that were registered with an abstract one."""
    dump = vars(abc).get("_get_dump")
    found = (reference() for reference in dump(cls)[0]) if dump is not None else ()
    return [each for each in found if each is not None]
