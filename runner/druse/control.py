"""What a run is asked to do otherwise about steps: execute them, keep their results or not, check.

Steps are named as their functions or classes are: `train`, `TrainStep`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

from druse.errors import DefinitionError

ALL = "*"


def names_of(step: Any) -> frozenset[str]:
    """The names that a step or datasource answers to."""
    function = getattr(step, "fn", None)
    return frozenset({type(step).__name__, getattr(function, "__name__", type(step).__name__)})


class Wishes(TypedDict, total=False):
    """The keywords of `run` that make a `Control`."""

    force: Iterable[str]
    force_downstream: bool
    cache: Mapping[str, bool]
    check: bool


@dataclass(frozen=True)
class Control:
    """`force` names steps whose results are not taken from the store; with `force_downstream`,
    nothing that comes after them is either. `cache` overrides, step by step ("*": for all), what
    the steps say of being cacheable. `check` looks whether steps change what they are given.
    """

    force: frozenset[str] = frozenset()
    force_downstream: bool = False
    cache: Mapping[str, bool] = field(default_factory=dict)
    check: bool = False

    @classmethod
    def of(cls, wishes: Wishes) -> Control:
        """Raises TypeError for a keyword that is none, DefinitionError for a wrong value."""
        for name in wishes:
            if name not in Wishes.__annotations__:
                raise TypeError(f"run() got an unexpected keyword argument {name!r}")
        force = wishes.get("force", ())
        if isinstance(force, str):
            raise DefinitionError(f"force has to be a collection of steps' names: [{force!r}]")
        return cls(
            frozenset(force),
            bool(wishes.get("force_downstream", False)),
            dict(wishes.get("cache", {})),
            bool(wishes.get("check", False)),
        )

    def forces(self, step: Any) -> bool:
        return bool(self.force) and not self.force.isdisjoint(names_of(step))

    def keeps(self, step: Any) -> bool:
        """Whether a step's results are kept one by one, and may be taken from the store."""
        if step.volatile:
            return False
        if not self.cache:
            return bool(step.cacheable)
        for name in sorted(names_of(step)):
            if name in self.cache:
                return self.cache[name]
        return self.cache.get(ALL, bool(step.cacheable))

    def require_known(self, steps: Iterable[Any]) -> None:
        """Raises DefinitionError for a step that none of these is."""
        known = {name for step in steps for name in names_of(step)}
        for name in sorted((self.force | self.cache.keys()) - known - {ALL}):
            near = difflib.get_close_matches(name, known, n=1)
            hint = (
                f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(known))}"
            )
            raise DefinitionError(f"there is no step {name!r} in what is to be run; {hint}")
