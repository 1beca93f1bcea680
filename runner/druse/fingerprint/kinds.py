"""Which treatment a value gets, by its type.

Types of packages are named, not imported: a value of them can only exist where they are loaded.
A subclass of a type with a treatment is its class, the content by that treatment, and its state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from druse.fingerprint.proxies import is_class, is_function, is_module

if TYPE_CHECKING:
    from druse.fingerprint.builder import Builder
    from druse.fingerprint.graph import Node, Part
    from druse.fingerprint.units import Unit

Expand = Callable[["Builder", Any, "Node"], "list[Part]"]


@dataclass(frozen=True, slots=True)
class Kind:
    expand: Expand
    unit: Callable[[Any], Unit | None] | None = None


# Modules of this package by the top-level module of the types whose treatments they hold.
_HOMES: Final = {
    "numpy": "arrays",
    "pandas": "frames",
    "pyarrow": "columns",
    "polars": "columns",
    "torch": "tensors",
    "scipy": "arrays",
    "pydantic": "models",
    "enum": "models",
}
_STANDARD: Final = ("standard", "inert")

_by_type: dict[type, Kind] = {}


def kind_of(value: Any) -> Kind:
    if is_function(value):
        from druse.fingerprint.functions import expand_function, unit_of_function

        return Kind(expand_function, unit_of_function)
    if is_class(value):
        from druse.fingerprint.classes import expand_class, unit_of_class

        return Kind(expand_class, unit_of_class)
    if is_module(value):
        from druse.fingerprint.modules import expand_module, unit_of_module

        return Kind(expand_module, unit_of_module)
    kind = _by_type.get(type(value))
    if kind is None:
        kind = _by_type[type(value)] = Kind(_treatment(type(value)))
    return kind


def _treatment(cls: type) -> Expand:
    from druse.fingerprint import instances

    for base in cls.__mro__[:-1]:
        found = _named(base)
        if found is not None:
            expand, is_whole = found
            return expand if is_whole or base is cls else instances.derived(expand)
    return instances.expand_instance


def _named(cls: type) -> tuple[Expand, bool] | None:
    """The treatment of exactly this type, and whether it sees to subclasses itself."""
    name = f"{cls.__module__}.{cls.__qualname__}"
    home = _HOMES.get(cls.__module__.partition(".")[0])
    for place in ((home,) if home else ()) + _STANDARD:
        module = import_module(f"druse.fingerprint.{place}")
        if name in module.TREATMENTS:
            return module.TREATMENTS[name], getattr(module, "WHOLE", False)
    return None
