"""What is noted of a piece of code, or a package, beside its digest."""

from __future__ import annotations

from dataclasses import dataclass, field

from druse.fingerprint.template import Template


@dataclass(slots=True, eq=False)
class Unit:
    """A function, class, module or package that a closure reaches."""

    kind: str
    name: str
    file: str | None = None
    line: int | None = None
    detail: str = ""
    template: Template | None = None
    docs: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    blind_spots: list[str] = field(default_factory=list)
    uncacheable: str | None = None
    rebinds: set[tuple[int, str]] = field(default_factory=set)  # owners by identity, and names
    fills: set[tuple[int, str]] = field(default_factory=set)  # the same of what it fills in place
