"""Parameters of the functions that decorators turn into steps, datasources and verifiers."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from druse.errors import ParameterError

EMPTY = inspect.Parameter.empty
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def of(fn: Callable[..., Any], leave_out: Iterable[str] = ()) -> list[inspect.Parameter]:
    """The named parameters of a function, without those that the runner hands in itself."""
    left_out = frozenset(leave_out)
    found = inspect.signature(fn).parameters.values()
    return [p for p in found if p.name not in left_out and p.kind not in _VARIADIC]


def bind(parameters: Sequence[inspect.Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults and given values together. Raises ParameterError."""
    check(parameters, given)
    values = {p.name: p.default for p in parameters if p.default is not EMPTY}
    values.update(given)
    return values


def check(parameters: Sequence[inspect.Parameter], given: Mapping[str, Any]) -> None:
    """Raises ParameterError for parameters that are not known, or missing without a default."""
    known = [p.name for p in parameters]
    unknown = sorted(set(given) - set(known))
    if unknown:
        takes = ", ".join(known) or "none"
        raise ParameterError(f"Unknown parameters: {', '.join(unknown)} (it takes: {takes})")
    missing = [p.name for p in parameters if p.default is EMPTY and p.name not in given]
    if missing:
        raise ParameterError(f"Missing parameters: {', '.join(missing)}")


def annotated(fn: Callable[..., Any], kind: type) -> list[str]:
    """The parameters that are annotated with `kind`, however the annotation is written."""
    parameters = of(fn)
    try:
        hints = typing.get_type_hints(inspect.unwrap(fn))
    except Exception:  # a name that exists only for type checkers; then the text has to do
        hints = {}
    found = []
    for parameter in parameters:
        hint = hints.get(parameter.name, parameter.annotation)
        if isinstance(hint, str):
            hint = hint.strip("'\"").rsplit(".", 1)[-1].split(" |")[0]
        options = typing.get_args(hint) or (hint,)
        if kind in options or kind.__name__ in options:
            found.append(parameter.name)
    return found
