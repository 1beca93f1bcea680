"""How particular nodes are written: those that name, bind, define, or reach further."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from druse.fingerprint.encoding import atom, integer, length, tag, text
from druse.fingerprint.imported import imported
from druse.fingerprint.sources import FunctionNode
from druse.fingerprint.template import FILLING, IMPORT, OUTER, Call, Rebinding, Ref

if TYPE_CHECKING:
    from druse.fingerprint.writer import Writer

_REACHING: Final = frozenset(
    {"eval", "exec", "compile", "getattr", "__import__", "globals", "locals", "vars", "input"}
)
_DOC_READERS: Final = frozenset({"__doc__", "getdoc"})
_NAME_READERS: Final = frozenset({"__name__", "__qualname__"})
_SOURCE_READERS: Final = frozenset({"getsource", "getsourcelines", "findsource"})
_READERS: Final = _DOC_READERS | _NAME_READERS | _SOURCE_READERS

# --- names -----------------------------------------------------------------------------------


def _name(writer: Writer, node: ast.Name) -> None:
    if type(node.ctx) is ast.Load:
        if node.id in _DOC_READERS or node.id in _SOURCE_READERS:
            _note_attribute(writer, node.id)
        writer.read(node.id, (), node.lineno)
        if node.id == "__debug__":
            _optimised(writer)
    else:
        writer.bind(node.id)


def _assert(writer: Writer, node: ast.Assert) -> None:
    writer.generic(node)
    _optimised(writer)


def _optimised(writer: Writer) -> None:
    """Notes `python -O`, which leaves assertions out."""
    if not __debug__:
        writer.out.append(tag("optimised"))


def _attribute(writer: Writer, node: ast.Attribute) -> None:
    _note_attribute(writer, node.attr)
    if type(node.ctx) is not ast.Load:
        _assigned_attribute(writer, node)
        return
    chain = _chain_of(node)
    if chain is None and (found := imported(node)) is not None:
        _import_call(writer, *found)
        return
    if chain is None:
        writer.out.append(_ATTRIBUTE)
        writer.visit(node.value)
        writer.out.append(text(node.attr))
        return
    for attribute in chain[1]:
        _note_attribute(writer, attribute)
    writer.read(chain[0], chain[1], node.lineno)


def _assigned_attribute(writer: Writer, node: ast.Attribute) -> None:
    writer.out.append(_ATTRIBUTE_SET)
    base = _chain_of(node.value)
    if base is None:
        writer.visit(node.value)
    else:
        ref = Ref(OUTER, base[0], base[1], node.lineno)
        writer.scopes[-1].rebinds.append(Rebinding(ref, node.attr, node.lineno))
        writer.read(base[0], base[1], node.lineno, target=node.attr)
    writer.out.append(text(node.attr))


def _note_attribute(writer: Writer, name: str) -> None:
    if name in _READERS:
        result = writer.result
        result.reads_doc |= name in _DOC_READERS
        result.reads_names |= name in _NAME_READERS
        result.reads_source |= name in _SOURCE_READERS


def _constant(writer: Writer, node: ast.Constant) -> None:
    value: Any = node.value
    if type(value) is str:
        _note_attribute(writer, value)
    encoded = atom(value)
    assert encoded is not None, value
    writer.out.append(encoded)


def _chain_of(node: ast.AST, context: type = ast.Load) -> tuple[str, tuple[str, ...]] | None:
    """`a.b.c` as ("a", ("b", "c")); None where it does not begin with a name."""
    chain: list[str] = []
    while isinstance(node, ast.Attribute):
        chain.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load | context):
        return node.id, tuple(reversed(chain))
    return None


def _subscript(writer: Writer, node: ast.Subscript) -> None:
    if type(node.ctx) is not ast.Load:
        _note_filled(writer, node.value)
    writer.generic(node)


def _note_filled(writer: Writer, container: ast.AST) -> None:
    """What a name stands for is changed in place."""
    chain = _chain_of(container)
    if chain is not None:
        line = getattr(container, "lineno", 0)
        ref = Ref(OUTER, chain[0], chain[1], line)
        writer.scopes[-1].rebinds.append(Rebinding(ref, "", line))


# --- statements and expressions --------------------------------------------------------------


def _augmented(writer: Writer, node: ast.AugAssign) -> None:
    writer.out.append(tag("AugAssign") + text(type(node.op).__name__))
    if not isinstance(node.target, ast.Subscript):  # it is read before it is assigned
        chain = _chain_of(node.target, ast.Store)
        if chain is not None:
            writer.read(*chain, node.lineno)
    writer.visit(node.target)
    writer.visit(node.value)


def _annotated(writer: Writer, node: ast.AnnAssign) -> None:
    """`x: int = 3` in a function is `x = 3`: nothing evaluates, or keeps, the annotation."""
    if writer.scopes[-1].kind != "class":
        assert node.value is not None
        writer.generic(ast.Assign([node.target], node.value))
        return
    writer.out.append(tag("AnnAssign"))
    writer.visit(node.target)
    annotation(writer, node.annotation)
    if node.value is not None:
        writer.visit(node.value)
    writer.out.append(b";")


def _declared(writer: Writer, node: ast.Global | ast.Nonlocal) -> None:
    """Says nothing of its own: the names that it declares are written as what they are."""
    scope = writer.scopes[-1]
    (scope.globals if isinstance(node, ast.Global) else scope.nonlocals).update(node.names)


def _call(writer: Writer, node: ast.Call) -> None:
    found = imported(node)
    if found is not None:
        _import_call(writer, *found)
        return
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name in _REACHING:
        attribute = _named_by_constant(node)
        writer.result.calls.append(Call(name, attribute is None, node.lineno))
        if attribute is not None and name == "getattr":
            _getattr(writer, node, attribute)
            return
    if isinstance(node.func, ast.Attribute) and node.func.attr in FILLING:
        _note_filled(writer, node.func.value)
    writer.generic(node)


def _import_call(writer: Writer, node: ast.Call, ref: Ref) -> None:
    """`import_module("m").f` means what `f` does after `from m import f`."""
    for attribute in ref.chain:
        _note_attribute(writer, attribute)
    _importer(writer, node)
    writer.refs.append(len(writer.out))
    writer.out.append(ref)


def _importer(writer: Writer, node: ast.Call) -> None:
    """What is called: it may be a function of the user's own."""
    writer.out.append(tag("import"))
    chain = _chain_of(node.func)
    assert chain is not None
    writer.read(*chain, node.lineno, spelt_out=True)


