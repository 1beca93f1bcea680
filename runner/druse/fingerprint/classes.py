"""Classes: what their bodies made, and those that they inherit from.

Taken from the class as it is, so an attribute that was set later counts. What machinery writes
into a class (the methods of a dataclass, the validators of a model) is left out where what it was
made from is counted instead.
"""

from __future__ import annotations

import abc
import copyreg
import dataclasses
import enum
import inspect
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, get_args

from druse.fingerprint.encoding import length, tag, text
from druse.fingerprint.externals import external_name, is_made_here, origin_of
from druse.fingerprint.graph import Bag, Edge
from druse.fingerprint.locate import class_annotations, class_node
from druse.fingerprint.packages import Origin, origin_of_module
from druse.fingerprint.places import shown_file
from druse.fingerprint.proxies import is_code, is_function, virtual_subclasses
from druse.fingerprint.references import references
from druse.fingerprint.resolve import Found, Surroundings
from druse.fingerprint.selves import rebound_of_class
from druse.fingerprint.units import Unit

if TYPE_CHECKING:
    from druse.fingerprint.builder import Builder
    from druse.fingerprint.graph import Node, Part

_LEFT_OUT: Final = frozenset(
    {
        *("__module__", "__qualname__", "__name__", "__doc__", "__dict__", "__weakref__"),
        *("__firstlineno__", "__static_attributes__", "__abstractmethods__", "_abc_impl"),
        *("__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__"),
        *(
            "__conditional_annotations__",
            "__slotnames__",
            "__classdictcell__",
            "__classcell__",
            "__class__",
        ),
        *("__orig_bases__", "__parameters__", "__type_params__"),
        *("__dataclass_fields__", "__dataclass_params__", "__attrs_attrs__", "__attrs_props__"),
        *("_is_protocol", "_is_runtime_protocol", "__protocol_attrs__", "_abc_registry"),
        *("__callable_proto_members_only__", "__non_callable_proto_members__"),
        *("_abc_cache", "_abc_negative_cache", "_abc_negative_cache_version"),
        "__slotnames__",  # which copying and pickling leave on a class
    }
)
_ENUM_METHODS: Final = frozenset({"__new__", "__format__", "__reduce_ex__", "__repr__", "__str__"})
_DATACLASS_PARAMS: Final = ("init", "repr", "eq", "order", "unsafe_hash", "frozen")
_DATACLASS_METHODS: Final = frozenset(
    {
        *("__init__", "__repr__", "__eq__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__"),
        *("__setattr__", "__delattr__", "__replace__", "__getstate__", "__setstate__"),
    }
)
_FIELD: Final = ("default", "default_factory", "init", "repr", "hash", "compare", "kw_only")


def unit_of_class(cls: type) -> Unit | None:
    if not is_made_here(cls) or not _origin(cls).is_user:
        return None
    found = class_node(cls)
    if found is None:
        return Unit("class", cls.__qualname__)
    source, definition = found
    return Unit("class", cls.__qualname__, shown_file(source.file), definition.lineno)


def _origin(cls: type) -> Origin:
    return origin_of_module(str(cls.__module__))


def expand_class(builder: Builder, cls: type, node: Node) -> list[Part]:
    if not is_made_here(cls):
        external = external_name(cls)
        if external is None:
            return [tag("druse") + text(f"{cls.__module__}.{cls.__qualname__}")]
        return builder.external(external.dotted, external.origin)
    parts: list[Part] = [tag("class"), _own_name(cls), length(len(cls.__bases__))]
    parts += [builder.part(base, node.path) for base in cls.__bases__]
    if type(cls) is not type:
        parts += [b"m", builder.part(type(cls), f"{node.path}, its metaclass")]
    if node.unit is not None:
        node.unit.docs = [cls.__doc__] if cls.__doc__ else []
        parts += _annotations(builder, cls, node)
        states = rebound_of_class(cls)
        node.unit.rebinds |= {_owned(cls, name) for name in states.rebound}
        node.unit.fills |= {_owned(cls, name) for name in states.filled}
    return parts + _beyond_the_body(builder, cls, node) + _members(builder, cls, node)


