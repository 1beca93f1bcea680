"""Source text of what is loaded: files, and the cells of a notebook.

Parsed once per process and state of the file, and compared with what is loaded (`compiled`).
"""

from __future__ import annotations

import ast
import linecache
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

from druse.collecting import uncollected
from druse.fingerprint import compiled

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_DEFINITIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(slots=True)
class Source:
    """One file, or cell, in one state."""

    file: str
    text: bytes
    on_disk: bool
    is_older: bool  # than the process, so that it is what was imported
    was_executed: bool = False  # as this process knows, having done it
    _tree: ast.Module | None = None
    _functions: dict[tuple[str, int], list[FunctionNode]] = field(default_factory=dict)
    _classes: dict[str, list[ast.ClassDef]] = field(default_factory=dict)
    _lambdas: dict[int, list[ast.Lambda]] | None = None
    _codes: frozenset[CodeType] | None = None

    @property
    def tree(self) -> ast.Module:
        """Raises SyntaxError, ValueError."""
        if self._tree is None:
            self._tree = ast.parse(self.text)
            self._index(self._tree.body, "")
        return self._tree

    def functions(self, code: CodeType) -> list[FunctionNode]:
        """The definitions that `code` may come from."""
        tree = self.tree
        if code.co_name != "<lambda>":
            return self._functions.get((code.co_name, code.co_firstlineno), [])
        if self._lambdas is None:
            self._lambdas = {}
            for node in ast.walk(tree):
                if isinstance(node, ast.Lambda):
                    self._lambdas.setdefault(node.lineno, []).append(node)
        return list(self._lambdas.get(code.co_firstlineno, []))

    def classes(self, qualname: str) -> list[ast.ClassDef]:
        return self._classes.get(qualname, []) if self.tree else []

    def holds(self, code: CodeType) -> bool:
        """Whether the text is what `code` was compiled from."""
        if self.is_older:
            return True
        if self._codes is None:
            self._codes = compiled.codes(self.file, self.text)
        return code in self._codes

    def says(self, module: ModuleType) -> bool:
        """Whether the text is that of a module that is loaded, as far as its functions show."""
        codes = list(_codes(module, self.file))
        if all(self.holds(code) for code in codes) and (codes or self.was_executed):
            return True
        # Some tool may have rewritten the code while it was imported.
        return not self.on_disk or compiled.unchanged_since_start(self.file)

    def _index(self, body: list[Any], prefix: str) -> None:
        for node in body:
            inner = prefix
            if isinstance(node, _DEFINITIONS):
                first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                self._functions.setdefault((node.name, first), []).append(node)
                inner = f"{prefix}{node.name}.<locals>."
            elif isinstance(node, ast.ClassDef):
                self._classes.setdefault(prefix + node.name, []).append(node)
                inner = f"{prefix}{node.name}."
            for name in ("body", "orelse", "finalbody", "handlers", "cases"):
                below = getattr(node, name, None)
                if type(below) is list:
                    self._index(below, inner)


_known: dict[str, tuple[Any, Source | None]] = {}
_executed: dict[str, bytes] = {}
_looked_at: set[str] = set()  # while a block of `one_look` is open
_blocks: list[bool] = []
guard: Final = threading.RLock()  # of all that the process remembers about code


def source_of(file: str, module_globals: dict[str, Any] | None) -> Source | None:
    """The source of a file or cell as it is now; None where there is none to be had."""
    with guard:
        if file in _looked_at:
            return _known[file][1]
        state = _state(file)
        known = _known.get(file)
        if _blocks:
            _looked_at.add(file)
        if known is not None and known[0] == state:
            return known[1]
        source = _read(file, state, module_globals)
        _known[file] = (state, source)
        return source


def known_files() -> frozenset[str]:
    """The files that have been asked for."""
    with guard:
        return frozenset(_known)


@contextmanager
def one_look() -> Iterator[None]:
    """Within the block, a file that was looked at is not looked at again; nor is garbage sought."""
    with guard:
        if _blocks:  # within another one
            yield
            return
        _blocks.append(True)
        try:
            with uncollected():
                yield
        finally:
            _blocks.clear()
            _looked_at.clear()


def _codes(module: ModuleType, file: str) -> Iterator[CodeType]:
    for value in list(vars(module).values()):
        members: list[Any] = [value]
        if isinstance(value, type) and value.__module__ == module.__name__:
            members += vars(value).values()
        for member in members:
            function = getattr(member, "__func__", getattr(member, "fget", member))
            while isinstance(function, FunctionType):
                if function.__code__.co_filename == file:
                    yield function.__code__
                function = getattr(function, "__wrapped__", None)


def _state(file: str) -> Any:
    """What changes when the text does."""
    try:
        stat = Path(file).stat()
    except (OSError, ValueError):
        entry = linecache.cache.get(file)
        return None if entry is None else (id(entry), entry[0])
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def executed(file: str, text: bytes) -> None:
    """Notes what was executed of a file, in whatever state the file is by the time it is read."""
    with guard:
        _executed[file] = text
        _known.pop(file, None)


def _read(file: str, state: Any, module_globals: dict[str, Any] | None) -> Source | None:
    if file in _executed:
        return Source(file, _executed[file], True, False, was_executed=True)
    if type(state) is tuple and len(state) == 4:
        try:
            text = Path(file).read_bytes()
        except OSError:
            return None
        older = compiled.unchanged_since_start(file) and not compiled.outdated_compilation(file)
        return Source(file, text, True, older)
    lines = linecache.getlines(file, module_globals)
    return Source(file, "".join(lines).encode("utf-8", "replace"), False, False) if lines else None
