"""What a user can say about where cells are executed: `process`, `thread`, `dask:tcp://...`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from druse.errors import DefinitionError

if TYPE_CHECKING:
    from druse.executors import Executor, Report
    from druse.runtime import Workplace

_HOMES = {
    "serial": "druse.executors.serial",
    "thread": "druse.executors.threads",
    "process": "druse.executors.processes",
    "async": "druse.executors.coroutines",
    "dask": "druse.executors.dask",
}
KINDS = tuple(_HOMES)
LOOP = "loop"  # of a plugin; its address is the experiment's name
_HERE = ("serial", "thread", "async", LOOP)  # in this process


@dataclass(frozen=True)
class Spec:
    """One kind of executor, with how many cells at once (None: what suits the machine)."""

    kind: str = "serial"
    workers: int | None = None
    address: str | None = None

    @property
    def may_be_far(self) -> bool:
        """Whether cells may be executed on machines that do not see the run's store."""
        return self.kind == "dask" and bool(self.address)

    @property
    def is_here(self) -> bool:
        """Whether cells share this process, and so its generators of random numbers."""
        return self.kind in _HERE

    @property
    def name(self) -> str:
        """As a user says it."""
        return self.kind if self.address is None else f"{self.kind}:{self.address}"


def parse(name: str | None, workers: int | None = None) -> Spec:
    """What `--executor NAME[:ADDRESS]` and `-j N` say. Raises DefinitionError."""
    if name is None:
        return Spec() if workers in (None, 1) else Spec("process", workers)
    kind, _, address = name.partition(":")
    if kind not in _HOMES:
        raise DefinitionError(f"there is no executor {kind!r}: choose one of {', '.join(KINDS)}")
    if address and kind != "dask":
        raise DefinitionError(f"the executor {kind!r} takes no address: say just {kind!r}")
    return Spec(kind, workers, address or None)


def make(spec: Spec, place: Workplace, report: Report) -> Executor:
    """The executor of a kind; its module is imported now. Raises DruseError."""
    executor: Executor = import_module(_HOMES[spec.kind]).make(spec, place, report)
    return executor


def processors() -> int:
    """How many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0)) or 1
    except AttributeError:
        return os.cpu_count() or 1
