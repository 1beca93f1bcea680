"""Writing a run: its version is allocated when it begins, its cells are kept as they are added."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from druse_store import changes, packing
from druse_store.digest import Digest
from druse_store.errors import InvalidInput, StoreClosed
from druse_store.records import JSON
from druse_store.run import HOWS, Run

if TYPE_CHECKING:
    from druse_store.leases import Lease
    from druse_store.store import Store
    from druse_store.writes import Writes


class RunWriter:
    """A run that goes on. Made by `Store.begin_run`; may be used from several threads.

    If the process dies, the run stays as far as it was committed, unfinished.
    """

    def __init__(self, store: Store, experiment: str, version: int, lease: Lease) -> None:
        self._store = store
        self._lease = lease  # no collection takes it for a run that was given up
        self.experiment = experiment
        self.version = version
        self._open = True

    def add(self, condition: str, replicate: int, record: Digest, how: str) -> None:
        """Adds a cell: `how` is one of `HOWS`. Its record is committed before it.

        Where that is gone, whoever makes this durable raises BlobVanished, and the run lacks it.
        """
        with self._store.writes() as writes:
            self.add_to(writes, condition, replicate, record, how)

    def add_to(
        self, writes: Writes, condition: str, replicate: int, record: Digest, how: str
    ) -> None:
        """As `add`, along with other writes. Raises InvalidInput, StoreClosed."""
        if how not in HOWS:
            raise InvalidInput(f"a cell comes by one of {HOWS}, not {how!r}")
        self._check_open()
        writes.add_cell(self.experiment, self.version, (condition, replicate, record, how))

    def finish(self, info: Mapping[str, JSON] | None = None, *, complete: bool) -> Run:
        """Ends the run and makes it durable; `info` is merged into what it began with."""
        self._check_open()
        self._open = False
        change = [
            changes.FINISH,
            self.experiment,
            self.version,
            packing.sorted_map(info or {}),
            time.time_ns(),
            complete,
        ]
        run = self._store._finish_run(self, change)
        self._lease.close()
        return run

    def abandon(self) -> None:
        """Removes the run; its records stay, its version is not used again."""
        self._check_open()
        self._open = False
        self._store._change([changes.ABANDON, self.experiment, self.version])
        self._lease.close()

    def _check_open(self) -> None:
        if not self._open:
            raise StoreClosed(f"run {self.experiment}/v{self.version} was finished or abandoned")
