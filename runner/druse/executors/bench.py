"""The workbench of a worker process: experiments that it was sent, and executing their cells."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from druse.cell import failed
from druse.errors import DruseError, ExecutorLost
from druse.executors.imports import Finder
from druse.executors.local import OwnLoop, SetUps
from druse.executors.payload import unpack
from druse.fingerprint.loaded import LoadedModule
from druse.key import Keys
from druse.places import Files
from druse.plugins import show_messages
from druse.runtime import Workplace
from druse.stepclaims import StepClaims
from druse.task import Outcome, Sighting, Task, WrittenArtifact
from druse_store import Store, StoreError

if TYPE_CHECKING:
    from druse.prepared import Prepared

INLINE = 256 << 10  # bytes of an artifact; a larger one is put into the store by the worker itself


@dataclass(frozen=True)
class Setting:
    """What the workers of a run have in common."""

    store: str
    store_id: str
    root: str
    left_out: tuple[str, ...]
    packages: str
    modules: tuple[LoadedModule, ...]
    folder: str
    path: tuple[str, ...]
    log_level: int
    steps: str

    @classmethod
    def of(cls, place: Workplace, modules: list[LoadedModule]) -> Setting:
        return cls(
            store=str(place.store.path),
            store_id=place.store.id,
            root=place.files.root,
            left_out=(str(place.store.path),),
            packages=place.keys.packages,
            modules=tuple(modules),
            folder=os.path.realpath(os.curdir),
            path=tuple(sys.path),
            steps=str(place.share_steps()),
            log_level=logging.getLogger("druse").getEffectiveLevel(),
        )


class WorkerPlace(Workplace):
    """A workplace whose store is opened when it is first needed."""

    def __init__(self, setting: Setting) -> None:
        files = Files(Path(setting.root), [Path(folder) for folder in setting.left_out])
        super().__init__(None, files, Keys(files, setting.packages))  # type: ignore[arg-type]
        self._setting = setting
        self._opened: Store | None = None
        self.claims = StepClaims(Path(setting.steps))

    @property
    def store(self) -> Store:
        if self._opened is None:
            self._opened = _open(self._setting)
        return self._opened

    @store.setter
    def store(self, store: Store) -> None:
        self._opened = store

    def close(self) -> None:
        super().close()
        if self._opened is not None:
            self._opened.close()


def _open(setting: Setting) -> Store:
    """The run's own store: workers share its folder. Raises ExecutorLost, StoreError."""
    host = os.uname().nodename
    try:
        store = Store.open(setting.store, create=False)
    except StoreError as error:
        raise ExecutorLost(f"a worker on {host} cannot open the store: {error}") from error
    if store.id != setting.store_id:
        store.close()
        raise ExecutorLost(
            f"a worker on {host} found another store at {setting.store}: workers have to see the "
            "folder of the run's store at the same path"
        )
    return store


class Bench:
    """Executes cells of the experiments that it was sent. A name stands for one experiment."""

    def __init__(self, setting: Setting) -> None:
        self.place = WorkerPlace(setting)
        self._finder = Finder()
        self._finder.add(setting.modules)
        sys.path += [folder for folder in setting.path if folder not in sys.path]
        self._set_up = SetUps(self.place)
        self._experiments: dict[str, Prepared | Exception] = {}
        self._keys = self.place.keys.fingerprinter.__enter__()
        show_messages(setting.log_level)

    def learn(self, name: str, packed: bytes) -> None:
        """Takes an experiment in. What goes wrong is said of each of its cells."""
        try:
            self._experiments[name] = unpack(packed)
        except Exception as error:
            self._experiments[name] = error

    def execute(
        self,
        loop: OwnLoop,
        name: str,
        task: Task,
        tell: Callable[[Sighting], None] | None = None,
    ) -> Outcome:
        """The outcome of a cell, its large artifacts in the store."""
        prepared = self._experiments[name]
        if isinstance(prepared, Exception):
            return failed(task, _Unreadable(prepared))
        try:
            outcome = loop.execute(self._set_up, prepared, task, tell=tell)
            self._keep_large(outcome)
        except Exception as error:  # of the store: the cell failed, whatever it gave
            outcome = failed(task, error)
        return outcome

    def _keep_large(self, outcome: Outcome) -> None:
        if not any(_is_large(artifact) for artifact in outcome.artifacts):
            return
        store = self.place.store
        with store.batch():
            outcome.artifacts = [
                WrittenArtifact(a.name, a.step, store.put_object(a.data)) if _is_large(a) else a
                for a in outcome.artifacts
            ]

    def finish(self, name: str) -> None:
        """No more cells of an experiment will come."""
        found = self._experiments.pop(name, None)
        if found is not None and not isinstance(found, Exception):
            self._set_up.tear_down(found.name)

    def close(self) -> None:
        self._set_up.close()
        self.place.close()
        self._keys.__exit__(None, None, None)


class _Unreadable(DruseError):
    """An experiment could not be made again in a worker."""

    def __init__(self, error: Exception) -> None:
        super().__init__(
            f"a worker could not load the experiment: {type(error).__name__}: {error}. It imports "
            "the modules that the run has imported; what their import needs has to be there too"
        )


def _is_large(artifact: WrittenArtifact) -> bool:
    return isinstance(artifact.data, bytes) and len(artifact.data) >= INLINE
