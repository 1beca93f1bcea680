"""Normalised syntax, on code that others wrote: the standard library's."""

from __future__ import annotations

import argparse
import ast
import asyncio.tasks
import dataclasses
import dis
import functools
import heapq
import inspect
import textwrap
import typing
from collections.abc import Callable, Iterator
from types import CodeType, ModuleType
from typing import Any

import pytest

from druse.fingerprint.syntax import function_template

MODULES = [argparse, asyncio.tasks, dataclasses, functools, heapq, inspect, textwrap, typing]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def functions(tree: ast.AST) -> list[Any]:
    return [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]


def written(node: Any) -> list[Any]:
    """A template, without the lines of its references."""
    pieces = function_template(node).pieces
    return [p if isinstance(p, bytes) else p._replace(line=0) for p in pieces]


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_code_that_was_written_anew_from_its_tree_is_the_same(module: ModuleType) -> None:
    tree = ast.parse(inspect.getsource(module))
    again = ast.parse(ast.unparse(tree))  # other lines and quotes, no comments or parentheses
    for one, other in zip(functions(tree), functions(again), strict=True):
        assert written(one) == written(other), one.lineno


def replaced(node: ast.AST, name: str, value: Any) -> Callable[[], None]:
    old = getattr(node, name)
    setattr(node, name, value)
    return lambda: setattr(node, name, old)


def changed(node: ast.AST) -> Callable[[], None] | None:  # noqa: C901 - a table of kinds
    """Changes what a node does. Returns what undoes it; None where it does nothing else."""
    match node:
        case ast.Constant(value=bool(value)):
            return replaced(node, "value", not value)
        case ast.Constant(value=str(value)):
            return replaced(node, "value", value + "x")
        case ast.Constant(value=int(value) | float(value)):
            return replaced(node, "value", value + 1)
        case ast.Constant(value=None):
            return replaced(node, "value", 7)
        case ast.BinOp(op=op):
            return replaced(node, "op", ast.Sub() if not isinstance(op, ast.Sub) else ast.Add())
        case ast.BoolOp(op=op):
            return replaced(node, "op", ast.And() if isinstance(op, ast.Or) else ast.Or())
        case ast.UnaryOp(op=op):
            return replaced(node, "op", ast.USub() if isinstance(op, ast.Not) else ast.Not())
        case ast.Compare(ops=[first, *rest]):
            other = ast.Gt() if isinstance(first, ast.Lt) else ast.Lt()
            return replaced(node, "ops", [other, *rest])
        case ast.Attribute(attr=name):
            return replaced(node, "attr", name + "x")
        case ast.Name(id=name):
            return replaced(node, "id", name + "x")
        case ast.arg(arg=name) | ast.keyword(arg=str(name)):
            return replaced(node, "arg", name + "x")
        case ast.alias(name=name):
            return replaced(node, "name", name + "x")
        case ast.If() | ast.While() | ast.IfExp():
            return replaced(node, "test", ast.UnaryOp(ast.Not(), node.test))
        case ast.Call(args=[_, *rest]):
            return replaced(node, "args", rest)
        case ast.Return(value=ast.expr()):
            return replaced(node, "value", None)
        case ast.Slice(lower=ast.expr()):
            return replaced(node, "lower", None)
        case ast.List(elts=[_, *rest]) | ast.Tuple(elts=[_, *rest]):
            return replaced(node, "elts", rest)
    return None


def without_effect(function: Any) -> set[int]:
    """Nodes of a function that do not count, or count by what the function object holds."""
    left_out = [*function.args.defaults, *function.args.kw_defaults]
    left_out += getattr(function, "decorator_list", [])
    for node in ast.walk(function):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            left_out.append(node)
        if isinstance(node, ast.AnnAssign):
            left_out.append(node.annotation)
    return {id(below) for node in left_out if node is not None for below in ast.walk(node)}


@pytest.mark.parametrize(
    "module", [dataclasses, functools, heapq, textwrap], ids=lambda m: m.__name__
)
def test_every_change_of_what_code_does_shows(module: ModuleType) -> None:
    tried = 0
    for function in functions(ast.parse(inspect.getsource(module))):
        before, skipped = written(function), without_effect(function)
        for node in [n for n in ast.walk(function) if id(n) not in skipped][::7]:
            undo = changed(node)
            if undo is not None:
                tried += 1
                assert written(function) != before, ast.dump(node)[:200]
                undo()
    assert tried > 20


def codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from codes(const)


def global_names(code: CodeType) -> set[str]:
    """The names that a function reads from outside, as the compiler has it."""
    loads = (i for c in codes(code) for i in dis.get_instructions(c) if i.opname == "LOAD_GLOBAL")
    return {i.argval for i in loads} | set(code.co_freevars) - {"__class__"}


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_names_from_outside_are_those_that_the_compiler_finds(module: ModuleType) -> None:
    text = inspect.getsource(module)
    found: dict[tuple[str, int], list[CodeType]] = {}
    for code in codes(compile(text, module.__name__, "exec", dont_inherit=True)):
        found.setdefault((code.co_name, code.co_firstlineno), []).append(code)
    for node in functions(ast.parse(text)):
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        same = found.get((getattr(node, "name", ""), first), [])
        if len(same) != 1:
            continue
        template = function_template(node)
        refs = [p for p in template.pieces if not isinstance(p, bytes) and p.kind == "outer"]
        assigned = {r.name for r in template.rebinds if r.base is None}  # `nonlocal`, only written
        needed = {name for name in global_names(same[0]) if "__" not in name}
        assert needed - assigned <= {r.name for r in refs}, node.name
        sure = {r.name for r in refs if not r.annotation and not r.optional}
        assert sure - global_names(same[0]) <= {"__class__", "_py__get_event_loop"}, node.name
