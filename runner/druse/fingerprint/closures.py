"""Closures: one digest for all that some code depends on, and what it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from druse.fingerprint.encoding import digest_of, finish, tag, text
from druse.fingerprint.graph import Bag, Edge, Node, Part, standing
from druse.fingerprint.state import described
from druse_store import Digest

if TYPE_CHECKING:
    from druse.fingerprint.units import Unit

_SHOWN: Final = (int, float, bool, type(None))
_GENERATORS: Final = frozenset(
    {("random", "Random"), ("numpy", "Generator"), ("numpy", "RandomState"), ("torch", "Generator")}
)


@dataclass(frozen=True, slots=True)
class Component:
    """One thing that counts: its own digest, without those of what it refers to."""

    name: str
    kind: str  # function | class | module | global | attribute | package | ...
    digest: Digest
    file: str | None = None
    line: int | None = None
    detail: str = ""  # the version of a package, the value of a number


@dataclass(frozen=True, slots=True)
class Closure:
    digest: Digest
    components: tuple[Component, ...]
    warnings: tuple[str, ...] = ()
    uncacheable: str | None = None
    blind_spots: tuple[str, ...] = ()


def collect(nodes: list[Node], patches: list[Node] | None = None) -> Closure:
    """The closure of all nodes from the first on; `patches` count wherever they are met, and so
    always. Both are settled.
    """
    root, refused = nodes[0], None
    if patches is not None:
        nodes = list({id(node): node for node in (*nodes, *patches)}.values())
        refused = next((node for node in patches if node.refusal is not None), None)
    units = [node.unit for node in nodes if node.unit is not None]
    names = {key: name for node in reversed(nodes) for key, name in reversed(node.states)}
    states = sorted(map(described, names.values()))
    extra: list[bytes] = []
    templates = [unit.template for unit in units if unit.template is not None]
    if any(template.reads_doc for template in templates):
        extra += [tag("docs"), *(text(doc) for unit in units for doc in unit.docs)]
    if any(template.reads_names for template in templates):
        extra += [tag("names"), *(text(unit.name) for unit in units if unit.kind != "package")]
    if patches is not None:
        extra += [tag("patches"), standing(patches[0])]
    content = standing(root) + (digest_of(b"".join(extra)) if extra else b"")
    warnings = [warning for unit in units for warning in unit.warnings]
    return Closure(
        digest=finish(content),
        components=_components(root, nodes),
        warnings=_once([*states, *warnings, *_generators(root, nodes)]),
        uncacheable=_uncacheable(units, refused),
        blind_spots=_once(spot for unit in units for spot in unit.blind_spots),
    )


def _uncacheable(units: list[Unit], refused: Node | None) -> str | None:
    if refused is not None:
        return f"{refused.path} was set to {refused.refusal} which has no canonical form"
    return next((unit.uncacheable for unit in units if unit.uncacheable), None)


def _generators(root: Node, nodes: list[Node]) -> Iterator[str]:
    """What draws from generators that nobody sets before each step, as the shared ones are."""
    own = f"{root.unit.name}(), default" if root.unit is not None else ""
    for node in nodes:
        kind = type(node.subject)
        if (kind.__module__.partition(".")[0], kind.__name__) not in _GENERATORS:
            continue
        if own and node.path.startswith(own):
            continue  # each cell gets a copy
        yield (
            f"{node.path}: a random generator that goes on from one cell to the next, so results "
            "depend on which cells ran before: make it in the step, or draw from random or "
            "numpy.random, which are set before each step"
        )


def _once(sentences: object) -> tuple[str, ...]:
    return tuple(dict.fromkeys(sentences))  # type: ignore[call-overload]


def _components(root: Node, nodes: list[Node]) -> tuple[Component, ...]:
    own, found = _Own(), _Components()
    for node in nodes:
        unit = node.unit
        file = None if unit is None else unit.file
        if unit is not None:
            found.add(unit.name, unit.kind, own.content(node), file, unit.line, unit.detail)
        for part in node.parts:
            if type(part) is Edge:
                value = part.node.subject
                detail = repr(value)[:60] if isinstance(value, _SHOWN) else ""
                found.add(part.name, part.kind, own.content(part.node), file, part.line, detail)
    if root.unit is None and root.digest is not None:
        found.add(root.path, "object", digest_of(own.content(root)), None, None, "")
    return found.in_order()


class _Components:
    """What counts, each once: where it is met first."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str | None, bytes], Component] = {}

    def add(
        self, name: str, kind: str, content: bytes, file: str | None, line: int | None, detail: str
    ) -> None:
        key = (kind, name, file, content)
        if key not in self._found:
            digest = Digest(digest_of(content))
            self._found[key] = Component(name, kind, digest, file, line, detail)

    def in_order(self) -> tuple[Component, ...]:
        order = sorted(self._found.values(), key=lambda c: (c.kind, c.name, c.file or "", c.digest))
        return tuple(order)


class _Own:
    """What of a node is its own: with holes where it refers to what is a component itself."""

    def __init__(self) -> None:
        self._contents: dict[int, bytes] = {}

    def content(self, node: Node) -> bytes:
        known = self._contents.get(id(node))
        if known is None:
            self._contents[id(node)] = b"@"  # what leads back here
            parts = [part if type(part) is bytes else self._part(part) for part in node.parts]
            known = self._contents[id(node)] = digest_of(b"".join(parts))
        return known

    def _part(self, part: Part) -> bytes:
        if type(part) is bytes:
            return part
        if type(part) is Bag:
            return b"".join(sorted(b"".join(map(self._part, entry)) for entry in part.entries))
        if type(part) is Edge:
            return b"^"
        assert isinstance(part, Node)
        return b"^" if part.unit is not None else self.content(part)
