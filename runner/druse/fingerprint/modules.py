"""Modules that code passes on as values: all that they say counts, as text."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from druse.fingerprint.encoding import tag, text
from druse.fingerprint.packages import origin_of_module
from druse.fingerprint.places import shown_file
from druse.fingerprint.sources import source_of
from druse.fingerprint.syntax import statements_template
from druse.fingerprint.template import Ref
from druse.fingerprint.units import Unit

if TYPE_CHECKING:
    from druse.fingerprint.builder import Builder
    from druse.fingerprint.graph import Node, Part


def unit_of_module(module: ModuleType) -> Unit | None:
    if not origin_of_module(module.__name__).is_user:
        return None
    file = getattr(module, "__file__", None)
    shown = shown_file(file, vars(module)) if isinstance(file, str) else None
    return Unit("module", module.__name__, shown)


def expand_module(builder: Builder, module: ModuleType, node: Node) -> list[Part]:
    origin = origin_of_module(module.__name__)
    if node.unit is None:
        return builder.external(module.__name__, origin)
    node.unit.blind_spots.append(
        f"the module {module.__name__} is used as a value: which of its names are read is not seen"
    )
    file = getattr(module, "__file__", None)
    source = source_of(file, vars(module)) if isinstance(file, str) else None
    if source is None:
        return [tag("module") + text(module.__name__)]
    if not source.says(module):
        node.unit.uncacheable = f"{module.__name__}: {file} has changed since it was imported"
    try:
        template = statements_template(source.tree.body)
    except (SyntaxError, ValueError, RecursionError):
        node.unit.uncacheable = f"{module.__name__}: {file} cannot be parsed"
        return [tag("module")]
    pieces = (_name(piece) if isinstance(piece, Ref) else piece for piece in template.pieces)
    return [tag("module"), *pieces]


def _name(ref: Ref) -> bytes:
    return b"".join(map(text, (ref.name, *ref.chain, ref.module, ref.member or "")))
