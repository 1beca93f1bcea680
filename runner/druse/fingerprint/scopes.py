"""Scopes: what a name means where it is read, as Python's own rules have it.

A function's body decides as a whole which names are local, so a name that is read waits until its
scope ends. A class's names are seen by its body only, not by the functions in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from druse.fingerprint.template import Rebinding, Ref

_FUNCTIONS: Final = ("function", "comprehension")


@dataclass(slots=True)
class Occurrence:
    """A name that is read, at a place in the output; `direct` within a class's own body."""

    index: int  # -1: it only may mean something further out
    name: str
    chain: tuple[str, ...]
    line: int
    annotation: bool = False
    target: str = ""
    optional: bool = False
    spelt_out: bool = False
    direct: bool = True

    def again(self) -> Occurrence:
        """The same name, in case the scope has not bound it yet: a class body looks further."""
        return replace(self, index=-1, direct=False, optional=True)


@dataclass(slots=True)
class Scope:
    kind: str
    bound: set[str] = field(default_factory=set)
    globals: set[str] = field(default_factory=set)
    nonlocals: set[str] = field(default_factory=set)
    pending: list[Occurrence] = field(default_factory=list)
    rebinds: list[Rebinding] = field(default_factory=list)
    _imports: dict[str, Import | None] = field(default_factory=dict)

    def bind(self, name: str) -> None:
        self.bound.add(name)
        if name in self._imports:
            self._imports[name] = None

    def import_(self, name: str, ref: Ref, index: int) -> None:
        """`index` is where the output says what the statement imports."""
        known = self._imports.get(name)
        if name not in self.bound:
            self._imports[name] = Import(ref, [index])
        elif known is not None and (joined := known.ref.together(ref)) is not None:
            self._imports[name] = Import(joined, [*known.places, index])
        else:
            self._imports[name] = None
        self.bound.add(name)

    def imported(self, name: str) -> Import | None:
        """What the name stands for, if nothing but one import binds it."""
        return self._imports.get(name)

    def told_by_use(self) -> list[int]:
        """The places of imports that need not be told: what they bind says it where it is read."""
        return [place for found in self._imports.values() if found for place in found.places]

    def surely_local(self, name: str) -> bool:
        """Whether a name is known to be local already, and not by an import."""
        return name in self.bound and self.kind in _FUNCTIONS and name not in self._imports

    def binds(self, name: str) -> bool:
        return self.kind != "module" and name in self.bound and name not in self.nonlocals

    def sees(self, seen: Occurrence) -> bool:
        return self.binds(seen.name) and (self.kind != "class" or seen.direct)


@dataclass(frozen=True, slots=True)
class Import:
    ref: Ref
    places: list[int]

    def reading(self, seen: Occurrence) -> Ref:
        return self.ref._replace(
            name=seen.name,
            chain=seen.chain,
            line=seen.line,
            annotation=seen.annotation,
            target=seen.target,
            spelt_out=seen.spelt_out,
        )
