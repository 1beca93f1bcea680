"""From a code object to the definition in its source that it comes from."""

from __future__ import annotations

import ast
import weakref
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from druse.fingerprint.compiled import unchanged_since_start
from druse.fingerprint.proxies import is_function
from druse.fingerprint.sources import FunctionNode, Source, guard, source_of
from druse.fingerprint.syntax import class_template, function_template
from druse.fingerprint.template import Template


@dataclass(frozen=True, slots=True)
class NoSource:
    """Why a function's code cannot be read; it runs uncached."""

    reason: str


@dataclass(slots=True)
class _Known:
    code: weakref.ref[CodeType]
    definition: FunctionNode
    template: Template | None = None


_known: dict[int, _Known] = {}


def template_of(function: FunctionType) -> Template | NoSource:
    """The template of a function, made once per code object."""
    with guard:
        known = _locate(function)
        if isinstance(known, NoSource):
            return known
        if known.template is None:
            known.template = function_template(known.definition)
        return known.template


def definition_of(function: FunctionType) -> FunctionNode | NoSource:
    """The definition of a function in its source."""
    with guard:
        known = _locate(function)
        return known if isinstance(known, NoSource) else known.definition


def _locate(function: FunctionType) -> _Known | NoSource:
    """What was found once holds, whatever became of the file since."""
    code = function.__code__
    known = _known.get(id(code))
    if known is not None and known.code() is code:
        return known
    found = _find(code, source_of(code.co_filename, function.__globals__))
    if isinstance(found, NoSource):
        return found
    known = _known[id(code)] = _Known(weakref.ref(code), found)
    return known


def _find(code: CodeType, source: Source | None) -> FunctionNode | NoSource:
    name = code.co_qualname
    if source is None:
        return NoSource(f"{name}: its source is not to be had ({code.co_filename})")
    try:
        candidates = [node for node in source.functions(code) if _may_be(node, code)]
    except (SyntaxError, ValueError, RecursionError) as error:
        return NoSource(f"{name}: {source.file} cannot be parsed ({error})")
    if not source.holds(code) and not _trusted(source, candidates):
        # On Python 3.13, "<string>" is what `python -c` was given, while this came from an `exec`.
        why = (
            "its source is not to be had"
            if source.file == "<string>"
            else f"{source.file} has changed since it was imported, or is not what was imported"
        )
        return NoSource(f"{name}: {why}")
    if len(candidates) > 1 and code.co_name == "<lambda>":
        candidates = _by_position(candidates, code)
    if not candidates:
        return NoSource(f"{name}: not found in {source.file}")
    if len(candidates) > 1 and len({_shape(node) for node in candidates}) > 1:
        return NoSource(
            f"{name}: {source.file}:{code.co_firstlineno} holds several that cannot be told apart; "
            "put them on lines of their own"
        )
    return candidates[0]


def _trusted(source: Source, candidates: list[FunctionNode]) -> bool:
    """A tool may rewrite code while it imports it; then the file at least must be as it was."""
    if not candidates:
        return False
    return unchanged_since_start(source.file) if source.on_disk else source.file != "<string>"


def _may_be(node: FunctionNode, code: CodeType) -> bool:
    args = node.args
    named = tuple([arg.arg for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs)])
    own = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return named == own or (
        len(named) == len(own) and all(b.endswith(a) for a, b in zip(named, own, strict=True))
    )


def _shape(node: FunctionNode) -> str:
    return ast.dump(node)


def _by_position(candidates: list[FunctionNode], code: CodeType) -> list[FunctionNode]:
    """Lambdas whose body holds every instruction; of these the innermost."""
    spans = [
        (start, end, column, end_column)
        for start, end, column, end_column in code.co_positions()
        if start and end and column is not None and end_column
    ]
    if not spans:
        return candidates
    first = min((start, column) for start, _, column, _ in spans)
    last = max((end, end_column) for _, end, _, end_column in spans)
    holding = [node for node in candidates if _begin(node) <= first and last <= _end(node)]
    if not holding:
        return []
    innermost = min(holding, key=lambda n: (_negated(_begin(n)), _end(n)))
    return [innermost]


def _begin(node: Any) -> tuple[int, int]:
    return node.body.lineno, node.body.col_offset


def _end(node: Any) -> tuple[int, int]:
    return node.body.end_lineno, node.body.end_col_offset


def _negated(place: tuple[int, int]) -> tuple[int, int]:
    return -place[0], -place[1]


def class_node(cls: type) -> tuple[Source, ast.ClassDef] | None:
    """The definition of a class; None where there is none, or several that may be it."""
    for file, module_globals in _files_of(cls):
        source = source_of(file, module_globals)
        if source is None:
            continue
        try:
            nodes = source.classes(cls.__qualname__)
        except (SyntaxError, ValueError, RecursionError):
            continue
        if len(nodes) > 1:
            nodes = [node for node in nodes if _has_methods(node, cls)]
        if len(nodes) == 1:
            return source, nodes[0]
    return None


def class_annotations(cls: type) -> Template | None:
    found = class_node(cls)
    return None if found is None else class_template(found[1])


def _files_of(cls: type) -> list[tuple[str, dict[str, Any] | None]]:
    """Where a class may be defined: where its functions are, and its module's file."""
    import sys

    module = sys.modules.get(cls.__module__)
    files: dict[str, dict[str, Any] | None] = {}
    for value in vars(cls).values():
        function = getattr(value, "__func__", getattr(value, "fget", value))
        if is_function(function) and function.__qualname__.startswith(cls.__qualname__ + "."):
            files.setdefault(function.__code__.co_filename, function.__globals__)
    own = getattr(module, "__file__", None)
    if isinstance(own, str) and not files:
        files[own] = vars(module)
    return list(files.items())


def _has_methods(node: ast.ClassDef, cls: type) -> bool:
    """Whether the class's functions lie within the definition."""
    lines = [value.__code__.co_firstlineno for value in vars(cls).values() if is_function(value)]
    end = node.end_lineno or node.lineno
    return bool(lines) and all(node.lineno <= line <= end for line in lines)
