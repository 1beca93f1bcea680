"""Calls that import a module whose name they spell out: they mean what the statement does."""

from __future__ import annotations

import ast
from importlib.util import resolve_name
from typing import Final

from druse.fingerprint.template import IMPORT, Ref

_TOP: Final = "__import__"  # gives `a` for "a.b"
_CALLS: Final = frozenset({"import_module", _TOP})


def imported(node: ast.AST) -> tuple[ast.Call, Ref] | None:
    """`import_module("m")`, or attributes of it: the call, and what it all refers to."""
    chain: list[str] = []
    while isinstance(node, ast.Attribute):
        chain.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Call):
        return None
    called = _last_name(node.func)
    if called not in _CALLS:
        return None
    found = _module(node)
    if found is None or (called == _TOP and found[1]):
        return None
    name, level = found
    ref = Ref(IMPORT, name, tuple(reversed(chain)), node.lineno, module=name, level=level)
    return node, ref._replace(top=called == _TOP)


def _last_name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Attribute):
        return node.attr if isinstance(node.value, ast.Name) else None
    return node.id if isinstance(node, ast.Name) else None


def _module(call: ast.Call) -> tuple[str, int] | None:
    """The module's name, and how many packages up it is looked for; None where it is computed."""
    arguments = list(call.args)
    for keyword in call.keywords:
        if keyword.arg != ("name", "package")[min(len(arguments), 1)]:
            return None
        arguments.append(keyword.value)
    name = _text(arguments[0]) if arguments else None
    if not name or len(arguments) != (2 if name.startswith(".") else 1):
        return None
    return _relative(name, arguments[1]) if name.startswith(".") else (name, 0)


def _relative(name: str, package: ast.expr) -> tuple[str, int] | None:
    if isinstance(package, ast.Name) and package.id == "__package__":
        rest = name.lstrip(".")
        return rest, len(name) - len(rest)
    try:
        return resolve_name(name, _text(package) or ""), 0
    except ImportError:
        return None


def _text(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