def _assign(writer: Writer, node: ast.Assign) -> None:
    """`m = import_module("m")` means what `import m` does."""
    scope, target = writer.scopes[-1], node.targets[0]
    found = imported(node.value)
    if (
        found is None
        or found[1].chain
        or len(node.targets) > 1
        or not isinstance(target, ast.Name)
        or target.id in scope.globals | scope.nonlocals
    ):
        writer.generic(node)
        return
    call, ref = found
    _importer(writer, call)
    scope.import_(target.id, ref._replace(name=target.id), len(writer.out))
    writer.refs.append(len(writer.out))
    writer.out.append(ref)


def _named_by_constant(node: ast.Call) -> str | None:
    """The attribute that `getattr(x, "name")` reads."""
    if node.keywords or len(node.args) not in (2, 3):
        return None
    name = node.args[1]
    is_name = isinstance(name, ast.Constant) and isinstance(name.value, str)
    return str(name.value) if is_name else None  # type: ignore[attr-defined]


def _getattr(writer: Writer, node: ast.Call, attribute: str) -> None:
    """`getattr(conf, "K")` means what `conf.K` does."""
    writer.out.append(tag("getattr") + length(len(node.args)))
    writer.visit(node.func)
    writer.visit(ast.copy_location(ast.Attribute(node.args[0], attribute, ast.Load()), node))
    for default in node.args[2:]:
        writer.visit(default)


def _joined(writer: Writer, node: ast.JoinedStr) -> None:
    """An f-string, its literal pieces joined: how it is split differs between versions."""
    writer.out.append(tag("JoinedStr"))
    literal = ""
    for piece in node.values:
        if isinstance(piece, ast.Constant):
            literal += str(piece.value)
            continue
        writer.out.append(text(literal))
        literal = ""
        writer.visit(piece)
    writer.out.append(text(literal) + b";")


# --- definitions -----------------------------------------------------------------------------


