"""Code that keeps what it makes, and what was opened while it made it.

What `lru_cache`, a lazy global or an attribute of a step keeps is read from memory by every later
cell of the process, without a file being opened again: the file counts for these cells too.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Iterable, Iterator
from types import CodeType, FrameType
from typing import Any

from druse_store import Digest

Seen = dict[str, "Digest | None"]

_CHANGING = frozenset(
    {
        *("add", "append", "appendleft", "extend", "insert", "put", "push"),
        *("set", "setdefault", "update", "__setitem__"),
    }
)
_KEEPING = ("cache", "memo", "lazy", "once", "singleton")
_MODULE = "<module>"
_DEPTH = 200

_by_code: dict[CodeType, bool] = {}
_kept: dict[str, Seen] = {}


def keeper(frame: FrameType | None, ours: str) -> str | None:
    """The outermost function on the stack that keeps what it makes, up to a file in `ours`.

    By its first name: `Reader.rows` and `Reader.open` are both of `Reader`.
    """
    found = None
    for _ in range(_DEPTH):
        if frame is None or frame.f_code.co_filename.startswith(ours):
            break
        code = frame.f_code
        known = _by_code.get(code)
        if known is None:
            known = _by_code[code] = _keeps(code, frame.f_globals)
        if known:
            found = code.co_qualname.partition(".")[0]
        frame = frame.f_back
    return found


def keep(name: str, key: str, digest: Digest | None) -> None:
    """Notes what was read while the function of this name ran."""
    _kept.setdefault(name, {})[key] = digest


def is_anything_kept() -> bool:
    """Whether any function has read anything that it may keep."""
    return bool(_kept)


def kept(names: frozenset[str] | None) -> Iterable[tuple[str, Digest | None]]:
    """What these functions (None: any), and modules when imported, have read in this process."""
    return _kept_by(names) if _kept else ()


def _kept_by(names: frozenset[str] | None) -> Iterator[tuple[str, Digest | None]]:
    for name, seen in list(_kept.items()):
        if names is None or name in names or name == _MODULE:
            yield from list(seen.items())


# --- which code keeps what it makes ----------------------------------------------------------


def _keeps(code: CodeType, module: dict[str, Any]) -> bool:
    if code.co_name == _MODULE:
        return True
    if _is_of_a_package(code.co_filename):
        return False
    if _is_cached(code, module):
        return True
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(code)))
    except (OSError, SyntaxError, TypeError):
        return True
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return not functions or any(_Body(each).keeps() for each in functions)


@functools.cache
def _is_of_a_package(file: str) -> bool:
    from druse.places import comes_with_python

    return file.startswith("<frozen") or comes_with_python(file)


def _is_cached(code: CodeType, module: dict[str, Any]) -> bool:
    kind = type(functools.lru_cache(_is_of_a_package))
    return any(
        isinstance(value, kind) and getattr(value.__wrapped__, "__code__", None) is code
        for value in list(module.values())
    )


class _Body:
    """One function: what is local to it, and what it changes that is not."""

    def __init__(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._node = node
        arguments = node.args
        plain = [*arguments.posonlyargs, *arguments.args]
        defaulted = {a.arg for a in plain[len(plain) - len(arguments.defaults) :]}
        defaulted |= {a.arg for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults) if d}  # noqa: B905 - they are of one length
        own = {plain[0].arg} & {"self", "cls"} if plain else set()
        self._shared = defaulted | own
        self._local = {a.arg for a in ast.walk(arguments) if isinstance(a, ast.arg)}
        self._outer: set[str] = set()
        for each in ast.walk(node):
            if isinstance(each, ast.Global | ast.Nonlocal):
                self._outer.update(each.names)
            elif isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
                self._local.add(each.id)
        self._local -= self._outer

    def keeps(self) -> bool:
        if any(_is_keeping(decorator) for decorator in self._node.decorator_list):
            return True
        return any(self._changes(each) for each in ast.walk(self._node))

    def _changes(self, node: ast.AST) -> bool:
        """Whether a node changes something that outlives the call."""
        if isinstance(node, ast.Name):
            return isinstance(node.ctx, ast.Store) and node.id in self._outer
        if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store):
            return self._outlives(node.value)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            return node.func.attr in _CHANGING and self._outlives(node.func.value)
        return False

    def _outlives(self, node: ast.expr) -> bool:
        while isinstance(node, ast.Attribute | ast.Subscript):
            node = node.value
        if not isinstance(node, ast.Name):
            return False
        return node.id in self._shared or node.id not in self._local


def _is_keeping(decorator: ast.expr) -> bool:
    text = ast.unparse(decorator).lower()
    return any(word in text for word in _KEEPING)
