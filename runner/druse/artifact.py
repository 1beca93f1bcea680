"""Artifacts: named files that steps write and later experiments read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from druse import names, underway
from druse.datasource import DataSource
from druse.errors import ArtifactNotFound

if TYPE_CHECKING:
    from druse.context import FrozenContext
    from druse.experiment import Experiment

Loader = Callable[[Path], Any]
Writer = Callable[[Any], bytes]


def default_loader(path: Path) -> bytes:
    """The file's bytes."""
    return path.read_bytes()


def default_writer(data: Any) -> bytes:
    """Bytes as they are, text as UTF-8. Raises TypeError for anything else."""
    if isinstance(data, bytes):
        return data
    if isinstance(data, str):
        return data.encode()
    raise TypeError(
        f"the default writer takes bytes or str, not {type(data).__name__}: give the artifact a "
        "writer that turns its value into bytes"
    )


_DEFAULTS = (default_loader, default_writer)


class Artifact(DataSource):
    """A handle on a file by name: a step writes it, an experiment's input fetches it.

    `writer` turns a value into bytes, `loader` a file's path into a value.
    """

    def __init__(
        self, name: str, loader: Loader | None = None, writer: Writer | None = None
    ) -> None:
        self.name = names.check(name, "an artifact")
        self.loader: Loader = loader or default_loader
        self.writer: Writer = writer or default_writer
        self._ctx: FrozenContext | None = None
        self._producer: Experiment | None = None
        self._source_experiment: str | None = None
        self._replicates: int | None = None

    @property
    def replicates(self) -> int | None:
        """How many replicates the experiment that writes it has, as far as that is known."""
        if self._replicates is not None:
            return self._replicates
        return None if self._producer is None else self._producer.due_replicates()

    @replicates.setter
    def replicates(self, value: int | None) -> None:
        self._replicates = value

    def _bound_to(self, ctx: FrozenContext) -> Artifact:
        bound = Artifact(self.name, self.loader, self.writer)
        bound._ctx = ctx
        bound._producer = self._producer
        bound._source_experiment = self._source_experiment
        bound._replicates = self._replicates
        return bound

    @property
    def params(self) -> dict[str, str]:
        """What a step that holds it was parametrised with by that."""
        return {"artifact": self.name}

    @property
    def __druse_code__(self) -> tuple[Any, ...]:
        # Held by a step, or reached by its code, it may be written or read there.
        return tuple(f for f in (self.writer, self.loader) if f not in _DEFAULTS)

    def write(self, data: Any) -> None:
        """Adds the artifact to the cell that runs. Raises RuntimeError where none does."""
        ctx = self._ctx if self._ctx is not None else underway.context()
        if ctx is None:
            raise RuntimeError(
                f"Artifact not bound to context: {self.name!r} can be written only by a step while "
                "its cell runs"
            )
        ctx.artifacts.add(self.name, self.writer(data))

    def fetch(self, ctx: FrozenContext) -> Any:
        """The value of the artifact that answers to this context. Raises ArtifactNotFound."""
        runtime = ctx._runtime
        if runtime is not None:
            return runtime.fetch(self, ctx)
        if self._producer is None:
            raise ArtifactNotFound(
                f"artifact {self.name!r} belongs to no experiment: list it in the outputs of the "
                "one that writes it"
            )
        from druse import stored

        return stored.fetch_latest(self, self._producer, ctx)

    def __getstate__(self) -> dict[str, Any]:
        # A worker gets the artifact with its number of replicates, not with its whole producer.
        state = dict(self.__dict__, _ctx=None, _producer=None)
        state["_replicates"] = self.replicates
        return state

    def __repr__(self) -> str:
        return f"Artifact({self.name!r})"
