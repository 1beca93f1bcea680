"""What Dask's workers execute: a few cells at once, in processes of their own.

Dask's worker process has threads that draw from the shared generators of random numbers. So its
cells are executed in processes beside it, as those of the executor `process` are: what one draws,
how long it takes, and how it dies is its own affair then.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

from druse.executors import messages
from druse.executors.bench import Setting
from druse.executors.processes import Pool
from druse.task import CellName, Outcome, Sighting, Stopped, Task

if TYPE_CHECKING:
    from druse.executors import News

SETTING = ""  # what is asked for by this name is the run's setting, and no experiment
_IDLE = 120.0  # seconds after which the processes of a run that has died are ended
_guard = threading.Lock()
_pools: dict[str, _RunPool] = {}


def execute(
    run: str, cells: list[tuple[str, bytes]], parcels: dict[str, bytes]
) -> tuple[str, set[str], list[bytes]]:
    """The outcomes of some cells; or what of the run this process has to be told first.

    `parcels` are experiments by name, and the run's setting by the name SETTING. Returns the
    worker's address, the names of what is missing, and the outcomes.
    """
    from distributed import get_worker

    worker = get_worker()
    with _guard:
        pool = _pools.get(run)
        if pool is None and SETTING in parcels:
            setting: Setting = messages.decode(parcels[SETTING])
            pool = _pools[run] = _RunPool(run, setting, int(worker.state.nthreads))
    names = {name for name, _ in cells}
    missing = {SETTING, *names} if pool is None else pool.learn(names, parcels)
    if missing or pool is None:
        return str(worker.address), missing, []
    return str(worker.address), set(), pool.execute(cells)


class _RunPool:
    """The processes of one run beside this worker. Used by several of Dask's threads."""

    def __init__(self, run: str, setting: Setting, workers: int) -> None:
        from distributed import get_worker

        self._run = run
        self._worker = get_worker()
        self._pool = Pool(setting, self._take, workers, is_of_run=False)
        self._lock = threading.Lock()
        self._waiting: dict[CellName, Future[Outcome]] = {}
        self._idle = self._timer()

    def learn(self, names: set[str], parcels: dict[str, bytes]) -> set[str]:
        """Takes experiments; returns the names of those that are missing."""
        for name in names & parcels.keys():
            self._pool.learn(name, parcels[name])
        return {name for name in names if not self._pool.knows(name)}

    def execute(self, cells: list[tuple[str, bytes]]) -> list[bytes]:
        self._idle.cancel()
        outcomes = []
        for name, packed in cells:
            task: Task = messages.decode(packed)
            future: Future[Outcome] = Future()
            with self._lock:
                self._waiting[task.cell] = future
            self._pool.submit(name, task)
            outcomes.append(messages.encode_outcome(future.result()))
        self._idle = self._timer()
        return outcomes

    def _timer(self) -> threading.Timer:
        timer = threading.Timer(_IDLE, forget, (self._run,))
        timer.daemon = True
        timer.start()
        return timer

    def _take(self, news: News) -> None:
        """From the pool."""
        if isinstance(news, Sighting):
            seen = (*news.cell, news.name, bytes(news.digest))
            self._worker.log_event(topic(self._run), seen)
        elif isinstance(news, Outcome):
            with self._lock:
                future = self._waiting.pop(news.cell)
            future.set_result(news)
        elif isinstance(news, Stopped):
            with self._lock:
                waiting, self._waiting = self._waiting, {}
            for future in waiting.values():
                future.set_exception(news.error)

    def finish(self, name: str) -> None:
        self._pool.finish(name)

    def close(self) -> None:
        self._idle.cancel()
        self._pool.close()


def topic(run: str) -> str:
    """Where sightings are logged."""
    return f"druse-{run}"


def finish(run: str, name: str) -> None:
    """No more cells of an experiment will come."""
    pool = _pools.get(run)
    if pool is not None:
        pool.finish(name)


def forget(run: str) -> None:
    """The run is over."""
    with _guard:
        pool = _pools.pop(run, None)
    if pool is not None:
        pool.close()
