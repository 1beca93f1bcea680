"""Metrics as plain data: what a record can keep, and what a file of results can say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from druse.errors import InvalidMetric

_PLAIN = frozenset({int, float, bool, str, type(None)})


def plain(value: Any, path: str) -> Any:
    """A value as JSON has it; numpy's arrays by what they hold. Raises InvalidMetric."""
    kind = type(value)
    if kind in _PLAIN:
        if kind is int and not -(2**63) <= value < 2**64:
            raise InvalidMetric(f"{path} is a whole number of more than 64 bits: record a float")
        return value
    if isinstance(value, Mapping):
        return {_key(key, path): plain(each, f"{path}[{key!r}]") for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each, f"{path}[{place}]") for place, each in enumerate(value)]
    if isinstance(value, bool | int | float | str):  # a subclass, an enum say: what it stands for
        return plain(kind.__mro__[-2](value) if kind.__mro__[-2] in _PLAIN else str(value), path)
    module = kind.__module__.partition(".")[0]
    if module in ("numpy", "torch", "pandas") and hasattr(value, "tolist"):
        return plain(value.tolist(), path)
    if hasattr(value, "item") and callable(value.item):
        return plain(value.item(), path)
    raise InvalidMetric(
        f"{path} is a {kind.__module__}.{kind.__qualname__}, and a metric has to be plain data "
        "(numbers, text, lists and dicts of them): record what matters of it, or write an artifact"
    )


def _key(key: Any, path: str) -> str:
    if not isinstance(key, str):
        raise InvalidMetric(f"{path} has the key {key!r}, and keys have to be text")
    return key
