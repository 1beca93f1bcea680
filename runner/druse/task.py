"""What is handed to a worker, and what comes back: one cell, and its outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from druse.control import Control
from druse_store import ArtifactRef, Digest, ObjectRef

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class CellName(NamedTuple):
    """A cell: experiment, condition, replicate."""

    experiment: str
    condition: str
    replicate: int

    def __str__(self) -> str:
        return f"{self.experiment}/{self.condition}/{self.replicate}"


@dataclass(frozen=True, slots=True)
class UpstreamArtifact:
    """An artifact that a cell will read; its bytes too, where other processes cannot see them, or
    the pack indexes of the run's remote that lead to them."""

    artifact: ArtifactRef
    data: bytes | None = None
    indexes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Given:
    """What a callable treatment added for one cell, or how it failed: it was applied already."""

    extra: Mapping[str, Any]
    error: Exception | None = None


@dataclass(slots=True)  # not frozen: every cell makes one
class Task:
    """A cell that is to be executed, with what it reads of others.

    `timeout` in seconds. `tells` asks for sightings of what the cell reads, as it reads it.
    """

    cell: CellName
    upstream: Mapping[str, UpstreamArtifact]
    control: Control = field(default_factory=Control)
    timeout: float | None = None
    tells: bool = False
    given: Given | None = None


@dataclass(frozen=True, slots=True)
class Sighting:
    """A cell that is under way has read something."""

    cell: CellName
    name: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class Untried:
    """A cell that was handed over, and is given back as it is."""

    cell: CellName


@dataclass(frozen=True, slots=True)
class Stopped:
    """An executor cannot go on, and with it the run."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that an executor has to say to people."""

    text: str


@dataclass(slots=True)
class Failure:
    """Why a cell failed: the step, the message, the whole traceback."""

    step: str
    message: str
    traceback: str
    kind: str


class WrittenArtifact(NamedTuple):
    """An artifact as a worker hands it over: bytes, or what it has put into the store itself."""

    name: str
    step: int
    data: bytes | ObjectRef


class Outcome:
    """What came of a task. `gone`: an upstream input whose bytes could not be had.

    `outputs`: the digests of what cacheable steps gave, by their places.
    `unstorable` says why the result counts but must not be found again. `seen` is what was opened
    and unpickled, where classes have no digest yet: it is added to the reads. `written` are the
    real paths of files that were opened for writing. `unseen` is what no key sees, by the places of
    the steps that used it.

    Of a worker that does not see the run's store: `kept` are the records of its cacheable steps,
    `indexes` the pack indexes of the run's remote that lead to what it hands over.
    """

    # What few cells have is set on these alone: every cell makes one of these.
    tags: Mapping[str, list[dict[str, Any]]] = _NOTHING
    artifacts: Sequence[WrittenArtifact] = ()
    seconds: float = 0.0
    step_hits: Sequence[int] = ()
    outputs: Mapping[str, str] = _NOTHING
    warnings: Sequence[str] = ()
    failure: Failure | None = None
    error: BaseException | None = None
    gone: str | None = None
    unstorable: str | None = None
    seen: Mapping[str, Digest | None] = _NOTHING
    written: tuple[str, ...] = ()
    unseen: Sequence[tuple[int, str]] = ()
    attempts: int = 1
    kept: tuple[bytes, ...] = ()
    indexes: tuple[str, ...] = ()

    def __init__(
        self,
        cell: CellName,
        reads: dict[str, Digest],
        failure: Failure | None = None,
        error: BaseException | None = None,
    ) -> None:
        self.cell = cell
        self.reads = reads
        self.metrics: dict[str, list[Any]] = {}
        self.step_seconds: list[float] = []
        self.trace: list[dict[str, Any]] = []
        self.shown: dict[str, str] = {}
        if failure is not None:
            self.failure, self.error = failure, error

    @property
    def is_plain(self) -> bool:
        """Whether nothing was set of what few cells have."""
        return self.__dict__.keys() <= _PLAIN


_PLAIN = frozenset(
    {"artifacts", "cell", "metrics", "reads", "seconds", "shown", "step_seconds", "trace"}
)
