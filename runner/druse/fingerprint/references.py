"""What stands for the names that code reads: values, other code, or names of packages."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

from druse.fingerprint import blindspots
from druse.fingerprint.encoding import tag, text
from druse.fingerprint.externals import external_name, is_made_here
from druse.fingerprint.graph import Edge, Node, settle
from druse.fingerprint.places import below_project
from druse.fingerprint.proxies import is_class, is_code
from druse.fingerprint.resolve import (
    External,
    Found,
    Nothing,
    Surroundings,
    is_set_plainly,
    resolve,
)
from druse.fingerprint.template import IMPORT, OUTER, Ref, Template

if TYPE_CHECKING:
    from druse.fingerprint.builder import Builder
    from druse.fingerprint.graph import Part


_IMPORTS: Final = "importlib.import_module"


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
    meaning = _meaning(builder, ref, around)
    if isinstance(meaning, Nothing):
        _note_missing(meaning, ref, node)
        return [tag(meaning.kind) + text(meaning.name)]
    if ref.annotation and not _is_users_class(meaning):
        return [tag("annotation") + text((ref.name, *ref.chain)[-1])]
    if isinstance(meaning, External):
        if node.unit is not None and not (ref.spelt_out and meaning.dotted == _IMPORTS):
            blindspots.note_external(node.unit, meaning.dotted, ref.line)
        return [builder.external_node(meaning.dotted, meaning.origin)]
    if ref.target and not meaning.rest and is_set_plainly(meaning.value, ref.target):
        return [tag("target") + b"".join(map(text, (ref.name, *ref.chain)))]
    return _found(builder, meaning, ref, node)


def _meaning(builder: Builder, ref: Ref, around: Surroundings) -> Found | External | Nothing:
    """What a name means; looked up once where it is the same for all code of a module."""
    if ref.kind != OUTER or ref.name in around.cells or ref.name.startswith("__"):
        return _external(resolve(ref, around))
    key = (id(around.globals), ref.name, ref.chain)
    known = builder.meanings.get(key)
    if known is None:
        known = builder.meanings[key] = _external(resolve(ref, around))
    return known


def _external(meaning: Found | External | Nothing) -> Found | External | Nothing:
    external = external_name(meaning.value) if isinstance(meaning, Found) else None
    if external is None or not isinstance(meaning, Found):
        return meaning
    return External(".".join((external.dotted, *meaning.rest)), external.origin)


def _found(builder: Builder, meaning: Found, ref: Ref, node: Node) -> list[Part]:
    value, unit = meaning.value, node.unit
    is_value = not is_code(value)
    if unit is not None and is_value:
        cls = type(value)
        blindspots.note_external(unit, f"{cls.__module__}.{cls.__qualname__}", ref.line)
    stands: Part | None = builder.state.part(builder, meaning, node)
    if stands is None and is_value:
        stands = _of_the_project(meaning, ref)
    if stands is None:
        path = f"{node.path if unit is None else unit.name} reads {meaning.name}"
        stands = builder.named(value, path, "global", meaning.name, ref.line)
    rest = b"".join([b"." + text(name) for name in meaning.rest])
    if is_value and _is_sentinel(value):
        rest = b"is" + text(meaning.name.rpartition(".")[2]) + rest
    return [stands, rest] if rest else [stands]


def _is_sentinel(value: Any) -> bool:
    """Whether only its identity tells a value that is no code from others: then its name has to."""
    if type(value) is object:
        return True
    if not is_made_here(type(value)):
        return False
    return getattr(value, "__dict__", None) == {}


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