def _own_name(cls: type) -> bytes:
    """What tells a class from others of the same body: `except`, `isinstance` and pickles ask.

    Steps, sources and plugins are used by their places, so their names are for people.
    """
    if any(str(base.__module__).partition(".")[0] == "druse" for base in cls.__mro__):
        return text("")
    return text(cls.__qualname__.rpartition("<locals>.")[2])


def _beyond_the_body(builder: Builder, cls: type, node: Node) -> list[Part]:
    """What its members do not show: given types, virtual subclasses, how it is copied."""
    parts: list[Part] = []
    given = vars(cls).get("__orig_bases__", ())
    if any(get_args(base) for base in given):
        parts += [tag("given"), builder.part(tuple(map(get_args, given)), node.path)]
    registered = _registered(cls)
    if registered:
        parts += [tag("registered"), Bag([[builder.part(each, node.path)] for each in registered])]
    reduced = copyreg.dispatch_table.get(cls)
    if reduced is not None:
        parts += [tag("reduced"), builder.part(reduced, f"{node.path}, in copyreg")]
    return parts


def _registered(cls: type) -> list[type]:
    """The classes that were registered with an abstract one."""
    if not isinstance(cls, abc.ABCMeta):
        return []
    return virtual_subclasses(cls)


def _annotations(builder: Builder, cls: type, node: Node) -> list[Part]:
    """The fields that the body annotates: what dataclasses and models are made from."""
    import sys

    module = sys.modules.get(cls.__module__)
    template = class_annotations(cls)
    found = vars(cls).get("__annotations__")
    live = dict(found) if isinstance(found, dict) else {}
    if template is None:
        return [tag("fields"), *(text(name) for name in sorted(live))]
    if not _is_certain(cls, module):
        return [tag("fields"), builder.part(live, f"{node.path}.__annotations__")]
    around = Surroundings(vars(module) if module else _globals_of(cls), {}, cls.__qualname__)
    return [tag("fields"), *references(builder, template, around, node)]


def _is_certain(cls: type, module: ModuleType | None) -> bool:
    """Whether the text of a class is that of what is loaded."""
    found = class_node(cls)
    return found is not None and (module is None or found[0].says(module))


def _owned(cls: type, name: str) -> tuple[int, str]:
    """An attribute of a class, by the identity of the class that has it."""
    return id(next((base for base in cls.__mro__ if name in vars(base)), cls)), name


def _globals_of(cls: type) -> dict[str, Any]:
    """The globals of a class whose module is not known by its name any more."""
    return next((held.__globals__ for held in vars(cls).values() if is_function(held)), {})


def _members(builder: Builder, cls: type, node: Node) -> list[Part]:
    held = dict(vars(cls))
    parts: list[Part] = []
    for made_by in (_made_by_dataclass, _made_by_attrs, _made_by_enum, _made_by_namedtuple):
        parts += made_by(builder, cls, held, node)
    from druse.fingerprint import models

    parts += models.made_by_pydantic(builder, cls, held, node)
    for name in sorted(held):
        if name in _LEFT_OUT or _is_slot(held[name]):
            continue
        value = held[name]
        path = f"{node.path}.{name}"
        parts += [text(name), _member(builder, value, path, f"{cls.__qualname__}.{name}", node)]
    return parts


def _is_slot(value: Any) -> bool:
    return type(value).__name__ in ("member_descriptor", "getset_descriptor", "_tuplegetter")


def _member(builder: Builder, value: Any, path: str, name: str, node: Node) -> Part:
    found = Found(value, (), name, node.subject, name.rpartition(".")[2])
    state = builder.state.part(builder, found, node)
    if state is not None:
        return state
    below = builder.node(value, path)
    is_method = is_code(value) or isinstance(value, staticmethod | classmethod | property)
    if node.unit is None or is_method or below.unit is not None:
        return below
    return Edge(below, "attribute", name)


