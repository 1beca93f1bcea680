"""Builds the graph for values and code: which node stands for an object, and what is in it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from druse.errors import Unhashable
from druse.fingerprint.encoding import atom, digest_of, inline, tag, text
from druse.fingerprint.graph import Edge, Node, Part, settle
from druse.fingerprint.kinds import kind_of
from druse.fingerprint.packages import (
    Distribution,
    Origin,
    file_digest,
    is_extension,
    module_file,
)
from druse.fingerprint.plain import CONTAINERS, PlainEncoder
from druse.fingerprint.proxies import is_code
from druse.fingerprint.sources import one_look
from druse.fingerprint.units import Unit

if TYPE_CHECKING:
    from druse.fingerprint.instances import Facts
    from druse.fingerprint.patches import Patch
    from druse.fingerprint.resolve import Meaning
    from druse.fingerprint.state import State

Expand = Callable[["Builder", Any, Node], list[Part]]


class Refused(Exception):
    """Raised by what expands a value of a kind that has no canonical form."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Builder:
    """Nodes by the identity of what they stand for. Values seen by it count as they were then.

    `code` is the builder whose nodes stand for functions and classes, if not this one; threads
    share it, so whoever uses it holds its lock, and leaves no node of it without its digest.
    """

    def __init__(self, packages: str, state: State, code: Builder | None = None) -> None:
        self.packages = packages
        self.state = state
        self.code = code or self
        self.lock = threading.RLock()
        self.meanings: dict[tuple[int, str, tuple[str, ...]], Meaning] = {}
        self.facts: dict[type, Facts] = {}
        self._nodes: dict[int, Node] = {}
        self._externals: dict[str, Node] = {}
        self._packages: dict[Distribution, Node] = {}
        self._patches: dict[tuple[str, ...], Node] = {}
        self._plain = PlainEncoder()

    # --- parts ---------------------------------------------------------------------------------

    def part(self, value: Any, path: str) -> Part:
        """What stands for a value within another one."""
        standing = self.plain(value)
        return self.node(value, path) if standing is None else standing

    def plain(self, value: Any) -> bytes | None:
        """What stands for plain data; None for any other value."""
        encoded = atom(value)
        if encoded is None and type(value) in CONTAINERS:
            encoded = self._plain.encode(value)
            return None if encoded is None else inline(encoded)
        return encoded

    def named(self, value: Any, path: str, kind: str, name: str, line: int | None = None) -> Part:
        """A value that makes a component of its own: a global that is read, say."""
        node = self.node(value, path)
        return node if node.unit is not None else Edge(node, kind, name, line)

    def node(self, value: Any, path: str) -> Node:
        if self.code is not self and is_code(value):
            known = self.code._nodes.get(id(value))
            if known is not None and known.digest is not None:
                return known
            with self.code.lock:
                return settled(self.code.node(value, path))
        known = self._nodes.get(id(value))
        if known is not None:
            return known
        standing = self.plain(value)
        if standing is not None:
            node = Node(value, None, path, [standing], standing, digest_of(standing))
        else:
            node = self._new(value, path)
        self._nodes[id(value)] = node
        return node

    def _new(self, value: Any, path: str) -> Node:
        kind = kind_of(value)
        node = Node(value, None, path)
        node.expand = lambda node: self._expand(kind, node)
        if kind.unit is not None:
            node.unit = kind.unit(value)
        return node

    def _expand(self, kind: Any, node: Node) -> list[Part]:
        try:
            parts: list[Part] = kind.expand(self, node.subject, node)
        except Refused as refused:
            node.refusal = refused.kind
        except Exception as error:  # whatever a package's object does when it is looked at
            if node.unit is not None:
                raise
            cls = type(node.subject)
            node.refusal = f"{cls.__qualname__}, which raised {type(error).__name__}: {error},"
        else:
            return parts
        return [tag("refused")]

    def patches(self, found: list[Patch]) -> Node:
        """One node for all that the user put into what is not theirs."""
        names = tuple(patch.name for patch in found)
        known = self._patches.get(names)
        if known is None:
            known = self._patches[names] = Node(found, None, "what was put into packages")
            known.parts = [tag("patches")]
            for name, value in found:
                known.parts += [text(name), Edge(self.node(value, name), "patch", name)]
        return known

    # --- what is not the user's ----------------------------------------------------------------

    def external(self, dotted: str, origin: Origin) -> list[Part]:
        """Something of the standard library or a package: its name, and the package's version."""
        parts: list[Part] = [tag("external") + text(dotted)]
        if origin.distribution is not None:
            parts.append(self.package(origin.distribution))
        if origin.kind != "stdlib":
            parts += self._extension(dotted)
        return parts

    def external_node(self, dotted: str, origin: Origin) -> Node:
        node = self.code._externals.get(dotted)
        if node is None:
            node = Node(dotted, None, dotted, self.external(dotted, origin))
            settle(node)
            self.code._externals[dotted] = node
        return node

    def _extension(self, dotted: str) -> list[Part]:
        """The file of a module that is compiled code and was referred to by its own name."""
        name = dotted
        while name:
            if name in sys.modules:
                file = module_file(name)
                is_own = file is not None and is_extension(name)
                return [tag("extension") + file_digest(str(file))] if is_own else []
            name = name.rpartition(".")[0]
        return []

    def package(self, distribution: Distribution) -> Node:
        node = self.code._packages.get(distribution)
        if node is None:
            content = tag("package") + text(distribution.name)
            if self.packages != "ignore":
                content += text(distribution.version) + text(distribution.mark)
            unit = Unit("package", distribution.name, detail=distribution.version)
            node = Node(distribution, None, distribution.name, [content], None, None, unit)
            node.digest = digest_of(content)
            self.code._packages[distribution] = node
        return node


def settled(node: Node) -> Node:
    """The node, with its digest."""
    with one_look():
        settle(node)
    return node


def check(nodes: list[Node]) -> None:
    """Raises Unhashable for the first value that has no canonical form."""
    for node in nodes:
        if node.refusal is not None:
            raise Unhashable(node.path, node.refusal)


def reached(root: Node) -> list[Node]:
    """All nodes from `root` on, each once, in the order in which they are met."""
    seen = {id(root)}
    order = []
    todo = [root]
    while todo:
        node = todo.pop()
        order.append(node)
        for child in reversed(node.children()):
            if id(child) not in seen:
                seen.add(id(child))
                todo.append(child)
    return order
