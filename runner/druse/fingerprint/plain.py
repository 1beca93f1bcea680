"""Plain values: builtin containers of builtin atoms, encoded without a graph.

Most parameters are plain, and keys are asked for between cells, so they get a short way. What
holds anything else, holds itself or is very deep has none: the graph encodes it, to the same bytes.
"""

from __future__ import annotations

from typing import Any, Final

from druse.fingerprint.encoding import ATOMS, inline, length

_MAX_DEPTH: Final = 100
_SEQUENCES: Final[dict[type, bytes]] = {list: b"L", tuple: b"U"}
_SETS: Final[dict[type, bytes]] = {set: b"S", frozenset: b"Z"}
CONTAINERS: Final = frozenset({list, tuple, dict, set, frozenset})


class PlainEncoder:
    """Encodes plain values; keeps the containers that it saw, so that their ids stay theirs."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[Any, bytes | None]] = {}

    def encode(self, value: Any, depth: int = 0) -> bytes | None:
        """None for what is not plain."""
        kind = type(value)
        encode = ATOMS.get(kind)
        if encode is not None:
            return encode(value)  # type: ignore[no-any-return]
        if kind not in CONTAINERS or depth > _MAX_DEPTH:
            return None
        key = id(value)
        known = self._seen.get(key)
        if known is not None:
            return known[1]
        self._seen[key] = (value, None)  # what holds itself is not plain
        encoding = self._container(kind, value, depth + 1)
        self._seen[key] = (value, encoding)
        return encoding

    def _container(self, kind: type, value: Any, depth: int) -> bytes | None:
        if kind is dict:
            return self._dict(value, depth)
        items = self._items(value, depth)
        if items is None:
            return None
        tag = _SEQUENCES.get(kind)
        if tag is None:
            tag = _SETS[kind]
            items.sort()
        return tag + length(len(items)) + b"".join(items)

    def _items(self, values: Any, depth: int) -> list[bytes] | None:
        items = []
        for value in values:
            encode = ATOMS.get(type(value))
            if encode is not None:
                items.append(encode(value))
                continue
            encoding = self.encode(value, depth)
            if encoding is None:
                return None
            items.append(inline(encoding))
        return items

    def _dict(self, value: dict[Any, Any], depth: int) -> bytes | None:
        keys = self._items(value.keys(), depth)
        values = None if keys is None else self._items(value.values(), depth)
        if keys is None or values is None:
            return None
        pairs = sorted(key + item for key, item in zip(keys, values, strict=True))
        return b"D" + length(len(pairs)) + b"".join(pairs)
