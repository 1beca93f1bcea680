"""A fingerprinter: what the code and the values of one plan are, each looked at once.

The values of globals are hashed when they are first met and not again, so one fingerprinter serves
one plan, before user code runs. What source says is kept by the process.
"""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import Any, Final, Self

from druse.fingerprint.builder import Builder, check, reached, settled
from druse.fingerprint.closures import Closure, collect
from druse.fingerprint.encoding import finish
from druse.fingerprint.externals import is_made_here
from druse.fingerprint.graph import Node, settle, standing
from druse.fingerprint.patches import Patch, patches
from druse.fingerprint.proxies import is_code
from druse.fingerprint.resolve import Found
from druse.fingerprint.selves import rebound_when_called
from druse.fingerprint.sources import one_look
from druse.fingerprint.state import Key, State, is_cache
from druse.fingerprint.values import plain_digest
from druse_store import Digest

POLICIES: Final = ("used", "ignore")


class Fingerprinter:
    """`packages`: whether the versions of the packages that code refers to count ("used").

    Within a `with` block it also serves the module's own `value_digest` and `closure`.
    """

    def __init__(self, packages: str = "used") -> None:
        self._packages = _checked(packages)
        self._builders: dict[tuple[str, frozenset[Key]], Builder] = {}
        self._closures: dict[tuple[str, int], tuple[Any, Closure]] = {}
        self._lock = threading.RLock()
        self._patches: list[Patch] = []
        self._loaded = -1  # how many modules were loaded when these were looked for

    def value_digest(self, value: Any, path: str = "value") -> Digest:
        """Looks at the value anew each time. Raises Unhashable."""
        digest = plain_digest(value)
        if digest is not None:
            return digest
        with self._lock:
            code = self._builder(self._packages, frozenset())
        node = Builder(self._packages, State(frozenset()), code).node(value, path)
        settle(node)
        check(reached(node))
        return finish(standing(node))

    def closure(self, obj: Any, *, packages: str | None = None) -> Closure:
        """All that a function, class, method, partial or instance depends on. Raises Unhashable."""
        policy = self._packages if packages is None else _checked(packages)
        with self._lock:
            known = self._closures.get((policy, id(obj)))
            if known is not None:
                return known[1]
            builder = self._builder(policy, _own_state(obj))
            nodes = self._nodes(builder, obj)
            units = [node.unit for each in nodes for node in each if node.unit is not None]
            state = builder.state.found_in(units)
            if state != builder.state.names:
                nodes = self._nodes(self._builder(policy, state), obj)
            check(nodes[0])
            closure = collect(*nodes)
            self._closures[policy, id(obj)] = (obj, closure)
            return closure

    def _builder(self, policy: str, state: frozenset[Key]) -> Builder:
        builder = self._builders.get((policy, state))
        if builder is None:
            builder = self._builders[policy, state] = Builder(policy, State(state))
        return builder

    def _nodes(self, builder: Builder, obj: Any) -> list[list[Node]]:
        """All nodes from that of an object on; and those from one for what user code has put into
        packages, if anything: any code may meet that there."""
        with builder.lock, one_look():
            roots = [settled(builder.node(obj, _name(obj)))]
            if self._loaded != len(sys.modules):
                self._patches, self._loaded = patches(), len(sys.modules)
            if self._patches:
                roots.append(settled(builder.patches(self._patches)))
        return [reached(root) for root in roots]

    def __enter__(self) -> Self:
        _active.append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _active.remove(self)


def _own_state(obj: Any) -> frozenset[Key]:
    """The attributes that a step, or the object of a method, rebinds itself when it is used."""
    owner = getattr(obj, "__self__", obj)
    if is_code(owner) or not is_made_here(type(owner)):
        return frozenset()
    found = rebound_when_called(type(owner), None if owner is obj else obj.__name__)
    held = getattr(owner, "__dict__", {})
    filled = {
        name
        for name in found.filled
        if name not in held or is_cache(Found(held[name], (), name, owner, name))
    }
    return frozenset((id(owner), name) for name in found.rebound | filled)


_active: list[Fingerprinter] = []


def current() -> Fingerprinter:
    """The fingerprinter whose block is open; else one for this call."""
    return _active[-1] if _active else Fingerprinter()


def _checked(packages: str) -> str:
    if packages not in POLICIES:
        from druse.errors import DefinitionError

        raise DefinitionError(
            f"packages={packages!r} is no policy: say 'used' (the versions of the packages that "
            "the code refers to count) or 'ignore'"
        )
    return packages


def _name(obj: Any) -> str:
    return str(getattr(obj, "__qualname__", None) or type(obj).__qualname__)
