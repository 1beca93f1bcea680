"""Writes a syntax tree as canonical bytes: the walk, and what the names in it refer to.

How particular nodes are written is in `visitors`.
"""

from __future__ import annotations

import ast
from functools import lru_cache
from typing import Any, Final

from druse.fingerprint.encoding import atom, length, tag, text
from druse.fingerprint.scopes import Occurrence, Scope
from druse.fingerprint.template import OUTER, Rebinding, Ref, Template
from druse.fingerprint.visitors import VISITORS

_SKIPPED: Final = frozenset({"ctx", "type_comment", "kind", "type_ignores", "str"})


class Writer:
    def __init__(self) -> None:
        self.out: list[Any] = []
        self.result = Template()
        self.scopes: list[Scope] = []
        self.refs: list[int] = []  # where in `out` references stand, or stood
        self._extra: list[Occurrence] = []

    def template(self) -> Template:
        """What was written; bytes that follow each other joined."""
        out = [*self.out, *map(_ref, self._extra)]
        pieces, begin = self.result.pieces, 0
        places = [*self.refs, *range(len(self.out), len(out))]
        for end in sorted({place for place in places if type(out[place]) is Ref}):
            pieces += (b"".join(out[begin:end]), out[end])
            begin = end + 1
        pieces.append(b"".join(out[begin:]))
        return self.result

    # --- scopes --------------------------------------------------------------------------------

    def push(self, kind: str) -> Scope:
        scope = Scope(kind)
        self.scopes.append(scope)
        return scope

    def pop(self, scope: Scope) -> None:
        """Decides what the names read in `scope` mean, or leaves it to the scope around."""
        self.scopes.pop()
        around = self.scopes[-1] if self.scopes else None
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
                (self.result if around is None else around).rebinds.append(rebinding)
            elif (found := scope.imported(base.name)) is not None:
                ref = found.ref._replace(chain=base.chain, line=base.line)
                self.result.rebinds.append(rebinding._replace(base=ref))

    def _outer(self, seen: Occurrence) -> None:
        if seen.index < 0:
            self._extra.append(seen)
        else:
            self.refs.append(seen.index)
            self.out[seen.index] = _ref(seen)

    def _local(self, seen: Occurrence, scope: Scope) -> None:
        if seen.index < 0:
            return
        imported = scope.imported(seen.name)
        local = local_name(seen.name, seen.chain)
        if imported is not None:
            self.refs.append(seen.index)
        self.out[seen.index] = local if imported is None else imported.reading(seen)

    def read(
        self,
        name: str,
        chain: tuple[str, ...],
        line: int,
        target: str = "",
        spelt_out: bool = False,
    ) -> None:
        """A name is read, with attributes after it; or an attribute of it is assigned."""
        scope = self.scopes[-1]
        if scope.surely_local(name):
            self.out.append(local_name(name, chain))
            return
        seen = Occurrence(len(self.out), name, chain, line, target=target, spelt_out=spelt_out)
        scope.pending.append(seen)
        self.out.append(b"")

    def bind(self, name: str) -> None:
        """A name is assigned, in this scope or where it is declared to be."""
        scope = self.scopes[-1]
        if name in scope.globals or name in scope.nonlocals:
            self.out.append(b"g" + text(name))
            self.result.rebinds.append(Rebinding(None, name, 0))
        else:
            scope.bind(name)
            self.out.append(local_name(name, ()))

    # --- nodes ---------------------------------------------------------------------------------

    def visit(self, node: ast.AST) -> None:
        special = VISITORS.get(type(node))
        if special is not None:
            special(self, node)
        else:
            self.generic(node)

    def generic(self, node: ast.AST) -> None:
        """Writes a node without asking how its kind is written: the fields that are not empty."""
        head, fields = _SHAPES[type(node)]
        add = self.out.append
        add(head)
        for name, heading in fields:
            value = getattr(node, name)
            kind = type(value)
            if kind in VISITORS:
                add(heading)
                VISITORS[kind](self, value)
            elif kind in _LEAVES:
                add(heading)
                add(_LEAVES[kind])
            elif kind is list:
                if value:
                    add(heading)
                    self._list(value)
            elif kind in _SHAPES:
                add(heading)
                self.generic(value)
            elif value is not None:
                add(heading)
                add(plain(value))
        if fields:
            add(b";")

    def _list(self, nodes: list[Any]) -> None:
        if isinstance(nodes[0], ast.stmt):
            self.body(nodes)
        else:
            self.sequence(nodes)

    def sequence(self, nodes: list[Any]) -> None:
        self.out.append(b"[" + length(len(nodes)))
        for node in nodes:
            kind = type(node)
            if kind in VISITORS:
                VISITORS[kind](self, node)
            elif kind in _SHAPES:
                self.generic(node)
            else:  # None: a key of `{**other}`; or a name
                self.out.append(plain(node))

    def body(self, statements: list[ast.stmt]) -> None:
        """Statements, less those that do nothing."""
        self.out.append(b"{")
        for statement in statements:
            if not _does_nothing(statement) and not self._only_declares(statement):
                self.visit(statement)
        self.out.append(b"}")

    def _only_declares(self, statement: ast.stmt) -> bool:
        """`x: int` in a function says that x is local, and no more."""
        if not isinstance(statement, ast.AnnAssign) or statement.value is not None:
            return False
        if self.scopes[-1].kind == "class":
            return False
        if isinstance(statement.target, ast.Name):
            self.scopes[-1].bind(statement.target.id)
        return True


def _ref(seen: Occurrence) -> Ref:
    if not (seen.annotation or seen.target or seen.optional or seen.spelt_out):  # nearly always
        return Ref(OUTER, seen.name, seen.chain, seen.line)
    return Ref(
        OUTER,
        seen.name,
        seen.chain,
        seen.line,
        annotation=seen.annotation,
        target=seen.target,
        optional=seen.optional,
        spelt_out=seen.spelt_out,
    )


def _does_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Pass)


def plain(value: Any) -> bytes:
    encoded = atom(value)
    assert encoded is not None, value
    return encoded


@lru_cache(4096)
def local_name(name: str, chain: tuple[str, ...]) -> bytes:
    return b"v" + text(name) + b"".join(b"." + text(attribute) for attribute in chain)


def _shape(kind: type[ast.AST]) -> tuple[bytes, tuple[tuple[str, bytes], ...]]:
    """How a kind of node is written: its name, and its fields' names."""
    names = [name for name in kind._fields if name not in _SKIPPED]
    return tag(kind.__name__), tuple((name, b":" + text(name)) for name in names)


_SHAPES: Final = {
    kind: _shape(kind)
    for kind in vars(ast).values()
    if isinstance(kind, type) and issubclass(kind, ast.AST)
}
_LEAVES: Final = {kind: head for kind, (head, fields) in _SHAPES.items() if not fields}
