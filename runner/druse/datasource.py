"""Datasources: what a cell's data is fetched from."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, ClassVar, overload

from druse import parameters
from druse.context import own_parameter
from druse.errors import DefinitionError

if TYPE_CHECKING:
    from druse.artifact import Artifact
    from druse.context import FrozenContext


class DataSource(ABC):
    """Gives the data that a cell begins with. The flags are those of steps."""

    cacheable: ClassVar[bool] = False
    shared: ClassVar[bool] = False
    volatile: ClassVar[bool] = False
    version: ClassVar[str | int | None] = None
    depends_on: ClassVar[Sequence[Any]] = ()
    packages: ClassVar[str | None] = None

    @abstractmethod
    def fetch(self, ctx: FrozenContext) -> Any:
        """The data of one cell."""


class ExperimentInput(DataSource):
    """Several named datasources; `fetch` gives a dict by these names.

    Artifacts among them link to the experiments that write them.
    """

    def __init__(self, **inputs: DataSource) -> None:
        from druse.artifact import Artifact

        if not inputs:
            raise DefinitionError("At least one input must be provided")
        self._inputs = inputs
        self.required_outputs: list[Artifact] = [
            source for source in inputs.values() if isinstance(source, Artifact)
        ]
        _ = self.replicates  # two different numbers are an error here already

    def fetch(self, ctx: FrozenContext) -> dict[str, Any]:
        return {name: source.fetch(ctx) for name, source in self._inputs.items()}

    @property
    def replicates(self) -> int | None:
        """How many replicates the artifacts have, where that is one number.

        Raises DefinitionError for two different numbers above one.
        """
        found = (
            (name, getattr(source, "replicates", None)) for name, source in self._inputs.items()
        )
        counts = {name: count for name, count in found if count}
        distinct = {count for count in counts.values() if count > 1}
        if len(distinct) > 1:
            each = ", ".join(f"{name}={count}" for name, count in sorted(counts.items()))
            raise DefinitionError(f"Conflicting replicates across artifacts: {each}")
        return max(counts.values(), default=None)


class FunctionSource(DataSource):
    """A datasource that calls a function. Made by the factories that `data_source` returns."""

    fn: ClassVar[Callable[..., Any]]
    factory: ClassVar[Callable[..., DataSource]]

    def __init__(self, params: dict[str, Any]) -> None:
        self._params = params

    @property
    def params(self) -> dict[str, Any]:
        """The function's parameters, with their defaults."""
        return dict(self._params)

    @property
    def __druse_code__(self) -> tuple[Any, ...]:
        return (self.fn,)

    def fetch(self, ctx: FrozenContext) -> Any:
        if not self._params:
            return type(self).fn(ctx)
        params = {name: own_parameter(value) for name, value in self._params.items()}
        return type(self).fn(ctx, **params)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self).factory, self._params)


def _again(factory: Callable[..., DataSource], params: dict[str, Any]) -> DataSource:
    made: DataSource = factory(**params)
    return made


_REGISTERED: dict[str, DataSource] = {}


def register_datasource(name: str, datasource: DataSource) -> None:
    """Makes a datasource known by a name. Raises DefinitionError for a name that is taken."""
    if _REGISTERED.get(name, datasource) is not datasource:
        raise DefinitionError(
            f"Datasource '{name}' is already registered: choose another name, or take that one "
            "back with unregister_datasource"
        )
    _REGISTERED[name] = datasource


def unregister_datasource(name: str) -> DataSource | None:
    """Takes a name back; returns what was registered by it, if anything was."""
    return _REGISTERED.pop(name, None)


def _origin(source: DataSource) -> tuple[Any, ...]:
    code: Any = getattr(type(source), "fn", type(source))
    return code.__module__, code.__qualname__


def get_datasource(name: str) -> DataSource:
    """The datasource of this name. Raises KeyError."""
    if name not in _REGISTERED:
        known = ", ".join(sorted(_REGISTERED)) or "none"
        raise KeyError(f"No datasource registered with name '{name}' (there are: {known})")
    return _REGISTERED[name]


def list_datasources() -> list[str]:
    """The names of all registered datasources."""
    return sorted(_REGISTERED)


_Factory = Callable[..., DataSource]


@overload
def data_source(fn_or_name: Callable[..., Any]) -> _Factory: ...
@overload
def data_source(
    fn_or_name: str | None = None,
    *,
    register: bool = False,
    cacheable: bool = False,
    shared: bool = False,
    volatile: bool = False,
    version: str | int | None = None,
    depends_on: Sequence[Any] = (),
    packages: str | None = None,
) -> Callable[[Callable[..., Any]], _Factory]: ...
def data_source(
    fn_or_name: Callable[..., Any] | str | None = None,
    *,
    register: bool = False,
    cacheable: bool = False,
    shared: bool = False,
    volatile: bool = False,
    version: str | int | None = None,
    depends_on: Sequence[Any] = (),
    packages: str | None = None,
) -> _Factory | Callable[[Callable[..., Any]], _Factory]:
    """Decorates `fn(ctx, **params)`: a factory of datasources by the function's parameters.

    With `register`, one with its defaults is known by its name (or the one given) as well.
    """
    flags = {
        "cacheable": cacheable or shared,
        "shared": shared,
        "volatile": volatile,
        "version": version,
        "depends_on": tuple(depends_on),
        "packages": packages,
    }

    def decorate(fn: Callable[..., Any]) -> _Factory:
        factory = _make_factory(fn, flags)
        if register:
            name = fn_or_name if isinstance(fn_or_name, str) else fn.__name__
            if not [p for p in parameters.of(fn, ("ctx",)) if p.default is parameters.EMPTY]:
                source = factory()
                if name in _REGISTERED and _origin(_REGISTERED[name]) == _origin(source):
                    unregister_datasource(name)  # the same code once more, as in a notebook
                register_datasource(name, source)
        return factory

    return decorate(fn_or_name) if callable(fn_or_name) else decorate


def _make_factory(fn: Callable[..., Any], flags: dict[str, Any]) -> _Factory:
    names = ["ctx", *list(inspect.signature(fn).parameters)[:1]]
    taken = parameters.of(fn, names)
    attributes = {"__doc__": fn.__doc__, "__module__": fn.__module__, "fn": staticmethod(fn)}
    kind = type(f"{fn.__name__.title()}Source", (FunctionSource,), {**attributes, **flags})

    def factory(**overrides: Any) -> DataSource:
        source: DataSource = kind(parameters.bind(taken, overrides))
        return source

    type.__setattr__(kind, "factory", staticmethod(factory))
    wrapped = update_wrapper(factory, fn)
    vars(wrapped)["__druse_factory__"] = True
    return wrapped


def as_source(given: Any) -> DataSource:
    """A datasource as it is; what the factory of one makes; one that calls another function."""
    if isinstance(given, DataSource) or not callable(given) or isinstance(given, type):
        return given  # type: ignore[no-any-return]
    if getattr(given, "__druse_factory__", False):
        return given()  # type: ignore[no-any-return]
    return _make_factory(given, {})()
