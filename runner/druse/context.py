"""The context of a cell: values that steps read and add to, metrics, artifacts.

A key is written once. What is read is remembered: a cell's key rests on the values that were read,
and on no others. The runner hands a `Reads` in; without one (a step that is tried out alone), a
context just keeps values.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from druse import names
from druse.errors import ContextMutationError
from druse.names import STEP_NAME_KEY

if TYPE_CHECKING:
    from druse.reads import Reads
    from druse.runtime import Runtime
    from druse.seeds import Seeding

IMMUTABLE = frozenset({int, float, bool, str, bytes, complex, type(None)})


class FrozenMetrics:
    """Metrics by name, each a growing sequence of values."""

    __slots__ = ("_ctx", "_tags", "_values")

    def __init__(self, ctx: FrozenContext | None = None) -> None:
        self._values: dict[str, list[Any]] = {}
        self._tags: dict[str, list[dict[str, Any]]] = {}
        self._ctx = ctx

    def __getitem__(self, key: str) -> tuple[Any, ...]:
        values = tuple(self._values.get(key, ()))
        self._note(f"metric:{key}", values)
        return values

    def add(self, key: str, value: Any, tags: dict[str, Any] | None = None) -> None:
        """Appends a value, with tags if there are any."""
        values = self._values.get(key)
        if values is None:
            values = self._values[key] = []
        values.append(value)
        if tags:
            known = self._tags.setdefault(key, [])
            known.extend({} for _ in range(len(values) - 1 - len(known)))
            known.append(dict(tags))

    def get_tags(self, key: str) -> tuple[dict[str, Any], ...]:
        """The tags of each value of a metric, in order."""
        known = self._tags.get(key, [])
        count = len(self._values.get(key, ()))
        tags = tuple(dict(known[i]) if i < len(known) else {} for i in range(count))
        self._note(f"tags:{key}", tags)
        return tags

    def as_dict(self) -> Mapping[str, tuple[Any, ...]]:
        """All metrics, as they are now."""
        values = {key: tuple(values) for key, values in self._values.items()}
        self._note("metrics:*", values)
        return MappingProxyType(values)

    def _note(self, key: str, value: Any) -> None:
        ctx = self._ctx
        if ctx is not None and ctx._reads is not None:
            ctx._reads.inner(key, value)


class ArtifactRecord:
    """An artifact's bytes, and the step that wrote it."""

    __slots__ = ("data", "name", "position", "step_name")

    def __init__(self, name: str, data: bytes, step_name: str = "", position: int = -1) -> None:
        self.name = name
        self.data = data
        self.step_name = step_name
        self.position = position


class ArtifactLog:
    """The artifacts that the step at hand has written so far; earlier ones are filed away."""

    __slots__ = ("_begin", "_ctx", "_items", "_names")

    def __init__(self, ctx: FrozenContext | None = None) -> None:
        self._items: list[ArtifactRecord] = []
        self._begin = 0  # the place of this step's first one
        self._names: set[str] = set()
        self._ctx = ctx

    def add(self, name: str, data: bytes) -> None:
        """Adds an artifact. Raises ContextMutationError for a name that the step wrote already."""
        names.check(name, "an artifact")
        if name in self._names:
            raise ContextMutationError(f"Artifact '{name}' already written in this run")
        if type(data) is not bytes and not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(
                f"artifact {name!r} has to be bytes, and not {type(data).__name__}; give it a "
                "writer that turns its value into bytes"
            )
        self._names.add(name)
        self._items.append(ArtifactRecord(name, bytes(data)))

    def clear(self) -> None:
        """Takes back what the step has written."""
        del self._items[self._begin :]
        self._names.clear()

    def _end_step(self) -> None:
        if self._names:
            self._begin = len(self._items)
            self._names.clear()

    def __iter__(self) -> Iterator[ArtifactRecord]:
        self._note()
        return iter(self._items[self._begin :])

    def __len__(self) -> int:
        self._note()
        return len(self._items) - self._begin

    def _note(self) -> None:
        ctx = self._ctx
        if ctx is not None and ctx._reads is not None:
            seen = self._items[self._begin :]
            ctx._reads.inner("artifacts:*", [(a.name, a.data) for a in seen])


