"""Functions: normalised syntax, with all that the names in it mean, and what the object holds."""

from __future__ import annotations

import sys
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any, Final

from druse.fingerprint import blindspots
from druse.fingerprint.builder import Refused
from druse.fingerprint.encoding import integer, length, tag, text
from druse.fingerprint.graph import Edge, Node, settle
from druse.fingerprint.locate import NoSource, template_of
from druse.fingerprint.packages import Origin, origin_of_file, origin_of_module
from druse.fingerprint.places import below_project, shown_file
from druse.fingerprint.proxies import is_class, is_code, is_function, is_module
from druse.fingerprint.resolve import (
    External,
    Found,
    Nothing,
    Surroundings,
    is_set_plainly,
    resolve,
)
from druse.fingerprint.template import IMPORT, Ref, Template
from druse.fingerprint.units import Unit

if TYPE_CHECKING:
    from druse.fingerprint.builder import Builder
    from druse.fingerprint.graph import Part

_PUBLIC: Final = {"posixpath": "os.path", "ntpath": "os.path", "_thread": "threading"}
_HEAP_TYPE: Final = 1 << 9
_NOT_STATE: Final = frozenset(
    {"__wrapped__", "__annotations__", "__type_params__", "__orig_source__"}
)


def unit_of_function(function: FunctionType) -> Unit | None:
    if not origin_of(function).is_user:
        return None
    code = function.__code__
    file = shown_file(code.co_filename, function.__globals__)
    return Unit("function", code.co_qualname, file, code.co_firstlineno)


def origin_of(function: FunctionType) -> Origin:
    """A function that a package makes in memory belongs to the module that it can be found in."""
    if function.__code__.co_filename.startswith("<"):
        module = function.__module__
        if isinstance(module, str) and not (origin := origin_of_module(module)).is_user:
            return origin
    return origin_of_file(function.__code__.co_filename)


def expand_function(builder: Builder, function: FunctionType, node: Node) -> list[Part]:
    origin = origin_of(function)
    if node.unit is None:
        return _foreign(builder, function, origin, node)
    template = template_of(function)
    parts: list[Part] = [tag("function")]
    if isinstance(template, NoSource):
        node.unit.uncacheable = template.reason
        parts += _bytecode(function)
    else:
        parts += _syntax(builder, function, template, node)
    return parts + _held(builder, function, node)


def _syntax(builder: Builder, function: FunctionType, template: Template, node: Node) -> list[Part]:
    code, unit = function.__code__, node.unit
    assert unit is not None
    unit.template = template
    unit.docs = [*([function.__doc__] if function.__doc__ else []), *template.docs]
    cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
    around = Surroundings(function.__globals__, cells, code.co_qualname)
    parts = references(builder, template, around, node)
    if "__class__" in cells:  # `super()` means it without naming it
        parts += reference(builder, Ref("outer", "__class__", (), 0), around, node)
    builder.state.note_rebinds(unit, template, around)
    blindspots.note_calls(unit, template, around.globals)
    return parts


def references(
    builder: Builder, template: Template, around: Surroundings, node: Node
) -> list[Part]:
    """The pieces of a template, with what its references mean."""
    parts: list[Part] = []
    for piece in template.pieces:
        if type(piece) is bytes:
            parts.append(piece)
        else:
            parts += reference(builder, piece, around, node)  # type: ignore[arg-type]
    return parts


def reference(builder: Builder, ref: Ref, around: Surroundings, node: Node) -> list[Part]:
    """What stands for a name that is read, with the attributes after it."""
    meaning = resolve(ref, around)
    if isinstance(meaning, Nothing):
        _note_missing(meaning, ref, node)
        return [tag(meaning.kind) + text(meaning.name)]
    if ref.annotation and not _is_users_class(meaning):
        return [tag("annotation") + text((ref.name, *ref.chain)[-1])]
    if isinstance(meaning, Found):
        if ref.target and not meaning.rest and is_set_plainly(meaning.value, ref.target):
            return [tag("target") + b"".join(map(text, (ref.name, *ref.chain)))]
        external = external_name(meaning.value)
        if external is not None:
            meaning = External(".".join((external.dotted, *meaning.rest)), external.origin)
    if isinstance(meaning, External):
        return [_external(builder, meaning, node.unit, ref.line)]
    if node.unit is not None and not is_code(meaning.value):
        cls = type(meaning.value)
        blindspots.note_external(node.unit, f"{cls.__module__}.{cls.__qualname__}", ref.line)
    stands: Part | None = builder.state.part(builder, meaning, node)
    if stands is None:
        stands = _of_the_project(meaning, ref)
    if stands is None:
        path = f"{node.path} reads {meaning.name}"
        stands = builder.named(meaning.value, path, "global", meaning.name, ref.line)
    rest = b"".join(b"." + text(name) for name in meaning.rest)
    return [stands, rest] if rest else [stands]


