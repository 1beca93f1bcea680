"""Values for people, in a few words, at little cost whatever they are."""

from __future__ import annotations

import reprlib
from typing import Any

_LONGEST = 60
_PLAIN = (bool, int, float, complex, str, bytes, type(None), list, tuple, dict, set, frozenset)


class _Short(reprlib.Repr):
    """Plain values as they are written, but short; of others only the kind is said."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = _LONGEST

    def repr1(self, x: Any, level: int) -> str:
        if isinstance(x, _PLAIN):
            return super().repr1(x, level)
        if callable(x) and hasattr(x, "__qualname__"):
            return f"<{x.__qualname__}>"
        kind = type(x)
        size = getattr(x, "shape", None)
        shape = f" {size}" if isinstance(size, tuple) else ""
        return f"<{kind.__module__}.{kind.__qualname__}{shape}>".replace("builtins.", "")


_short = _Short()


def shown(value: Any) -> str:
    """A value in at most 60 characters."""
    if type(value) in (bool, int, float, type(None)):
        return repr(value)
    text = _short.repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
