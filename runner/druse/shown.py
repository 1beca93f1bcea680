"""Values that were read, as text for people: what a digest cannot say."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from druse.conditions import Initial
    from druse.prepared import Prepared

_LONGEST = 60
ABSENT = "absent"


def shown(value: Any) -> str:
    """A value as text, cut where it is long."""
    try:
        text = repr(value)
    except Exception as error:  # a user's class may do anything
        text = f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"
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
