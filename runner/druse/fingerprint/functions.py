"""Functions: normalised syntax, with all that the names in it mean, and what the object holds."""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from druse.fingerprint import blindspots
from druse.fingerprint.builder import Refused
from druse.fingerprint.encoding import integer, length, tag, text
from druse.fingerprint.externals import external_name, origin_of
from druse.fingerprint.graph import Node
from druse.fingerprint.locate import NoSource, template_of
from druse.fingerprint.packages import Origin
from druse.fingerprint.places import shown_file
from druse.fingerprint.proxies import is_module
from druse.fingerprint.references import reference, references
from druse.fingerprint.resolve import Found, Surroundings
from druse.fingerprint.template import OUTER, Ref, Template
from druse.fingerprint.units import Unit

if TYPE_CHECKING:
    from druse.fingerprint.builder import Builder
    from druse.fingerprint.graph import Part

_NOT_STATE: Final = frozenset(
    {"__wrapped__", "__annotations__", "__type_params__", "__orig_source__"}
)


def unit_of_function(function: FunctionType) -> Unit | None:
    if not origin_of(function).is_user:
        return None
    code = function.__code__
    file = shown_file(code.co_filename, function.__globals__)
    return Unit("function", code.co_qualname, file, code.co_firstlineno)


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
        parts += reference(builder, Ref(OUTER, "__class__", (), 0), around, node)
    builder.state.note_rebinds(unit, template, around)
    blindspots.note_calls(unit, template, around.globals)
    blindspots.note_attributes(unit, code)
    return parts


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
    if origin.kind == "druse":
        return [
            tag("druse") + text(function.__code__.co_qualname),
            *_wrapped(builder, function, node),
        ]
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
