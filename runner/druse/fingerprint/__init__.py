"""Fingerprints: what counts for a key, of code and of values, and what it is made of."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from druse.fingerprint.closures import Closure, Component
    from druse.fingerprint.code import closure
    from druse.fingerprint.manifest import Change, Manifest, diff
    from druse.fingerprint.session import Fingerprinter
    from druse.fingerprint.values import value_digest

__all__ = [
    "Change",
    "Closure",
    "Component",
    "Fingerprinter",
    "Manifest",
    "closure",
    "diff",
    "value_digest",
]

_HOME = {
    "Closure": "closures",
    "Component": "closures",
    "Change": "manifest",
    "Manifest": "manifest",
    "diff": "manifest",
    "closure": "code",
    "Fingerprinter": "session",
    "value_digest": "values",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