def _of_the_project(meaning: Found, ref: Ref) -> Part | None:
    """`HERE = Path(__file__).parent` is the same in every copy of the project."""
    value = meaning.value
    if type(meaning.owner) is not dict or not isinstance(value, str | PurePath):
        return None
    below = below_project(str(value), meaning.owner)
    if below is None:
        return None
    content = tag("below the project") + text(type(value).__name__) + text(below)
    node = Node(value, None, meaning.name, [content])
    settle(node)
    return Edge(node, "global", meaning.name, ref.line)


def _note_missing(meaning: Nothing, ref: Ref, node: Node) -> None:
    unit = node.unit
    is_certain = not (ref.annotation or ref.optional or ref.kind == IMPORT)
    if meaning.kind == "missing" and unit is not None and is_certain:
        place = f"{unit.file or '<cell>'}:{ref.line} {unit.name}"
        unit.warnings.append(f"{place}: {meaning.name} is not defined, or not yet")


def _is_users_class(meaning: Found | External) -> bool:
    return isinstance(meaning, Found) and is_class(meaning.value) and is_made_here(meaning.value)


def _external(builder: Builder, meaning: External, unit: Unit | None, line: int) -> Node:
    if unit is not None:
        blindspots.note_external(unit, meaning.dotted, line)
    return builder.external_node(meaning.dotted, meaning.origin)


def external_name(value: Any) -> External | None:
    """The name of a function, class or constant of the standard library or a package."""
    if is_function(value):
        origin = origin_of(value)
        if origin.is_user or origin.kind == "druse" or not _is_found_where_it_says(value):
            return None
        return External(_public(str(value.__module__), value.__qualname__, value, origin), origin)
    if is_class(value):
        return None if is_made_here(value) else _of_module(value, value.__qualname__)
    if type(value) is BuiltinFunctionType:
        owner = value.__self__
        if owner is not None and not is_module(owner):
            return None
        return _of_module(value, value.__name__)
    return constant_of_a_package(value)


def _of_module(value: Any, name: str) -> External | None:
    module = str(value.__module__ or getattr(value.__self__, "__name__", "builtins"))
    origin = origin_of_module(module)
    return (
        None if origin.kind == "druse" else External(_public(module, name, value, origin), origin)
    )


def _public(module: str, name: str, value: Any, origin: Origin) -> str:
    """The standard library's own name for a thing; where it is defined differs by version."""
    if origin.kind == "stdlib":
        for public in (_PUBLIC.get(module, ""), module.partition(".")[0].lstrip("_")):
            known = getattr(sys.modules.get(public), "__dict__", {})
            if known.get(name) is value:
                return f"{public}.{name}"
    return f"{module}.{name}"


def _is_found_where_it_says(function: FunctionType) -> bool:
    """Not so for a wrapper that passes for what it wraps, or what was made at run time."""
    module = str(function.__module__)
    return not origin_of_module(module).is_user and is_importable(function)


def is_made_here(cls: type) -> bool:
    """Whether a class is the user's, or was made at run time by a package's machinery."""
    if not cls.__flags__ & _HEAP_TYPE:
        return False
    if origin_of_module(str(cls.__module__)).is_user:
        return True
    if is_importable(cls):
        return False
    return any(is_function(held) for held in vars(cls).values())


