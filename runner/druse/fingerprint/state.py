"""State: names that the code itself rebinds, such as a lazily loaded singleton, or a counter.

What such a name holds depends on what ran before, so it counts as it was when this process first
looked, before any of the code ran for druse; later plans in the same process see the same. A module
that is loaded anew, or whose text for the name changed, is looked at again.
"""

from __future__ import annotations

import ast
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from druse.errors import Unhashable
from druse.fingerprint.encoding import digest_of, tag
from druse.fingerprint.graph import settle, standing
from druse.fingerprint.resolve import Found, Surroundings, resolve
from druse.fingerprint.sources import guard, source_of
from druse.fingerprint.template import Rebinding, Template
from druse.fingerprint.units import Unit

if TYPE_CHECKING:
    from druse.fingerprint.builder import Builder
    from druse.fingerprint.graph import Node

Key = tuple[int, str]

ABSENT: Final = object()
_NOT_THERE: Final = b"-"

_first_seen: dict[Key, tuple[Callable[[], Any], bytes, bytes]] = {}
_first_empty: dict[Key, tuple[Callable[[], Any], bytes, bool]] = {}


class State:
    """`names`: what is state for one closure, by the identity of its owner, and its name there."""

    def __init__(self, names: frozenset[Key]) -> None:
        self.names = names
        self.read: dict[Key, Found] = {}

    def of(self, owner: Any) -> set[str]:
        """The names of an object's attributes that are state."""
        return {name for key, name in self.names if key == id(owner)}

    def part(self, builder: Builder, found: Found, node: Node) -> bytes | None:
        """What stands for a name that is state; None if it is none."""
        if found.owner is None or not found.key:
            return None
        key = (id(found.owner), found.key)
        self.read[key] = found
        return first_seen(builder, found, node) if key in self.names else None

    def note_rebinds(self, unit: Unit, template: Template, around: Surroundings) -> None:
        """What the code of `unit` rebinds, as far as it can be told."""
        for rebinding in template.rebinds:
            key = _target(rebinding, around)
            if key is not None:
                (unit.rebinds if rebinding.name else unit.fills).add(key)

    def found_in(self, units: list[Unit]) -> frozenset[Key]:
        """What is state for a closure of these units, besides what is known to be."""
        rebound = {key for unit in units for key in unit.rebinds if key in self.read}
        filled = {key for unit in units for key in unit.fills if key in self.read}
        return self.names | rebound | {key for key in filled if is_cache(self.read[key])}


def _target(rebinding: Rebinding, around: Surroundings) -> Key | None:
    if rebinding.base is None:
        if rebinding.name in around.cells:
            return None  # `nonlocal`: of one closure, which is made anew where it is needed
        return id(around.globals), rebinding.name
    base = resolve(rebinding.base, around)
    if not isinstance(base, Found) or base.rest:
        return None
    if not rebinding.name:
        return (id(base.owner), base.key) if base.owner is not None and base.key else None
    held = vars(base.value) if hasattr(base.value, "__spec__") else base.value
    return id(held), rebinding.name


def first_seen(builder: Builder, found: Found, node: Node) -> bytes:
    """What stands for a value that is state; empty where it was not there at first."""
    key = (id(found.owner), found.key)
    said = _initial_text(found)
    with guard:
        known = _first_seen.get(key)
        if known is None or known[0]() is not found.owner or known[1] != said:
            known = _first_seen[key] = (_reference(found.owner), said, _value(builder, found))
    if found.value is not ABSENT:
        node.states.append((key, found.name))
    return b"" if known[2] == _NOT_THERE else tag("state") + known[2]


def is_cache(found: Found) -> bool:
    """Whether a container that code fills was empty when this process first looked.

    One that was not, or that holds functions and classes, is a registry: its content counts.
    """
    value = found.value
    if not isinstance(value, dict | list | set | deque):
        return False
    key = (id(found.owner), found.key)
    said = _initial_text(found)
    with guard:
        known = _first_empty.get(key)
        if known is None or known[0]() is not found.owner or known[1] != said:
            known = _first_empty[key] = (_reference(found.owner), said, not value)
    held = value.values() if isinstance(value, dict) else value
    return known[2] and not any(callable(item) for item in held)


def described(name: str) -> str:
    return (
        f"{name} is rebound by the code that reads it: it is state, and counts as it was when "
        "this process first looked"
    )


def _reference(owner: Any) -> Callable[[], Any]:
    """Weak where that is possible; the dictionary of a module is none of these."""
    try:
        return weakref.ref(owner)
    except TypeError:
        return lambda: owner


def _value(builder: Builder, found: Found) -> bytes:
    from druse.fingerprint.builder import Builder as Fresh
    from druse.fingerprint.builder import check, reached

    if found.value is ABSENT:
        return _NOT_THERE
    node = Fresh(builder.packages, State(frozenset())).node(found.value, found.name)
    settle(node)
    try:
        check(reached(node))
    except Unhashable:
        return b"?"
    return standing(node)


def _initial_text(found: Found) -> bytes:
    """What the module's text binds the name to; nothing where that cannot be told."""
    if type(found.owner) is not dict:
        return b""
    file = found.owner.get("__file__")
    source = source_of(file, found.owner) if isinstance(file, str) else None
    if source is None:
        return b""
    try:
        statements = [s for s in source.tree.body if _binds(s, found.key)]
    except (SyntaxError, ValueError, RecursionError):
        return b""
    return digest_of("\n".join(ast.dump(s) for s in statements).encode("utf-8", "surrogatepass"))


def _binds(statement: ast.stmt, name: str) -> bool:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return statement.name == name
    return any(
        isinstance(node, ast.Name) and node.id == name and not isinstance(node.ctx, ast.Load)
        for node in ast.walk(statement)
    )
