"""The graph of everything that a key depends on, and the digest of each node.

A node is a container, an instance, a function, a class or a package. Its parts are bytes, other
nodes, and bags of entries whose order does not count. The digest of a node covers its parts with
the digests of the nodes in them. Nodes that reach each other (recursion, mutual imports, an object
that holds itself) have no such order: they are told apart by refining classes until nothing more
can be told, and get the digest of the whole group together with their class in it. So no name and
no address enters, and equal structures have equal digests, shared or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from druse.fingerprint.encoding import INLINE, digest_of, length

if TYPE_CHECKING:
    from druse.fingerprint.units import Unit

_HOLE: Final = b"@"


@dataclass(slots=True, eq=False)
class Edge:
    """A named reference to a node: it makes a component of its own in a manifest."""

    node: Node
    kind: str
    name: str
    line: int | None = None


@dataclass(slots=True, eq=False)
class Bag:
    """Entries whose order does not count."""

    entries: list[list[Part]]


@dataclass(slots=True, eq=False)
class Node:
    """`subject` is kept so that its id stays its own. `expand` gives the parts, once."""

    subject: Any
    expand: Callable[[Node], list[Part]] | None
    path: str
    parts: list[Part] = field(default_factory=list)
    encoding: bytes | None = None  # of a node that turned out to be short
    digest: bytes | None = None
    unit: Unit | None = None
    refusal: str | None = None
    states: list[tuple[object, str]] = field(default_factory=list)  # what in it is state, by name
    index: int = -1
    low: int = -1
    on_stack: bool = False
    below: list[Node] | None = None

    def children(self) -> list[Node]:
        """The nodes in its parts, once these are there."""
        if self.below is None:
            self.below = list(_below(self.parts))
        return self.below


Part = bytes | Node | Edge | Bag


def _below(parts: list[Part]) -> Iterator[Node]:
    for part in parts:
        kind = type(part)
        if kind is Edge:
            yield part.node  # type: ignore[union-attr]
        elif kind is Bag:
            for entry in part.entries:  # type: ignore[union-attr]
                yield from _nodes(entry)
        elif kind is not bytes:
            yield part  # type: ignore[misc]


def _nodes(parts: list[Part]) -> Iterator[Node]:
    for part in parts:
        if type(part) is Node:
            yield part
        elif type(part) is Edge:
            yield part.node


def standing(node: Node) -> bytes:
    """What stands for a node within another one."""
    if node.encoding is not None:
        return node.encoding
    assert node.digest is not None
    return b"#" + node.digest


def render(parts: list[Part], stand: Callable[[Node], bytes]) -> bytes:
    """The bytes of `parts`, with `stand(node)` for each node."""
    out: list[bytes] = []
    for part in parts:
        if type(part) is bytes:
            out.append(part)
        elif type(part) is Bag:
            entries = sorted(render(entry, stand) for entry in part.entries)
            out.append(length(len(entries)))
            out += entries
        elif type(part) is Edge:
            out.append(stand(part.node))
        else:
            out.append(stand(part))  # type: ignore[arg-type]
    return b"".join(out)


def settle(root: Node) -> None:
    """Gives `root`, and all that it reaches, their digests (by Tarjan's algorithm)."""
    if root.digest is not None:
        return
    counter = 0
    stack: list[Node] = []
    work: list[tuple[Node, Iterator[Node]]] = []

    def enter(node: Node) -> None:
        nonlocal counter
        if node.expand is not None:
            expand, node.expand = node.expand, None
            node.parts = expand(node)
        node.index = node.low = counter
        counter += 1
        node.on_stack = True
        stack.append(node)
        work.append((node, iter(node.children())))

    enter(root)
    while work:
        node, children = work[-1]
        for child in children:
            if child.digest is not None:
                continue
            if child.index < 0:
                enter(child)
                break
            if child.on_stack:
                node.low = min(node.low, child.index)
        else:
            work.pop()
            if work:
                above = work[-1][0]
                above.low = min(above.low, node.low)
            if node.low == node.index:
                _close(_component(stack, node))


def _component(stack: list[Node], first: Node) -> list[Node]:
    group = []
    while True:
        node = stack.pop()
        node.on_stack = False
        group.append(node)
        if node is first:
            return group


def _close(group: list[Node]) -> None:
    if len(group) == 1 and all(child is not group[0] for child in group[0].children()):
        node = group[0]
        encoding = render(node.parts, standing)
        node.digest = digest_of(encoding)
        if len(encoding) <= INLINE:
            node.encoding = encoding
        return
    _Group(group).close()


@dataclass(slots=True)
class _Sketch:
    """What of a node lies outside its group: a digest, and where the group's nodes come in."""

    fixed: bytes
    ordered: list[Node]
    bags: list[list[tuple[bytes, list[Node]]]]


class _Group:
    def __init__(self, nodes: list[Node]) -> None:
        self._nodes = nodes
        self._inside = {id(node) for node in nodes}
        self._sketches = {id(node): self._sketch(node) for node in nodes}

    def close(self) -> None:
        classes = self._classes()
        order = {colour: length(n) for n, colour in enumerate(sorted(set(classes.values())))}
        names = {key: order[colour] for key, colour in classes.items()}
        shapes = sorted({names[id(node)]: self._shape(node, names) for node in self._nodes}.items())
        whole = digest_of(b"group" + b"".join(digest_of(shape) for _, shape in shapes))
        for node in self._nodes:
            node.digest = digest_of(b"member" + whole + names[id(node)])

    def _classes(self) -> dict[int, bytes]:
        """The coarsest division in which nodes of one class look alike, however far one looks."""
        colours = {key: sketch.fixed for key, sketch in self._sketches.items()}
        count = len(set(colours.values()))
        while True:
            finer = {id(node): digest_of(self._shape(node, colours)) for node in self._nodes}
            if len(set(finer.values())) == count:
                return finer
            colours, count = finer, len(set(finer.values()))

    def _shape(self, node: Node, names: dict[int, bytes]) -> bytes:
        sketch = self._sketches[id(node)]
        out = [sketch.fixed, *(names[id(child)] for child in sketch.ordered)]
        for bag in sketch.bags:
            out += sorted(
                digest_of(fixed + b"".join(names[id(child)] for child in children))
                for fixed, children in bag
            )
        return b"".join(out)

    def _stand(self, node: Node) -> bytes:
        return _HOLE if id(node) in self._inside else standing(node)

    def _sketch(self, node: Node) -> _Sketch:
        ordered: list[Node] = []
        bags = []
        for part in node.parts:
            if type(part) is Bag:
                bag = [(render(e, self._stand), self._within(e)) for e in part.entries]
                if any(children for _, children in bag):
                    bags.append(bag)
            else:
                ordered += self._within([part])
        return _Sketch(digest_of(render(node.parts, self._stand)), ordered, bags)

    def _within(self, parts: list[Part]) -> list[Node]:
        return [node for node in _nodes(parts) if id(node) in self._inside]
