"""What methods do with the attributes of their own object: which they rebind, and how.

`self.calls += 1` and `if self._data is None: self._data = load()` make state: what becomes of the
attribute follows from the code and its first value. Any other assignment outside of a constructor
may set what counts, as `fit` does.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Final

from druse.fingerprint.locate import NoSource, definition_of
from druse.fingerprint.packages import origin_of_module
from druse.fingerprint.proxies import is_function
from druse.fingerprint.sources import FunctionNode
from druse.fingerprint.template import FILLING

_CONSTRUCTORS: Final = frozenset(
    {"__init__", "__new__", "__post_init__", "__setstate__", "__attrs_post_init__", "__set_name__"}
)
_TAKING_CLASS: Final = frozenset({"__new__", "__init_subclass__", "__class_getitem__"})
_LEAVING: Final = (ast.Return, ast.Raise, ast.Continue, ast.Break)


@dataclass(frozen=True, slots=True)
class Rebound:
    """`kind`: fixed (to a constant), counted (`+=`), guarded (if it is not there yet) or set;

    filled (in place); class (of the object's class, not of the object).
    """

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class OwnNames:
    rebound: frozenset[Rebound]
    mentioned: frozenset[str]


@dataclass(frozen=True, slots=True)
class States:
    """Names of attributes: rebound ones, and containers that are only filled."""

    rebound: frozenset[str]
    filled: frozenset[str]


NO_STATES: Final = States(frozenset(), frozenset())


def counters_and_caches(cls: type) -> States:
    """Attributes of instances that are state whoever holds them."""
    kinds: dict[str, set[str]] = {}
    for name, own in _methods(cls):
        of_method = _first_kinds(own) if name in _CONSTRUCTORS else _later_kinds(own)
        for attribute, kind in of_method:
            kinds.setdefault(attribute, set()).add(kind)
    own_doing = {n: k for n, k in kinds.items() if not {"first:set", "later:set"} & k}
    rebound = {n for n, k in own_doing.items() if {"later:counted", "later:guarded"} & k}
    filled = {n for n, k in own_doing.items() if "later:filled" in k}
    return States(frozenset(rebound), frozenset(filled - rebound))


def rebound_when_called(cls: type, entry: str | None = None) -> States:
    """Attributes that an instance rebinds itself once it is used as a step, a hook or the like.

    Used are its special methods, those that the classes of a package know it by, and what these
    use; a method that only the user calls beforehand is not.
    """
    methods = _methods(cls)
    known = {name for name, _ in methods} - _CONSTRUCTORS
    used = {name for name in known if name == entry or _is_entry(cls, name)}
    while True:
        below = {n for name, own in methods if name in used for n in own.mentioned}
        if below & known <= used:
            break
        used |= below & known
    kinds = [pair for name, own in methods if name in used for pair in _later_kinds(own)]
    given = {
        attribute
        for name, own in methods
        if name in _CONSTRUCTORS
        for attribute, kind in _first_kinds(own)
        if kind == "first:set"
    }
    rebound = {attribute for attribute, kind in kinds if kind != "later:filled"} - given
    filled = {attribute for attribute, kind in kinds if kind == "later:filled"} - given - rebound
    return States(frozenset(rebound), frozenset(filled))


def rebound_of_class(cls: type) -> States:
    """Attributes of a class that its own methods rebind: `cls.x = ...`, `type(self).n += 1`."""
    rebound: set[Rebound] = set()
    for value in vars(cls).values():
        function = getattr(value, "__func__", value)
        if not is_function(function):
            continue
        is_of_class = function is not value or function.__name__ in _TAKING_CLASS
        takes_class = is_of_class or issubclass(cls, type)
        if takes_class or not {"type", "__class__"}.isdisjoint(function.__code__.co_names):
            definition = definition_of(function)
            if not isinstance(definition, NoSource):
                found = own_names(definition).rebound
                rebound |= {r for r in found if takes_class or r.kind == "class"}
    names = frozenset(r.name for r in rebound if r.kind != "filled")
    return States(names, frozenset(r.name for r in rebound if r.kind == "filled") - names)


def _first_kinds(own: OwnNames) -> Iterator[tuple[str, str]]:
    for rebound in own.rebound:
        if rebound.kind != "class":
            is_fixed = rebound.kind in ("fixed", "filled")
            yield rebound.name, "first:fixed" if is_fixed else "first:set"


def _later_kinds(own: OwnNames) -> Iterator[tuple[str, str]]:
    for rebound in own.rebound:
        if rebound.kind != "class":
            yield rebound.name, "later:" + ("set" if rebound.kind == "fixed" else rebound.kind)


def _is_entry(cls: type, name: str) -> bool:
    if name.startswith("__") and name.endswith("__"):
        return True
    others = (base for base in cls.__mro__ if not origin_of_module(base.__module__).is_user)
    return any(name in vars(base) for base in others)


def _methods(cls: type) -> list[tuple[str, OwnNames]]:
    """The methods that users wrote, by name; a base's too, where they are overridden."""
    found = []
    for base in cls.__mro__:
        if not origin_of_module(base.__module__).is_user:
            continue
        for name, value in vars(base).items():
            for function in _functions_in(value):
                definition = definition_of(function)
                if not isinstance(definition, NoSource):
                    found.append((name, own_names(definition)))
    return found


def _functions_in(value: Any) -> list[FunctionType]:
    if isinstance(value, property):
        return [f for f in (value.fget, value.fset) if is_function(f)]
    value = getattr(value, "func", value)  # a cached property
    while hasattr(value, "__wrapped__"):
        value = value.__wrapped__
    return [value] if is_function(value) else []


def own_names(node: FunctionNode) -> OwnNames:
    """What a method rebinds and mentions of its first parameter."""
    parameters = [*node.args.posonlyargs, *node.args.args]
    if not parameters or isinstance(node, ast.Lambda):
        return OwnNames(frozenset(), frozenset())
    reader = _Reader(parameters[0].arg)
    reader.body(node.body, frozenset())
    return OwnNames(frozenset(reader.rebound), frozenset(reader.mentioned))


class _Reader:
    def __init__(self, owner: str) -> None:
        self._owner = owner
        self.rebound: set[Rebound] = set()
        self.mentioned: set[str] = set()

    def body(self, statements: list[ast.stmt], guarded: frozenset[str]) -> None:
        for statement in statements:
            tested = self._tested(statement)
            self._statement(statement, guarded | tested)
            if (
                tested
                and isinstance(statement, ast.If)
                and isinstance(statement.body[-1], _LEAVING)
            ):
                guarded |= tested  # `if self.x is not None: return self.x`

    def _statement(self, statement: ast.stmt, guarded: frozenset[str]) -> None:
        for node in _own_expressions(statement):
            for each in ast.walk(node):
                self._note(each, statement, guarded)
        for name in ("body", "orelse", "finalbody"):
            below = getattr(statement, name, None)
            if isinstance(below, list):
                self.body(below, guarded)
        for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
            self.body(part.body, guarded)

    def _note(self, node: ast.AST, statement: ast.stmt, guarded: frozenset[str]) -> None:
        filled = self._filled(node)
        if filled is not None:
            self.rebound.add(Rebound(filled, "filled"))
        if not isinstance(node, ast.Attribute):
            return
        name = self._attribute(node)
        if name is None:
            if not isinstance(node.ctx, ast.Load) and self._is_own_class(node.value):
                self.rebound.add(Rebound(node.attr, "class"))
        elif isinstance(node.ctx, ast.Load):
            self.mentioned.add(name)
        else:
            self.rebound.add(Rebound(name, self._kind(name, statement, guarded)))

    def _filled(self, node: ast.AST) -> str | None:
        """The attribute that `self.x[...] = ...` or `self.x.append(...)` changes in place."""
        if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            return self._attribute(node.value)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            return self._attribute(node.func.value) if node.func.attr in FILLING else None
        return None

    def _is_own_class(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Call) and len(node.args) == 1:  # type(self)
            is_type = isinstance(node.func, ast.Name) and node.func.id == "type"
            argument = node.args[0]
            return is_type and isinstance(argument, ast.Name) and argument.id == self._owner
        return self._attribute(node) == "__class__"

    def _kind(self, name: str, statement: ast.stmt, guarded: frozenset[str]) -> str:
        if isinstance(statement, ast.AugAssign):
            return "counted"
        if name in guarded:
            return "guarded"
        value = getattr(statement, "value", None)
        is_plain = isinstance(statement, ast.Assign | ast.AnnAssign) and value is not None
        return "fixed" if is_plain and _is_fixed(value) else "set"

    def _attribute(self, node: ast.AST) -> str | None:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            return node.attr if node.value.id == self._owner else None
        return None

    def _tested(self, statement: ast.stmt) -> frozenset[str]:
        """The attributes of which an `if` asks whether they are there."""
        if not isinstance(statement, ast.If):
            return frozenset()
        found = {self._attribute(node) for node in ast.walk(statement.test)}
        for node in ast.walk(statement.test):
            if isinstance(node, ast.Call) and len(node.args) > 1:  # hasattr(self, "x")
                first, second = node.args[:2]
                if isinstance(first, ast.Name) and first.id == self._owner:
                    found.add(str(second.value) if isinstance(second, ast.Constant) else None)
        return frozenset(name for name in found if name is not None)


def _own_expressions(statement: ast.stmt) -> Iterator[ast.AST]:
    """A statement's parts that are no statements."""
    for _, value in ast.iter_fields(statement):
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.AST) and not isinstance(
                node, ast.stmt | ast.ExceptHandler | ast.match_case
            ):
                yield node


def _is_fixed(value: Any) -> bool:
    """Whether an expression gives the same whatever the constructor was given."""
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        return value.func.id in ("dict", "list", "set") and not value.args and not value.keywords
    try:
        ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True
