"""Normalised syntax: a tree as canonical bytes, with references in place of the names it reads.

Dropped: positions, comments, formatting, docstrings and bare constants, `pass`, the annotations of
local variables, the name of the function itself. Local names and parameters' names count. Names
from outside do not: each becomes a reference, resolved to what it means when a key is made.
A field that a node leaves empty is left out, so that fields which a later Python adds, and which
this code does not use, change nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from druse.fingerprint.encoding import atom, integer, length, tag, text
from druse.fingerprint.scopes import Occurrence, Scope
from druse.fingerprint.template import IMPORT, OUTER, Call, Rebinding, Ref, Template

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_SKIPPED: Final = frozenset({"ctx", "type_comment", "kind", "type_ignores", "str"})
_REACHING: Final = frozenset(
    {"eval", "exec", "compile", "getattr", "__import__", "globals", "locals", "vars", "input"}
)
_NAME_ATTRIBUTES: Final = frozenset({"__name__", "__qualname__"})
_SOURCE_READERS: Final = frozenset({"getsource", "getsourcelines", "findsource"})


def function_template(node: FunctionNode) -> Template:
    """Of a function: without its name, its decorators, and the defaults of its parameters.

    These are what they are at run time: the object tells.
    """
    writer = _Writer()
    writer.out.append(tag(type(node).__name__))
    scope = writer.push("function")
    writer.parameters(node.args, with_defaults=False)
    if isinstance(node, ast.Lambda):
        writer.visit(node.body)
    else:
        if node.returns is not None:
            writer.annotation(node.returns)
        writer.type_parameters(node)
        writer.document(node)
        writer.body(node.body)
    writer.pop(scope)
    return writer.template()


def statements_template(statements: Iterable[ast.stmt]) -> Template:
    """Of statements of a module; the names that they bind count as they are."""
    writer = _Writer()
    scope = writer.push("module")
    writer.body(list(statements))
    writer.pop(scope)
    return writer.template()


def class_template(node: ast.ClassDef) -> Template:
    """Of a class: the annotations in its body, which no attribute tells completely."""
    writer = _Writer()
    scope = writer.push("module")
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign):
            writer.out.append(tag("field"))
            writer.visit(statement.target)
            writer.annotation(statement.annotation, whole=True)
    writer.pop(scope)
    template = writer.template()
    template.docs = list(filter(None, [ast.get_docstring(node, clean=False)]))
    return template


class _Writer:
    def __init__(self) -> None:
        self.out: list[Any] = []
        self._result = Template()
        self._scopes: list[Scope] = []
        self._extra: list[Occurrence] = []

    def template(self) -> Template:
        pieces: list[bytes | Ref] = []
        run: list[bytes] = []
        for piece in [*self.out, *(self._ref(seen) for seen in self._extra)]:
            if type(piece) is bytes:
                run.append(piece)
                continue
            if run:
                pieces.append(b"".join(run))
                run = []
            pieces.append(piece)
        if run:
            pieces.append(b"".join(run))
        self._result.pieces = pieces
        return self._result

    # --- scopes --------------------------------------------------------------------------------

    def push(self, kind: str) -> Scope:
        scope = Scope(kind)
        self._scopes.append(scope)
        return scope

    def pop(self, scope: Scope) -> None:
        """Decides what the names read in `scope` mean, or leaves it to the scope around."""
        self._scopes.pop()
        around = self._scopes[-1] if self._scopes else None
        for place in scope.told_by_use():
            self.out[place] = b""
        self._hand_on_rebinds(scope, around)
        for seen in scope.pending:
            if seen.name in scope.globals:
                self._outer(seen)
            elif scope.sees(seen):
                self._local(seen, scope)
                if scope.kind == "class":
                    self._hand_on(seen.again(), around)
            else:
                seen.direct = False
                self._hand_on(seen, around)

    def _hand_on(self, seen: Occurrence, around: Scope | None) -> None:
        if around is None:
            self._outer(seen)
        else:
            seen.direct = seen.direct or around.kind != "class"
            around.pending.append(seen)

    def _hand_on_rebinds(self, scope: Scope, around: Scope | None) -> None:
        """Assignments to attributes of what this scope does not bind itself."""
        for rebinding in scope.rebinds:
            base = rebinding.base
            assert base is not None
            if base.name in scope.globals or not scope.binds(base.name):
                (self._result if around is None else around).rebinds.append(rebinding)
            elif (found := scope.imported(base.name)) is not None:
                ref = replace(found.ref, chain=base.chain, line=base.line)
                self._result.rebinds.append(replace(rebinding, base=ref))

    def _outer(self, seen: Occurrence) -> None:
        if seen.index < 0:
            self._extra.append(seen)
        else:
            self.out[seen.index] = self._ref(seen)

    def _local(self, seen: Occurrence, scope: Scope) -> None:
        if seen.index < 0:
            return
        imported = scope.imported(seen.name)
        if imported is not None:
            self.out[seen.index] = imported.reading(seen)
        else:
            self.out[seen.index] = _local_name(seen.name) + _chain(seen.chain)

    def _ref(self, seen: Occurrence) -> Ref:
        return Ref(
            OUTER,
            seen.name,
            seen.chain,
            seen.line,
            annotation=seen.annotation,
            target=seen.target,
            optional=seen.index < 0,
        )

    def read(self, name: str, chain: tuple[str, ...], line: int, target: str = "") -> None:
        seen = Occurrence(len(self.out), name, chain, line, target=target)
        self.out.append(b"")
        self._scopes[-1].pending.append(seen)

    def bind(self, name: str) -> None:
        """A name is assigned, in this scope or where it is declared to be."""
        scope = self._scopes[-1]
        if name in scope.globals or name in scope.nonlocals:
            self.out.append(b"g" + text(name))
            self._result.rebinds.append(Rebinding(None, name, 0))
        else:
            scope.bind(name)
            self.out.append(_local_name(name))

    # --- nodes ---------------------------------------------------------------------------------

    def visit(self, node: ast.AST) -> None:
        kind = type(node)
        special = _VISITORS.get(kind)
        if special is not None:
            special(self, node)
        else:
            self.out.append(_shape(kind).head)
            self.fields(node)

    def fields(self, node: ast.AST) -> None:
        """The fields that are not empty, each with its name."""
        out = self.out
        for name, head in _shape(type(node)).fields:
            value = getattr(node, name, None)
            if value is None or value == []:
                continue
            out.append(head)
            if isinstance(value, ast.AST):
                self.visit(value)
            elif type(value) is not list:
                out.append(_plain(value))
            elif isinstance(value[0], ast.stmt):
                self.body(value)
            else:
                self.sequence(value)
        out.append(b";")

    def sequence(self, nodes: list[Any]) -> None:
        self.out.append(b"[" + length(len(nodes)))
        for node in nodes:
            if isinstance(node, ast.AST):
                self.visit(node)
            else:  # None: a key of `{**other}`; or a name
                self.out.append(_plain(node))

    def body(self, statements: list[ast.stmt]) -> None:
        """Statements, less those that do nothing."""
        self.out.append(b"{")
        for statement in statements:
            if not _does_nothing(statement) and not self._only_declares(statement):
                self.visit(statement)
        self.out.append(b"}")

    def _only_declares(self, statement: ast.stmt) -> bool:
        """`x: int` in a function says that x is local, and no more."""
        is_bare = isinstance(statement, ast.AnnAssign) and statement.value is None
        if not is_bare or self._scopes[-1].kind == "class":
            return False
        if isinstance(statement.target, ast.Name):  # type: ignore[attr-defined]
            self._scopes[-1].bind(statement.target.id)  # type: ignore[attr-defined]
        return True

    # --- names ---------------------------------------------------------------------------------

    def name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._result.reads_doc |= node.id == "__doc__"
            self.read(node.id, (), node.lineno)
        else:
            self.bind(node.id)

    def attribute(self, node: ast.Attribute) -> None:
        self._note_attribute(node.attr)
        if not isinstance(node.ctx, ast.Load):
            self.out.append(tag("Attribute="))
            base = _chain_of(node.value)
            if base is not None:
                ref = Ref(OUTER, base[0], base[1], node.lineno)
                self._scopes[-1].rebinds.append(Rebinding(ref, node.attr, node.lineno))
                self.read(base[0], base[1], node.lineno, target=node.attr)
            else:
                self.visit(node.value)
            self.out.append(text(node.attr))
            return
        chain = _chain_of(node)
        if chain is not None:
            for attribute in chain[1]:
                self._note_attribute(attribute)
            self.read(chain[0], chain[1], node.lineno)
            return
        self.out.append(tag("Attribute"))
        self.visit(node.value)
        self.out.append(text(node.attr))

    def _note_attribute(self, name: str) -> None:
        self._result.reads_doc |= name in ("__doc__", "getdoc")
        self._result.reads_names |= name in _NAME_ATTRIBUTES
        self._result.reads_source |= name in _SOURCE_READERS

    def constant(self, node: ast.Constant) -> None:
        if type(node.value) is str and node.value.startswith("__"):
            self._note_attribute(node.value)
        self.out.append(_plain(node.value))

    def augmented(self, node: ast.AugAssign) -> None:
        self.out.append(tag("AugAssign") + text(type(node.op).__name__))
        if not isinstance(node.target, ast.Subscript):  # it is read before it is assigned
            chain = _chain_of(node.target, ast.Store)
            if chain is not None:
                self.read(*chain, node.lineno)
        self.visit(node.target)
        self.visit(node.value)

    def annotated(self, node: ast.AnnAssign) -> None:
        """`x: int = 3` in a function is `x = 3`: nothing evaluates, or keeps, the annotation."""
        if self._scopes[-1].kind != "class":
            assert node.value is not None
            self.out.append(tag("Assign"))
            self.out.append(b":" + text("targets") + b"[" + length(1))
            self.visit(node.target)
            self.out.append(b":" + text("value"))
            self.visit(node.value)
            self.out.append(b";")
            return
        self.out.append(tag("AnnAssign"))
        self.visit(node.target)
        self.annotation(node.annotation)
        if node.value is not None:
            self.visit(node.value)
        self.out.append(b";")

    def declared(self, node: ast.Global | ast.Nonlocal) -> None:
        """Says nothing of its own: the names that it declares are encoded as what they are."""
        scope = self._scopes[-1]
        (scope.globals if isinstance(node, ast.Global) else scope.nonlocals).update(node.names)

    def call(self, node: ast.Call) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in _REACHING:
            attribute = _named_by_constant(node)
            self._result.calls.append(Call(name, attribute is None, node.lineno))
            if attribute is not None and name == "getattr":
                self._getattr(node, attribute)
                return
        self.out.append(_shape(ast.Call).head)
        self.fields(node)

    def _getattr(self, node: ast.Call, attribute: str) -> None:
        """`getattr(conf, "K")` means what `conf.K` does."""
        self.out.append(tag("getattr") + length(len(node.args)))
        self.visit(node.func)
        self.visit(ast.copy_location(ast.Attribute(node.args[0], attribute, ast.Load()), node))
        for default in node.args[2:]:
            self.visit(default)

    def joined(self, node: ast.JoinedStr) -> None:
        """An f-string, its literal pieces joined: how it is split differs between versions."""
        self.out.append(tag("JoinedStr"))
        literal = ""
        for piece in node.values:
            if isinstance(piece, ast.Constant):
                literal += str(piece.value)
                continue
            self.out.append(text(literal))
            literal = ""
            self.visit(piece)
        self.out.append(text(literal) + b";")

    # --- definitions ---------------------------------------------------------------------------

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.out.append(_shape(type(node)).head)
        self.sequence(node.decorator_list)
        self.bind(node.name)
        self._function(node)

    def lambda_(self, node: ast.Lambda) -> None:
        self.out.append(tag("Lambda"))
        self._function(node)

    def _function(self, node: FunctionNode) -> None:
        for default in [*node.args.defaults, *node.args.kw_defaults]:
            if default is None:
                self.out.append(b"N")
            else:
                self.visit(default)
        scope = self.push("function")
        self.parameters(node.args, with_defaults=True)
        if isinstance(node, ast.Lambda):
            self.visit(node.body)
        else:
            if node.returns is not None:
                self.annotation(node.returns)
            self.type_parameters(node)
            self.document(node)
            self.body(node.body)
        self.pop(scope)

    def parameters(self, args: ast.arguments, *, with_defaults: bool) -> None:
        if with_defaults:
            self.out.append(length(len(args.defaults)))
        for kind, group in (
            (b"/", args.posonlyargs),
            (b",", args.args),
            (b"*", [args.vararg] if args.vararg else []),
            (b"=", args.kwonlyargs),
            (b"**", [args.kwarg] if args.kwarg else []),
        ):
            for arg in group:
                self._scopes[-1].bind(arg.arg)
                self.out.append(kind + text(arg.arg))
                if arg.annotation is not None:
                    self.annotation(arg.annotation)
        self.out.append(b";")

    def type_parameters(self, node: ast.AST) -> None:
        for parameter in getattr(node, "type_params", ()):
            self._scopes[-1].bind(parameter.name)
            self.out.append(tag(type(parameter).__name__) + text(parameter.name))
            bound = getattr(parameter, "bound", None)
            if bound is not None:
                self.annotation(bound)

    def document(self, node: ast.AST) -> None:
        found = ast.get_docstring(node, clean=False)  # type: ignore[arg-type]
        if found is not None:
            self._result.docs.append(found)

    def class_(self, node: ast.ClassDef) -> None:
        self.out.append(tag("ClassDef"))
        self.sequence(node.decorator_list)
        self.sequence(node.bases)
        self.sequence(node.keywords)
        self.bind(node.name)
        scope = self.push("class")
        self.type_parameters(node)
        self.document(node)
        self.body(node.body)
        self.pop(scope)

    def comprehension(self, node: Any) -> None:
        """The first iterable is evaluated outside of the comprehension's own scope."""
        self.out.append(tag(type(node).__name__) + length(len(node.generators)))
        self.visit(node.generators[0].iter)
        scope = self.push("comprehension")
        for place, generator in enumerate(node.generators):
            self.out.append(integer(generator.is_async))
            self.visit(generator.target)
            if place:
                self.visit(generator.iter)
            self.sequence(generator.ifs)
        for name in ("key", "value", "elt"):
            if hasattr(node, name):
                self.visit(getattr(node, name))
        self.pop(scope)

    def walrus(self, node: ast.NamedExpr) -> None:
        """Binds in the function around, also from within a comprehension."""
        self.out.append(tag("NamedExpr") + text(node.target.id))
        for scope in reversed(self._scopes):
            if scope.kind != "comprehension":
                scope.bind(node.target.id)
                break
        self.visit(node.value)

    # --- other binders -------------------------------------------------------------------------

    def handler(self, node: ast.ExceptHandler) -> None:
        if node.name is not None:
            self._scopes[-1].bind(node.name)
        self.out.append(tag("ExceptHandler"))
        self.fields(node)

    def capture(self, node: Any) -> None:
        name = node.rest if isinstance(node, ast.MatchMapping) else node.name
        if name is not None:
            self._scopes[-1].bind(name)
        self.out.append(_shape(type(node)).head)
        self.fields(node)

    def imported(self, node: ast.Import | ast.ImportFrom) -> None:
        """Binds local names to what is imported; by itself it says nothing more."""
        scope = self._scopes[-1]
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            self.out.append(b"")
            if isinstance(node, ast.ImportFrom):
                module, level = node.module or "", node.level
                ref = Ref(
                    IMPORT, name, (), node.lineno, module=module, level=level, member=alias.name
                )
            else:
                ref = Ref(IMPORT, name, (), node.lineno, module=alias.name)
            top = isinstance(node, ast.Import) and alias.asname is None and "." in alias.name
            scope.import_(name, replace(ref, top=top), len(self.out) - 1)
            self.out[-1] = ref

    # --- annotations ---------------------------------------------------------------------------

    def annotation(self, node: ast.expr, *, whole: bool = False) -> None:
        """As text, except for user classes; `whole`: as any expression (a class's fields)."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            said = node.value
            try:
                node = ast.parse(said.strip(), mode="eval").body
            except (SyntaxError, ValueError):
                self.out.append(text(said))
                return
        if whole:
            self.visit(node)
            return
        before = len(self._scopes[-1].pending)
        self.visit(node)
        for seen in self._scopes[-1].pending[before:]:
            seen.annotation = True


_shapes: dict[type[ast.AST], _Shape] = {}


@lru_cache(4096)
def _local_name(name: str) -> bytes:
    return b"v" + text(name)


def _chain(names: tuple[str, ...]) -> bytes:
    return b"".join(b"." + text(name) for name in names)


def _named_by_constant(node: ast.Call) -> str | None:
    """The attribute that `getattr(x, "name")` reads."""
    if node.keywords or len(node.args) not in (2, 3):
        return None
    name = node.args[1]
    is_name = isinstance(name, ast.Constant) and isinstance(name.value, str)
    return str(name.value) if is_name else None  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class _Shape:
    """How a kind of node is written: its name, and its fields' names."""

    head: bytes
    fields: tuple[tuple[str, bytes], ...]