def _function(writer: Writer, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    writer.out.append(tag(type(node).__name__))
    writer.sequence(node.decorator_list)
    writer.bind(node.name)
    _inner_function(writer, node)


def _lambda(writer: Writer, node: ast.Lambda) -> None:
    writer.out.append(tag("Lambda"))
    _inner_function(writer, node)


def _inner_function(writer: Writer, node: FunctionNode) -> None:
    writer.sequence(node.args.defaults)
    writer.sequence(node.args.kw_defaults)
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


def parameters(writer: Writer, args: ast.arguments) -> None:
    """Kinds and names; the defaults are evaluated elsewhere."""
    for kind, group in (
        (b"/", args.posonlyargs),
        (b",", args.args),
        (b"*", [args.vararg] if args.vararg else []),
        (b"=", args.kwonlyargs),
        (b"**", [args.kwarg] if args.kwarg else []),
    ):
        for arg in group:
            writer.scopes[-1].bind(arg.arg)
            writer.out.append(kind + text(arg.arg))
            if arg.annotation is not None:
                annotation(writer, arg.annotation)
    writer.out.append(b";")


def type_parameters(writer: Writer, node: ast.AST) -> None:
    for parameter in getattr(node, "type_params", ()):
        writer.scopes[-1].bind(parameter.name)
        writer.out.append(tag(type(parameter).__name__) + text(parameter.name))
        bound = getattr(parameter, "bound", None)
        if bound is not None:
            annotation(writer, bound)


def document(writer: Writer, node: Any) -> None:
    """Keeps a docstring apart: it counts only where one is read."""
    found = ast.get_docstring(node, clean=False)
    if found is not None:
        writer.result.docs.append(found)


def _class(writer: Writer, node: ast.ClassDef) -> None:
    writer.out.append(tag("ClassDef"))
    writer.sequence(node.decorator_list)
    writer.sequence(node.bases)
    writer.sequence(node.keywords)
    writer.bind(node.name)
    scope = writer.push("class")
    type_parameters(writer, node)
    document(writer, node)
    writer.body(node.body)
    writer.pop(scope)


def _comprehension(writer: Writer, node: Any) -> None:
    """The first iterable is evaluated outside of the comprehension's own scope."""
    writer.out.append(tag(type(node).__name__) + length(len(node.generators)))
    writer.visit(node.generators[0].iter)
    scope = writer.push("comprehension")
    for place, generator in enumerate(node.generators):
        writer.out.append(integer(generator.is_async))
        writer.visit(generator.target)
        if place:
            writer.visit(generator.iter)
        writer.sequence(generator.ifs)
    for name in ("key", "value", "elt"):
        if hasattr(node, name):
            writer.visit(getattr(node, name))
    writer.pop(scope)


# --- other binders ---------------------------------------------------------------------------


def _walrus(writer: Writer, node: ast.NamedExpr) -> None:
    """Binds in the function around, also from within a comprehension."""
    writer.out.append(tag("NamedExpr") + text(node.target.id))
    for scope in reversed(writer.scopes):
        if scope.kind != "comprehension":
            scope.bind(node.target.id)
            break
    writer.visit(node.value)


def _capture(writer: Writer, node: Any) -> None:
    """An exception, or a part of what is matched, gets a name."""
    name = node.rest if isinstance(node, ast.MatchMapping) else node.name
    if name is not None:
        writer.scopes[-1].bind(name)
    writer.generic(node)


def _import(writer: Writer, node: ast.Import | ast.ImportFrom) -> None:
    """Binds local names to what is imported; by itself it says nothing more."""
    for alias in node.names:
        name = alias.asname or alias.name.partition(".")[0]
        if isinstance(node, ast.ImportFrom):
            ref = Ref(IMPORT, name, (), node.lineno, module=node.module or "")
            ref = ref._replace(level=node.level, member=alias.name)
        else:
            top = alias.asname is None and "." in alias.name
            ref = Ref(IMPORT, name, (), node.lineno, module=alias.name, top=top)
        writer.scopes[-1].import_(name, ref, len(writer.out))
        writer.refs.append(len(writer.out))
        writer.out.append(ref)


# --- annotations -----------------------------------------------------------------------------


def annotation(writer: Writer, node: ast.expr, *, whole: bool = False) -> None:
    """As text, except for user classes; `whole`: as any expression (a class's fields)."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        said = node.value
        try:
            node = ast.parse(said.strip(), mode="eval").body
        except (SyntaxError, ValueError):
            writer.out.append(text(said))
            return
    before = len(writer.scopes[-1].pending)
    writer.visit(node)
    for seen in writer.scopes[-1].pending[before:]:
        seen.annotation, seen.optional = not whole, True


_ATTRIBUTE: Final = tag("Attribute")
_ATTRIBUTE_SET: Final = tag("Attribute=")

VISITORS: Final[dict[type, Callable[[Writer, Any], None]]] = {
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Constant: _constant,
    ast.Subscript: _subscript,
    ast.Assign: _assign,
    ast.AugAssign: _augmented,
    ast.AnnAssign: _annotated,
    ast.Global: _declared,
    ast.Nonlocal: _declared,
    ast.Call: _call,
    ast.JoinedStr: _joined,
    ast.FunctionDef: _function,
    ast.AsyncFunctionDef: _function,
    ast.Lambda: _lambda,
    ast.ClassDef: _class,
    ast.ListComp: _comprehension,
    ast.SetComp: _comprehension,
    ast.DictComp: _comprehension,
    ast.GeneratorExp: _comprehension,
    ast.NamedExpr: _walrus,
    ast.ExceptHandler: _capture,
    ast.MatchAs: _capture,
    ast.MatchStar: _capture,
    ast.MatchMapping: _capture,
    ast.Assert: _assert,
    ast.Import: _import,
    ast.ImportFrom: _import,
}
