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
from druse.executors.far import Address, Far
from druse.executors.imports import Finder
from druse.executors.local import OwnLoop, SetUps
from druse.executors.payload import unpack
from druse.fingerprint.loaded import LoadedModule
from druse.key import Keys
from druse.places import Files
from druse.plugins import show_messages
from druse.runtime import Workplace
from druse.stepclaims import StepClaims
from druse.task import Outcome, Sighting, Task, UpstreamArtifact, WrittenArtifact
from druse_store import Record, Store, StoreError

if TYPE_CHECKING:
    from druse.prepared import Prepared

_WITHOUT = (
    ". Workers have to see the folder of the run's store at the same path, or the run has to have "
    "a remote: `druse remote add NAME URL`"
)
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
    remote: Address | None = None

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
            remote=place.address,
            log_level=logging.getLogger("druse").getEffectiveLevel(),
        )


class WorkerPlace(Workplace):
    """A workplace whose store is opened when it is first needed."""

    def __init__(self, setting: Setting) -> None:
        files = Files(Path(setting.root), [Path(folder) for folder in setting.left_out])
        super().__init__(None, files, Keys(files, setting.packages))  # type: ignore[arg-type]
        self._setting = setting
        self._opened: Store | None = None
        self._far: Far | None = None
        self.claims = StepClaims(Path(setting.steps))

    @property
    def store(self) -> Store:
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    @store.setter
    def store(self, store: Store) -> None:
        self._opened = store

    def _open(self) -> Store:
        """The run's own store, where this machine sees it; else one beside the run's remote."""
        try:
            return _open(self._setting)
        except ExecutorLost as error:
            if self._setting.remote is None:
                raise ExecutorLost(f"{error}{_WITHOUT}") from error
            self._far = Far(self._setting.remote)
            return self._far.store

    @property
    def far(self) -> Far | None:
        """The way to the run's remote, where its store is not seen from here."""
        return self._far if self.store is not None else None

    @property
    def opened_far(self) -> Far | None:
        """The same, where a store was needed at all."""
        return self._far

    def bring(self, record: Record) -> None:
        if self.far is not None:
            self.far.bring(record.refs())

    def bring_input(self, given: UpstreamArtifact) -> None:
        if given.data is None and self.far is not None:
            self.far.bring(given.artifact.ref.blobs(), given.indexes)

    def kept(self, record: Record) -> None:
        if self.far is not None:
            self.far.kept.append(record)

    def look(self, prepared: Prepared) -> None:
        """Hears of what others published of an experiment's cacheable steps."""
        if prepared.step_bases and self.far is not None:
            self.far.look(prepared.step_bases)

    def close(self) -> None:
        super().close()
        if self._far is not None:
            self._far.close()
        elif self._opened is not None:
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
        raise ExecutorLost(f"a worker on {host} found another store at {setting.store}")
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
            prepared = self._experiments[name] = unpack(packed)
            self.place.look(prepared)
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
            self._hand_over(outcome)
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

    def _hand_over(self, outcome: Outcome) -> None:
        """Puts on the remote what the run could not read from its store."""
        if self.place.opened_far is not None:
            self.place.opened_far.hand_over(outcome)

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
