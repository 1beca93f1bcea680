"""Treatments: what a condition puts into the context before its cells begin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import update_wrapper
from typing import Any, overload

from druse import names
from druse.context import FrozenContext
from druse.errors import DefinitionError

Apply = Callable[[FrozenContext], Any]


class Treatment:
    """A named condition: a mapping of context values, or a callable that adds them.

    A callable is applied when a run is planned, once for each replicate, with the generators
    seeded; what it adds counts only where a step reads it.
    """

    def __init__(self, name: str, apply: Apply | Mapping[str, Any] | None = None) -> None:
        self.name = names.check_condition(name)
        if apply is None:
            apply = {}
        if not callable(apply) and not isinstance(apply, Mapping):
            raise DefinitionError(
                f"treatment {name!r} has to be a mapping of context values or a callable that "
                f"takes the context, and not {type(apply).__name__}"
            )
        self._callable: Apply | None = apply if callable(apply) else None
        self._values: dict[str, Any] = {} if callable(apply) else dict(apply)

    @property
    def apply_map(self) -> dict[str, Any]:
        """The values of a treatment that is a mapping."""
        return dict(self._values)

    @property
    def is_constant(self) -> bool:
        """Whether it adds the same values in every replicate, being a mapping."""
        return self._callable is None

    def apply(self, ctx: FrozenContext) -> None:
        """Adds the values. Raises ContextMutationError for a key that is set already."""
        if self._callable is not None:
            self._callable(ctx)
            return
        for key, value in self._values.items():
            ctx.add(key, value)

    def __repr__(self) -> str:
        return f"Treatment(name={self.name!r})"


@overload
def treatment(name: str) -> Callable[[Apply], Callable[[], Treatment]]: ...
@overload
def treatment(name: str, apply: Apply | Mapping[str, Any]) -> Treatment: ...
def treatment(
    name: str, apply: Apply | Mapping[str, Any] | None = None
) -> Treatment | Callable[[Apply], Callable[[], Treatment]]:
    """A Treatment of this name; without `apply`, a decorator for the callable of one."""
    if apply is not None:
        return Treatment(name, apply)

    def decorate(fn: Apply) -> Callable[[], Treatment]:
        def factory() -> Treatment:
            return Treatment(name, fn)

        return update_wrapper(factory, fn)

    return decorate
