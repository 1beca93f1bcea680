"""Values for people, in a few words, at little cost whatever they are."""

from __future__ import annotations

import reprlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from druse.globs import BETWEEN

if TYPE_CHECKING:
    from druse.conditions import Initial
    from druse.prepared import Prepared

_LONGEST = 60
ABSENT = "absent"
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


def lasting(value: Any) -> str:
    """As `shown`; empty where the text would be another one in the next process."""
    text = shown(value)
    return "" if " at 0x" in text else text


def read(name: str, prepared: Prepared, initial: Initial) -> str | None:
    """What a read gives today; None where its text would say nothing."""
    kind, _, rest = name.partition(":")
    if kind == "ctx":
        if rest == "*":
            return ", ".join(sorted(initial.values()))
        return initial.shown(rest)
    if kind == "param":
        return _parameter(rest, prepared, initial)
    if kind == "setup":
        values = prepared.bare.values()
        return ", ".join(sorted(values)) if rest == "*" else _of(values, rest)
    if kind == "package":
        return package(rest)
    return None


def package(name: str) -> str:
    """The version of a distribution."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ABSENT


def said(name: str, value: str, prepared: Prepared) -> str:
    """A read and what it gave, as people know it."""
    text = told(name, prepared)
    return text if name.startswith("shared:") else f"{text}: {value}"


def told(name: str, prepared: Prepared) -> str:
    """The name of a read, as people know it."""
    kind, _, rest = name.partition(":")
    if kind in ("param", "bound"):
        place, _, parameter = rest.partition(":")
        return f"parameter {parameter} of {prepared.part_name(f'step {place}')}"
    if kind == "up":
        sources = [s for s in prepared.inputs if s.alias == rest]
        return f"artifact {sources[0].producer}#{sources[0].artifact.name}" if sources else name
    if kind == "shared":
        return f"that {prepared.part_name(f'step {rest}')} is shared"
    if kind == "name":
        return f"name of {prepared.part_name(f'step {rest}')}"
    path = rest.removeprefix("@/").removeprefix("./").replace(BETWEEN, "/")
    return f"{_WORDS.get(kind, kind)} {path}"


_WORDS = {"setup": "ctx, for setup,", "stored": "artifact", "dir": "folder", "glob": "files"}


def _of(values: dict[str, Any], key: str) -> str:
    return shown(values[key]) if key in values else ABSENT


def _parameter(rest: str, prepared: Prepared, initial: Initial) -> str | None:
    position, _, name = rest.partition(":")
    steps = prepared.steps
    if int(position) >= len(steps):
        return None
    step = steps[int(position)]
    if name in step.params:
        return shown(step.params[name])
    if initial.has(name):
        return initial.shown(name)
    default = next((p.default for p in getattr(step, "taken", ()) if p.name == name), None)
    return shown(default)
