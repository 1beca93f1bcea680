"""Normalised syntax: a tree as canonical bytes, with references in place of the names it reads.

Dropped: positions, comments, formatting, docstrings and bare constants, `pass`, the annotations of
local variables, the name of the function itself. Local names and parameters' names count. Names
from outside do not: each becomes a reference, resolved to what it means when a key is made.
A field that a node leaves empty is left out, so that fields which a later Python adds, and which
this code does not use, change nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from druse.fingerprint.encoding import tag
from druse.fingerprint.sources import FunctionNode
from druse.fingerprint.template import Template
from druse.fingerprint.visitors import annotation, document, parameters, type_parameters
from druse.fingerprint.writer import Writer


def function_template(node: FunctionNode) -> Template:
    """Of a function: without its name, its decorators, and the defaults of its parameters.

    These are what they are at run time: the object tells.
    """
    writer = Writer()
    writer.out.append(tag(type(node).__name__))
    scope = writer.push("function")
    parameters(writer, node.args)
    if isinstance(node, ast.Lambda):
        writer.visit(node.body)
    else:
        if node.returns is not None:
            annotation(writer, node.returns)
        type_parameters(writer, node)
        document(writer, node)
        writer.body(node.body)
    writer.pop(scope)
    return writer.template()


def statements_template(statements: Iterable[ast.stmt]) -> Template:
    """Of statements of a module; the names that they bind count as they are."""
    writer = Writer()
    scope = writer.push("module")
    writer.body(list(statements))
    writer.pop(scope)
    return writer.template()


def class_template(node: ast.ClassDef) -> Template:
    """Of a class: the annotations in its body, which no attribute tells completely."""
    writer = Writer()
    scope = writer.push("module")
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign):
            writer.out.append(tag("field"))
            writer.visit(statement.target)
            annotation(writer, statement.annotation, whole=True)
    writer.pop(scope)
    return writer.template()
