"""Steps: what a pipeline is made of; classes, or functions by a decorator."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, ClassVar

from druse import parameters
from druse.artifact import Artifact
from druse.context import IMMUTABLE, FrozenContext, own, own_parameter
from druse.inject import resolve_callable

if TYPE_CHECKING:
    from druse.declare import Declared


class PipelineStep(ABC):
    """One step: `step(data, ctx)` gives the next data, or `(data, metrics)`.

    `cacheable` keeps its results apart from its cell's; `shared` lets replicates share them (for a
    step that draws nothing); `volatile` runs it each time. `version` overrides its code as what
    counts; `depends_on` declares what the code's closure cannot show.
    """

    cacheable: ClassVar[bool] = False
    shared: ClassVar[bool] = False
    volatile: ClassVar[bool] = False
    version: ClassVar[str | int | None] = None
    depends_on: ClassVar[Sequence[Any]] = ()
    packages: ClassVar[str | None] = None

    @abstractmethod
    def __call__(self, data: Any, ctx: FrozenContext) -> Any:
        """Turns data into other data."""

    def setup(self, ctx: FrozenContext) -> None:  # noqa: B027 - to be overridden, or not
        """Runs once before the first cell is executed; not at all when every cell hits."""

    def teardown(self, ctx: FrozenContext) -> None:  # noqa: B027 - to be overridden, or not
        """Runs once after the last cell, if `setup` did."""

    @property
    def params(self) -> dict[str, Any]:
        """What the step was parametrised with."""
        return {}

    @property
    def step_hash(self) -> str:
        """The step's key: hexadecimal digest of its code's closure and parameters."""
        from druse.key import step_digest

        return step_digest(self).hex()


class FunctionStep(PipelineStep):
    """A step that calls a function. Made by the factories that `pipeline_step` returns."""

    fn: ClassVar[Callable[..., Any]]
    factory: ClassVar[Callable[..., PipelineStep]]
    taken: ClassVar[list[inspect.Parameter]]
    defaults: ClassVar[tuple[tuple[str, Any], ...]]
    takes_ctx: ClassVar[bool]

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = given

    @property
    def params(self) -> dict[str, Any]:
        return dict(self._given)

    @property
    def __druse_code__(self) -> tuple[Any, ...]:
        return (self.fn,)

    def __call__(self, data: Any, ctx: FrozenContext) -> Any:
        kind, value = type(self), self._value
        values = {"ctx": ctx} if kind.takes_ctx else {}
        for name, default in kind.defaults:
            values[name] = value(name, default, ctx)
        return kind.fn(data, **values)

    def _value(self, name: str, default: Any, ctx: FrozenContext) -> Any:
        """A parameter, the step's own to change: the next cell is to get what its key says."""
        reads = ctx._reads
        if name in self._given:
            value = self._given[name]
            if isinstance(value, Artifact):
                return value._bound_to(ctx)
            if reads is not None:
                reads.given(name)
        elif name in ctx._data:
            if reads is not None:
                reads.injected(name, ctx._data)
            value = ctx._data[name]
            if type(value) in IMMUTABLE:
                return value
            value = own(value)
            return resolve_callable(value, ctx) if callable(value) else value
        else:
            value = default
            if reads is not None:
                reads.defaulted(name)
        if type(value) in IMMUTABLE:
            return value
        made = resolve_callable(value, ctx) if callable(value) else value
        return own_parameter(value) if made is value else made

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self).factory, self._given)


def _again(factory: Callable[..., PipelineStep], given: dict[str, Any]) -> PipelineStep:
    return factory(**given)


def pipeline_step(
    cacheable: bool = False,
    *,
    shared: bool = False,
    volatile: bool = False,
    version: str | int | None = None,
    depends_on: Sequence[Declared | Any] = (),
    packages: str | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., PipelineStep]]:
    """Decorates `fn(data, ctx, **params)`: a factory of steps by the function's parameters.

    Parameters that a call of the factory leaves out come from the context by their name, or are
    the function's defaults; callables among them are called. The factory raises ParameterError.
    """

    def decorate(fn: Callable[..., Any]) -> Callable[..., PipelineStep]:
        taken = parameters.of(fn, ("data", "ctx"))
        names = list(inspect.signature(fn).parameters)
        data_name = "data" if "data" in names else next((n for n in names if n != "ctx"), "data")
        taken = [p for p in taken if p.name != data_name]
        attributes = {
            "__doc__": fn.__doc__,
            "__module__": fn.__module__,
            "cacheable": cacheable or shared,
            "shared": shared,
            "volatile": volatile,
            "version": version,
            "depends_on": tuple(depends_on),
            "packages": packages,
            "fn": staticmethod(fn),
            "taken": taken,
            "defaults": tuple((p.name, p.default) for p in taken),
            "takes_ctx": "ctx" in names,
        }
        kind = type(f"{fn.__name__.title()}Step", (FunctionStep,), attributes)

        def factory(**overrides: Any) -> PipelineStep:
            parameters.check(taken, overrides)
            step = kind(overrides)
            step.__orig_source__ = inspect.getsourcefile(fn)
            step.__orig_lineno__ = fn.__code__.co_firstlineno
            made: PipelineStep = step
            return made

        type.__setattr__(kind, "factory", staticmethod(factory))
        wrapped = update_wrapper(factory, fn)
        vars(wrapped)["__druse_factory__"] = True  # a pipeline may be given the factory itself
        return wrapped

    return decorate