def constant_of_a_package(value: Any) -> External | None:
    """What a package defines by a name, as numpy does its functions, scipy its distributions."""
    for module in dict.fromkeys((getattr(value, "__module__", None), type(value).__module__)):
        if not isinstance(module, str) or module not in sys.modules or module == "builtins":
            continue
        origin = origin_of_module(module)
        if origin.is_user or origin.kind == "druse":
            continue
        known = vars(sys.modules[module])
        own = getattr(value, "__name__", None)
        if isinstance(own, str) and known.get(own) is value:
            return External(f"{module}.{own}", origin)
        for name, other in list(known.items()):
            if other is value:
                return External(f"{module}.{name}", origin)
    return None


def _held(builder: Builder, function: FunctionType, node: Node) -> list[Part]:
    """What a function object holds: defaults, what it wraps, attributes."""
    name = function.__qualname__
    defaults = function.__defaults__ or ()
    parts: list[Part] = [b"(" + length(len(defaults))]
    parts += [builder.part(value, f"{name}(), default {n}") for n, value in enumerate(defaults)]
    for key, value in sorted((function.__kwdefaults__ or {}).items()):
        parts += [b"=" + text(key), builder.part(value, f"{name}({key}=...)")]
    if hasattr(function, "__wrapped__"):
        parts += [b"w", builder.part(function.__wrapped__, f"{name}.__wrapped__")]
    for key, value in sorted(vars(function).items()):
        if key in _NOT_STATE or (node.unit is None and callable(value)):
            continue  # what a package hangs on its wrappers follows from what they wrap
        state = builder.state.part(builder, Found(value, (), f"{name}.{key}", function, key), node)
        stands = builder.part(value, f"{name}.{key}") if state is None else state
        parts += [b"." + text(key), stands]
    return [*parts, b")"]


def _bytecode(function: FunctionType) -> list[Part]:
    """Stands in for syntax where there is none, so that different code at least differs."""
    code = function.__code__
    names = "\0".join((*code.co_names, *code.co_varnames, *code.co_freevars))
    return [tag("bytecode") + integer(len(code.co_code)) + code.co_code + text(names)]


def _foreign(builder: Builder, function: FunctionType, origin: Origin, node: Node) -> list[Part]:
    """A function of a package: its name; and what it closes over, if it was made at run time."""
    dotted = f"{function.__module__}.{function.__qualname__}"
    if origin.kind == "druse":
        return [tag("druse") + text(dotted), *_wrapped(builder, function, node)]
    external = external_name(function)
    if external is not None:
        return builder.external(external.dotted, origin)
    made = f"{function.__globals__.get('__name__')}.{function.__code__.co_qualname}"
    parts = builder.external(made, origin)
    if hasattr(function, "registry") and hasattr(function, "dispatch"):  # functools.singledispatch
        return [*parts, builder.part(dict(function.registry), f"{node.path}.registry")]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            value = cell.cell_contents
        except ValueError:
            continue
        parts += [text(name), builder.part(value, f"{node.path}.{name}")]
    return parts + _held(builder, function, node)


def _wrapped(builder: Builder, function: FunctionType, node: Node) -> list[Part]:
    found = getattr(function, "__wrapped__", None)
    return [] if found is None else [builder.part(found, node.path)]


def is_importable(thing: Any) -> bool:
    """Whether a function or class is what its module and qualified name say."""
    here: Any = sys.modules.get(getattr(thing, "__module__", None) or "")
    for name in str(getattr(thing, "__qualname__", "")).split("."):
        here = getattr(here, "__dict__", {}).get(name)
    return here is thing


def expand_builtin(builder: Builder, value: Any, node: Node) -> list[Part]:
    """A function written in C; bound to something, or of a module."""
    owner = getattr(value, "__self__", None)
    name = getattr(value, "__name__", type(value).__name__)
    module = getattr(value, "__module__", None)
    if owner is not None and not is_module(owner):
        return [tag("bound") + text(name), builder.part(owner, f"{node.path}.__self__")]
    defined = getattr(value, "__objclass__", None)
    if defined is not None:
        return [tag("descriptor") + text(name), builder.part(defined, node.path)]
    external = external_name(value)
    if external is not None:
        return builder.external(external.dotted, external.origin)
    return [tag("builtin") + text(f"{module}.{name}")]


def refuse(kind: str) -> Any:
    """A treatment that refuses values of a kind."""

    def expand(builder: Builder, value: Any, node: Node) -> list[Part]:
        raise Refused(kind)

    return expand