def _shape(kind: type[ast.AST]) -> _Shape:
    known = _shapes.get(kind)
    if known is None:
        known = _shapes[kind] = _make_shape(kind)
    return known


def _make_shape(kind: type[ast.AST]) -> _Shape:
    names = [name for name in kind._fields if name not in _SKIPPED]
    return _Shape(tag(kind.__name__), tuple((name, b":" + text(name)) for name in names))


def _plain(value: Any) -> bytes:
    encoded = atom(value)
    assert encoded is not None, value
    return encoded


def _does_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Pass)


def _chain_of(node: ast.AST, context: type = ast.Load) -> tuple[str, tuple[str, ...]] | None:
    """`a.b.c` as ("a", ("b", "c")); None where it does not begin with a name."""
    chain: list[str] = []
    while isinstance(node, ast.Attribute):
        chain.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load | context):
        return node.id, tuple(reversed(chain))
    return None


_VISITORS: Final[dict[type, Callable[[_Writer, Any], None]]] = {
    ast.Name: _Writer.name,
    ast.Attribute: _Writer.attribute,
    ast.Constant: _Writer.constant,
    ast.AugAssign: _Writer.augmented,
    ast.AnnAssign: _Writer.annotated,
    ast.Global: _Writer.declared,
    ast.Nonlocal: _Writer.declared,
    ast.Call: _Writer.call,
    ast.JoinedStr: _Writer.joined,
    ast.FunctionDef: _Writer.function,
    ast.AsyncFunctionDef: _Writer.function,
    ast.Lambda: _Writer.lambda_,
    ast.ClassDef: _Writer.class_,
    ast.ListComp: _Writer.comprehension,
    ast.SetComp: _Writer.comprehension,
    ast.DictComp: _Writer.comprehension,
    ast.GeneratorExp: _Writer.comprehension,
    ast.NamedExpr: _Writer.walrus,
    ast.ExceptHandler: _Writer.handler,
    ast.MatchAs: _Writer.capture,
    ast.MatchStar: _Writer.capture,
    ast.MatchMapping: _Writer.capture,
    ast.Import: _Writer.imported,
    ast.ImportFrom: _Writer.imported,
}
