"""Parameters from the context, and resources that are made once and used by many cells."""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable
from functools import update_wrapper, wraps
from typing import Any, NamedTuple

from druse.artifact import Artifact
from druse.context import FrozenContext, own_parameter
from druse.errors import ParameterError
from druse.fingerprint.resolve import short_name
from druse.keeping import Seen
from druse.parameters import EMPTY
from druse.reads import Frame
from druse.underway import watch as watch_here


class _Missing:
    def __deepcopy__(self, memo: object) -> _Missing:
        return self


_MISSING = _Missing()


def resolve_callable(value: Any, ctx: FrozenContext) -> Any:
    """What a callable gives, called with the context if it takes one; any other value as it is.

    A torch module is callable, too, but it makes nothing: it is what the step works with.
    """
    if not callable(value) or isinstance(value, type) or _is_module(value):
        return value
    if isinstance(value, ResourceFactory):
        return value(ctx)
    return value(ctx) if "ctx" in inspect.signature(value).parameters else value()


def _is_module(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def inject_from_ctx(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a function: parameters that a call leaves out come from `ctx` by their name.

    What the context lacks is the parameter's default; callables are called. Raises ParameterError
    where there is neither.
    """
    signature = inspect.signature(fn)
    takes_ctx = "ctx" in signature.parameters

    @wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        ctx, args = _take_ctx(signature, takes_ctx, args, kwargs)
        bound = signature.bind_partial(*args, **kwargs)
        for name, parameter in signature.parameters.items():
            if name in bound.arguments or name in ("ctx", "data"):
                continue
            if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                continue
            bound.arguments[name] = resolve_callable(_lookup(fn, parameter, ctx), ctx)
        for name, value in list(bound.arguments.items()):
            if isinstance(value, Artifact) and value._ctx is None:
                bound.arguments[name] = value._bound_to(ctx)
        if takes_ctx:
            bound.arguments["ctx"] = ctx
        return fn(*bound.args, **bound.kwargs)

    return wrapper


def _take_ctx(
    signature: inspect.Signature, takes_ctx: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[FrozenContext, tuple[Any, ...]]:
    """The context of a call, and the positional arguments without it where `fn` takes none."""
    ctx: Any = None
    if takes_ctx:
        ctx = signature.bind_partial(*args, **kwargs).arguments.get("ctx")
    elif "ctx" in kwargs:
        ctx = kwargs.pop("ctx")
    elif len(args) >= 2:
        ctx, args = args[1], (args[0], *args[2:])
    if ctx is None:
        raise ParameterError("inject_from_ctx requires 'ctx' argument")
    if not isinstance(ctx, FrozenContext):
        raise ParameterError("'ctx' must be a FrozenContext")
    return ctx, args


def _lookup(fn: Callable[..., Any], parameter: inspect.Parameter, ctx: FrozenContext) -> Any:
    value = ctx.get(parameter.name, _MISSING)
    if value is not _MISSING:
        return value
    if parameter.default is EMPTY:
        raise ParameterError(
            f"Dependency Injection Error: Parameter '{parameter.name}' in step "
            f"'{getattr(fn, '__name__', fn)}' is not found in the Context and has no default value."
        )
    return own_parameter(parameter.default)


class _Made(NamedTuple):
    """A resource, and what making it read of the context and of files."""

    reads: Frame
    seen: Seen
    value: Any


class ResourceFactory:
    """A resource that is made when first needed, then used again in this thread.

    What its function reads from the context and from files belongs to it: another value, another
    resource; and the reads count for every cell that uses the resource.
    """

    def __init__(self, fn: Callable[[FrozenContext], Any], key: str | None = None) -> None:
        self.fn = fn
        self.key = key
        update_wrapper(self, fn)
        self._made = threading.local()

    @property
    def __druse_code__(self) -> tuple[Any, ...]:
        return (self.fn,)

    def __call__(self, ctx: FrozenContext) -> Any:
        made: list[_Made] = self._made.__dict__.setdefault("made", [])
        reads, watch, runtime, seeding = ctx._reads, watch_here(), ctx._runtime, ctx._seeding
        if reads is None or watch is None or runtime is None or seeding is None:
            if not made:
                made.append(_Made({}, {}, self.fn(ctx)))
            return made[0].value
        for each in made:
            if reads.repeats(each.reads, ctx._data) and watch.repeat(each.seen):
                reads.repeat(each.reads, ctx._data)
                runtime.goes_on_after_resource(seeding, ctx)
                return each.value
        making = runtime.making(self._name, seeding)
        with reads.recording() as found, watch.recording() as seen, making:
            value = self.fn(ctx)
        if seeding.has_drawn():
            return value  # the cell is going to be executed again
        made.append(_Made(found, seen, value))
        runtime.goes_on_after_resource(seeding, ctx)
        return value

    @property
    def _name(self) -> str:
        """Tells it from others, the same in every process: by its function, and that one's file."""
        module = short_name(getattr(self.fn, "__globals__", {})).rpartition(".")[2]
        return f"{module}.{getattr(self.fn, '__qualname__', '')}"

    def __deepcopy__(self, memo: object) -> ResourceFactory:
        return self  # whoever gets it from a context shares what it made

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.fn, self.key)


def resource_factory(
    fn: Callable[[FrozenContext], Any], *, key: str | None = None
) -> ResourceFactory:
    """Wraps a function of the context, so that what it makes is made once and used again."""
    return ResourceFactory(fn, key)
