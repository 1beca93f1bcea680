"""Runs: version vN of an experiment, each cell pointing at the digest of a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from druse_store.digest import Digest
from druse_store.records import JSON

HOWS = ("run", "hit", "failed", "imported")


class Cell(NamedTuple):
    """One cell of a run: what was asked for, the record that answers it, and how that came."""

    condition: str
    replicate: int
    record: Digest
    how: str


@dataclass(frozen=True, slots=True)
class Run:
    """A run as the store knows it. `cells` are loaded when first asked for.

    `started` and `finished` are nanoseconds since 1970 (UTC); `finished` is 0 while the run goes
    on, or where its process died. `complete`: every cell that was planned has a record. Only
    complete runs count for retention, whose level for this run is `level`.
    """

    experiment: str
    version: int
    info: Mapping[str, JSON]
    started: int
    finished: int = 0
    complete: bool = False
    level: str = "full"
    count: int = 0
    _load: Callable[[], tuple[Cell, ...]] = field(default=tuple, repr=False, compare=False)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells in the order in which they were added. Raises RunNotFound once removed."""
        return self._load()

    @property
    def name(self) -> str:
        """The run as users write it: `experiment/v3`."""
        return f"{self.experiment}/v{self.version}"


class RunName(NamedTuple):
    """A run by name, as pins hold it."""

    experiment: str
    version: int

    def __str__(self) -> str:
        return f"{self.experiment}/v{self.version}"