# --- what machinery writes into a class ------------------------------------------------------


def _made_by_dataclass(builder: Builder, cls: type, held: dict[str, Any], node: Node) -> list[Part]:
    params = held.get("__dataclass_params__")
    if params is None:
        return []
    fields = held.get("__dataclass_fields__", {}).values()
    made = tuple(field.name for field in fields if field.init and not field.kw_only)
    if held.get("__match_args__") == made:
        del held["__match_args__"]
    for name in _DATACLASS_METHODS & held.keys():
        if not _is_written(held[name]):
            del held[name]
    flags = [builder.part(bool(getattr(params, name)), node.path) for name in _DATACLASS_PARAMS]
    parts: list[Part] = [tag("dataclass"), *flags]
    for field in fields:
        parts += [b"." + text(field.name)]
        for name in _FIELD:
            value = getattr(field, name)
            marker = b"-" if value is dataclasses.MISSING else None
            parts.append(marker or builder.part(value, f"{node.path}.{field.name}"))
        parts.append(builder.part(dict(field.metadata), f"{node.path}.{field.name}.metadata"))
    return parts


def _is_written(value: Any) -> bool:
    """Whether a person wrote a method, rather than what decorates the class."""
    function = inspect.unwrap(value) if callable(value) else value
    if not is_function(function):
        return value is not None  # `__hash__ = None` follows from `eq`
    return function.__code__.co_filename != "<string>" and origin_of(function).kind != "stdlib"


def _made_by_attrs(builder: Builder, cls: type, held: dict[str, Any], node: Node) -> list[Part]:
    fields = held.get("__attrs_attrs__")
    if fields is None:
        return []
    held.pop("__match_args__", None)
    for name, value in list(held.items()):
        if is_function(value) and value.__code__.co_filename.startswith("<attrs"):
            del held[name]
    for name in ("__attrs_own_setattr__", "__attrs_init__", "__getstate__", "__setstate__"):
        if not is_function(held.get(name)) or name.startswith("__attrs"):
            held.pop(name, None)
    parts: list[Part] = [tag("attrs")]
    for field in fields:
        for name in ("name", "default", "validator", "converter", "init", "kw_only", "eq", "hash"):
            value = getattr(field, name)
            parts.append(builder.part(value, f"{node.path}.{field.name}"))
    return parts


def _made_by_enum(builder: Builder, cls: type, held: dict[str, Any], node: Node) -> list[Part]:
    if not isinstance(cls, enum.EnumMeta):
        return []
    members: dict[str, Any] = dict(cls.__members__)
    for name, value in list(held.items()):
        made = name in _ENUM_METHODS or (name.startswith("_") and name.endswith("_"))
        if name in members or (made and not _is_users_function(value)):
            del held[name]
    parts: list[Part] = [tag("enum") + length(len(members))]
    for name, member in members.items():
        parts += [text(name), builder.part(member._value_, f"{node.path}.{name}")]
    return parts


def _is_users_function(value: Any) -> bool:
    value = getattr(value, "__func__", value)
    return is_function(value) and origin_of(value).is_user


def _made_by_namedtuple(
    builder: Builder, cls: type, held: dict[str, Any], node: Node
) -> list[Part]:
    fields = held.get("_fields")
    if not issubclass(cls, tuple) or not isinstance(fields, tuple) or "_make" not in held:
        return []
    defaults = held.get("_field_defaults", {})
    for name in ("__new__", "_make", "_replace", "__replace__", "__repr__", "_asdict"):
        if not _is_users_function(held.get(name)) or name in ("__new__", "__repr__"):
            held.pop(name, None)
    for name in ("__getnewargs__", "__slots__", "_fields", "_field_defaults", "__match_args__"):
        held.pop(name, None)
    return [
        tag("namedtuple"),
        builder.part(fields, node.path),
        builder.part(dict(defaults), f"{node.path}._field_defaults"),
    ]
