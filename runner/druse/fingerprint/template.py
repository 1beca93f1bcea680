"""What of one function, or one statement of a module, counts: its syntax, and what it refers to.

Made once from source (`syntax`), then used by every key that reaches the function. Pieces are
bytes, and references by name that are resolved when a key is made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

FILLING: Final = frozenset(
    {
        *("append", "appendleft", "extend", "extendleft", "insert", "add", "update", "setdefault"),
        *("pop", "popleft", "popitem", "remove", "discard", "clear", "subtract", "__setitem__"),
    }
)
OUTER: Final = "outer"  # bound outside of the function: in an enclosing one, its module, builtins
IMPORT: Final = "import"  # bound by an import within the function


class Ref(NamedTuple):
    """A name that the code reads, with the attributes that follow it. There are very many."""

    kind: str
    name: str
    chain: tuple[str, ...]
    line: int
    annotation: bool = False
    module: str = ""  # of an import: what is imported, relative to `level`
    level: int = 0
    member: str | None = None  # `from module import member`
    target: str = ""  # an attribute of what it means is assigned
    optional: bool = False  # a class body has bound the name, but perhaps not yet
    spelt_out: bool = False  # what it is asked for stands beside it: it hides nothing
    top: bool = False  # `import a.b` binds `a`; `module` may be several, separated by commas

    def together(self, other: Ref) -> Ref | None:
        """One reference for two imports that bind the same name; None if they differ."""
        mine, theirs = (ref.module.partition(".")[0] for ref in (self, other))
        if self.top and other.top and mine == theirs:
            return self._replace(module=f"{self.module},{other.module}")
        return self if other._replace(line=self.line) == self else None


class Rebinding(NamedTuple):
    """`base.name = ...`; or a name declared `global` or `nonlocal` that is assigned, without base;

    or `base[...] = ...`, `base.append(...)` and the like, without name.
    """

    base: Ref | None
    name: str
    line: int


class Call(NamedTuple):
    """A call of a builtin by which code reaches what its text does not say."""

    name: str
    computed: bool
    line: int


@dataclass(slots=True)
class Template:
    pieces: list[bytes | Ref] = field(default_factory=list)
    docs: list[str] = field(default_factory=list)
    rebinds: list[Rebinding] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    reads_doc: bool = False
    reads_names: bool = False
    reads_source: bool = False
