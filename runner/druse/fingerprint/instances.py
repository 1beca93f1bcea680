"""Instances: their class, and their state as copying and pickling would have it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from druse.fingerprint.builder import Refused
from druse.fingerprint.encoding import tag, text
from druse.fingerprint.externals import constant_of_a_package, is_made_here
from druse.fingerprint.packages import is_extension, origin_of_module
from druse.fingerprint.resolve import Found
from druse.fingerprint.selves import NO_STATES, States, counters_and_caches
from druse.fingerprint.state import ABSENT, first_seen, is_cache

if TYPE_CHECKING:
    from druse.fingerprint.builder import Builder
    from druse.fingerprint.graph import Node, Part

    Expand = Callable[[Builder, Any, Node], list[Part]]

_NEW_OBJECT: Final = ("__newobj__", "__newobj_ex__")


def derived(base: Expand) -> Expand:
    """The treatment of a subclass of a type that has one."""

    def expand(builder: Builder, value: Any, node: Node) -> list[Part]:
        content = base(builder, value, node)
        held = attributes(builder, value, getattr(value, "__dict__", None) or {}, node)
        return [tag("derived"), builder.part(type(value), node.path), *content, *held]

    return expand


def expand_instance(builder: Builder, value: Any, node: Node) -> list[Part]:
    code = standing_for(value)
    if code is not None:
        given = dict(getattr(value, "params", None) or {})
        return [tag("druse code"), builder.part(code, node.path), builder.part(given, node.path)]
    constant = constant_of_a_package(value)
    if constant is not None:
        return builder.external(constant.dotted, constant.origin)
    if dataclasses.is_dataclass(value):
        return _dataclass(builder, value, node)
    if type(value).__flags__ & (1 << 9) == 0 and not hasattr(value, "__reduce_ex__"):
        raise Refused(_kind(value))
    return _reduced(builder, value, node)


def standing_for(value: Any) -> tuple[Any, ...] | None:
    """The code that an object of druse stands for: a step made from a function, say."""
    found = getattr(type(value), "__druse_code__", None)
    if found is None:
        return None
    code = value.__druse_code__
    return tuple(code() if callable(code) else code)


def _dataclass(builder: Builder, value: Any, node: Node) -> list[Part]:
    parts: list[Part] = [tag("instance"), builder.part(type(value), node.path)]
    state = dict(getattr(value, "__dict__", None) or {})
    for field in dataclasses.fields(value):
        state.pop(field.name, None)
        if field.compare and hasattr(value, field.name):
            state[field.name] = getattr(value, field.name)
    return parts + attributes(builder, value, state, node)


def attributes(builder: Builder, value: Any, held: dict[str, Any], node: Node) -> list[Part]:
    """Attributes by name, less what is computed from the others and kept."""
    facts = _facts(builder, type(value))
    states = builder.state.of(value) | facts.states.rebound | _caches(value, held, facts)
    parts: list[Part] = [b"{"]
    for name in sorted(held.keys() | states):
        if name in states:
            found = Found(held.get(name, ABSENT), (), f"{facts.name}.{name}", value, name)
            stands: Part = first_seen(builder, found, node)
            parts += [text(name), stands] if stands else []
        elif name not in facts.computed:
            item = held[name]
            if builder.code is builder:
                found = Found(item, (), f"{facts.name}.{name}", value, name)
                builder.state.read[id(value), name] = found
            standing = builder.plain(item)
            parts.append(text(name))
            parts.append(
                builder.node(item, f"{node.path}.{name}") if standing is None else standing
            )
    return [*parts, b"}"]


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """What of a class decides how its instances are looked at."""

    name: str
    states: States
    computed: frozenset[str]  # attributes that a cached property fills


def _facts(builder: Builder, cls: type) -> Facts:
    known = builder.code.facts.get(cls)
    if known is None:
        states = counters_and_caches(cls) if is_made_here(cls) else NO_STATES
        held = {name: value for base in reversed(cls.__mro__) for name, value in vars(base).items()}
        computed = (n for n, value in held.items() if isinstance(value, functools.cached_property))
        known = builder.code.facts[cls] = Facts(cls.__qualname__, states, frozenset(computed))
    return known


def _caches(value: Any, held: dict[str, Any], facts: Facts) -> frozenset[str]:
    """Containers that the object's own class fills."""
    return frozenset(
        name
        for name in facts.states.filled
        if name not in held or is_cache(Found(held[name], (), name, value, name))
    )


def _reduced(builder: Builder, value: Any, node: Node) -> list[Part]:
    wrapped = _wrapped(builder, value, node)
    try:
        reduced = value.__reduce_ex__(4)
    except Exception as error:  # whatever it raises: it has no state to show
        if wrapped:
            return wrapped
        raise Refused(_kind(value)) from error
    if isinstance(reduced, str):
        return wrapped or _named_in_its_module(builder, value, reduced)
    return [*_made(builder, value, reduced, node), *wrapped]


def _wrapped(builder: Builder, value: Any, node: Node) -> list[Part]:
    """What a wrapper of a function wraps, and with what: numba's, jax's, wrapt's and the like."""
    parts: list[Part] = []
    for name in ("__wrapped__", "py_func", "_self_wrapper", "_self_instance"):
        found = getattr(value, name, None)
        if found is not None:
            parts += [text(name), builder.part(found, f"{node.path}.{name}")]
    return [tag("wrapper"), builder.part(type(value), node.path), *parts] if parts else []


def _named_in_its_module(builder: Builder, value: Any, name: str) -> list[Part]:
    """What pickles by its name: of a package, or compiled by the user."""
    module = str(getattr(value, "__module__", None) or type(value).__module__)
    origin = origin_of_module(module)
    if origin.is_user and not is_extension(module):
        raise Refused(_kind(value))
    return builder.external(f"{module}.{name}", origin)


def _made(builder: Builder, value: Any, reduced: Any, node: Node) -> list[Part]:
    make, args, state, items, pairs = (*reduced, None, None, None)[:5]
    parts: list[Part] = [tag("instance")]
    if getattr(make, "__name__", "") in _NEW_OBJECT and make.__module__ == "copyreg":
        parts += [builder.part(args[0], node.path)]
        args = args[1:]
    else:
        parts += [b"*", builder.part(type(value), node.path), builder.part(make, node.path)]
    if args:
        parts.append(builder.part(tuple(args), f"{node.path}, what makes it"))
    parts += _state(builder, value, state, node)
    if items is not None:
        parts += [b"L", builder.part(list(items), node.path)]
    if pairs is not None:
        parts += [b"D", builder.part(dict(pairs), node.path)]
    return parts


def _state(builder: Builder, value: Any, state: Any, node: Node) -> list[Part]:
    slots: Any = None
    if type(state) is tuple and len(state) == 2 and type(state[1]) is dict:
        state, slots = state
    if state is None or type(state) is dict:
        held = {**(state or {}), **(slots or {})}
        if all(type(name) is str for name in held):
            return attributes(builder, value, held, node)
    parts = [b"s", builder.part(state, f"{node.path}, its state")]
    return parts if slots is None else [*parts, builder.part(slots, node.path)]


def _kind(value: Any) -> str:
    cls = type(value)
    return (
        cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    )