class FrozenContext:
    """Values that a cell's steps share. A key that is set stays as it is.

    `metrics` and `artifacts` collect what the cell yields, `logger` is for messages.
    """

    # What few contexts have is set on these alone: every cell makes one.
    _reads: Reads | None = None
    _runtime: Runtime | None = None
    _seeding: Seeding | None = None
    _log_reads = False
    _seen: Mapping[str, Any] = MappingProxyType({})  # what was read, where reads are logged

    def __init__(
        self,
        initial: Mapping[str, Any] | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        self._data: dict[str, Any] = {key: own(value) for key, value in (initial or {}).items()}
        self.metrics = FrozenMetrics(self)
        self.artifacts = ArtifactLog(self)
        self.logger = logger or logging.getLogger("druse")

    @classmethod
    def _of_cell(cls, data: dict[str, Any], reads: Reads, logger: logging.Logger) -> FrozenContext:
        """A context over values that are nobody else's to change (`get` hands out copies)."""
        ctx = cls.__new__(cls)
        ctx._data = data
        ctx._reads = reads
        ctx.metrics = FrozenMetrics(ctx)
        ctx.artifacts = ArtifactLog(ctx)
        ctx.logger = logger
        return ctx

    def _end(self) -> None:
        """The cell is over: nothing is noted from here on, and nothing leads in a circle, so that
        it is let go at once."""
        self.metrics._ctx = self.artifacts._ctx = None

    def __copy__(self) -> FrozenContext:
        ctx = type(self).__new__(type(self))
        ctx.__dict__.update(self.__dict__)
        return ctx

    def __reduce__(self) -> tuple[Any, ...]:
        """A deep copy, or one for another process, is on its own: so this reads everything."""
        return _apart, (dict(self.as_dict()), dict(self.metrics.as_dict()))

    # --- reading -------------------------------------------------------------------------------

    def __getitem__(self, key: str) -> Any:
        self._note(key)
        value = self._data[key]
        return value if type(value) in IMMUTABLE else own(value)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, or `default`."""
        self._note(key)
        value = self._data.get(key, default)
        return value if type(value) in IMMUTABLE else own(value)

    def __contains__(self, key: object) -> bool:
        self._note(str(key))
        return key in self._data

    def __iter__(self) -> Iterator[str]:
        return iter(self.as_dict())

    def keys(self) -> Iterator[str]:
        return iter(self)

    def as_dict(self) -> Mapping[str, Any]:
        """All values, as they are now. This reads every key."""
        if self._reads is not None:
            self._reads.everything(self._data)
        return MappingProxyType({key: own(value) for key, value in self._data.items()})

    def _note(self, key: str) -> None:
        reads = self._reads
        if reads is not None:
            if key == STEP_NAME_KEY:
                reads.step_name(self._data.get(key))
            else:
                reads.context(key, self._data)
        if self._log_reads:
            value = self._data.get(key)
            self._seen = {**self._seen, key: value}
            self.logger.debug("Read %s -> %s", key, value)

    # --- writing -------------------------------------------------------------------------------

    def __setitem__(self, key: str, value: Any) -> None:
        if self._reads is not None:
            self._reads.write(key, value, self._data)
        if key in self._data:
            raise ContextMutationError(f"Cannot mutate existing key: '{key}'")
        self._data[key] = value

    def add(self, key: str, value: Any) -> None:
        """Sets a key that is not set yet. Raises ContextMutationError."""
        self[key] = value

    def record(self, metric_name: str, value: Any, tags: dict[str, Any] | None = None) -> None:
        """Records a metric's value: the same as `ctx.metrics.add`."""
        self.metrics.add(metric_name, value, tags)


def _apart(values: Mapping[str, Any], metrics: Mapping[str, tuple[Any, ...]]) -> FrozenContext:
    ctx = FrozenContext(values)
    for name, each in metrics.items():
        for value in each:
            ctx.metrics.add(name, value)
    return ctx


def own(value: Any) -> Any:
    """A copy that the caller may change; the value itself where nobody could."""
    if type(value) in IMMUTABLE:
        return value
    return copy.deepcopy(value)


def own_parameter(value: Any) -> Any:
    """The same for what every cell is given: what cannot be copied is shared."""
    if type(value) in IMMUTABLE:
        return value
    try:
        return copy.deepcopy(value)
    except Exception:  # a connection, say: copying calls the code of any class
        return value


def standalone_context(
    initial: Mapping[str, Any] | None = None, *, logger: logging.Logger | None = None
) -> FrozenContext:
    """A context for trying a step out on its own."""
    return FrozenContext(initial, logger)
