"""What the steps of a cell hand on, seen while it is executed: by how much two executions differ.

A step that is not deterministic may write nothing itself: what it hands on, or leaves in ctx, shows
up in the metrics of one that comes later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from druse.errors import Unhashable
from druse.fingerprint.values import value_digest
from druse_store import Digest

See = Callable[[int, Any, Mapping[str, Any]], None]
"""Called behind the datasource (-1) and each step: its place, what it gave, all that ctx has."""


class Witness:
    """Digests of what was seen in one execution. What has no canonical form counts as the same."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[Digest | None, ...]] = {}
        self._keys: set[str] = set()

    def see(self, place: int, value: Any, ctx: Mapping[str, Any]) -> None:
        """Of ctx what has come since the last time: it only grows."""
        new = sorted(key for key in ctx if key not in self._keys and not key.startswith("_"))
        self._keys.update(new)
        self._found[place] = tuple(_digest(each) for each in (value, *(ctx[key] for key in new)))

    def first_difference(self, other: Witness) -> int | None:
        """The place of the first step that gave something else in another execution."""
        for place in sorted(self._found.keys() & other._found.keys()):
            mine, others = self._found[place], other._found[place]
            if len(mine) != len(others) or any(map(_differ, mine, others)):
                return place
        return None


def _differ(one: Digest | None, other: Digest | None) -> bool:
    return one is not None and other is not None and one != other


def _digest(value: Any) -> Digest | None:
    try:
        return value_digest(value)
    except Unhashable:
        return None
