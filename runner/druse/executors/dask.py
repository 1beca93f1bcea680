"""Cells on a Dask cluster: one that runs somewhere, or a local one for this run.

A worker gets an experiment when it says that it does not know it. Short cells travel several in
one Dask task. A worker that dies has its cells executed again by Dask, on another one.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from druse.cell import failed
from druse.errors import DruseError, ExecutorLost, WorkerDied
from druse.executors import dask_worker, messages
from druse.executors.bench import Setting
from druse.executors.payload import pack
from druse.executors.spec import processors
from druse.fingerprint.loaded import user_modules
from druse.modules import configured
from druse.step import PipelineStep
from druse.task import CellName, Outcome, Sighting, Stopped, Task
from druse_store import Digest

if TYPE_CHECKING:
    from druse.executors import Report
    from druse.executors.spec import Spec
    from druse.prepared import Prepared
    from druse.runtime import Workplace

_AHEAD = 2  # tasks for each thread, so that none waits for the next one
_AT_ONCE = 16  # cells in one Dask task at most
_WORTH = 0.05  # seconds of work that are worth a Dask task
_WEIGHT = 0.1  # of the latest cell in the average of how long they take
_LOOK = 2.0  # seconds between two looks at how many workers there are
_CONNECT = 20.0  # seconds to find the scheduler


@dataclass
class _Batch:
    """The cells of one Dask task, and what is sent along with them."""

    tasks: list[tuple[str, Task]]
    parcels: dict[str, bytes] = field(default_factory=dict)


class DaskExecutor:
    """Hands cells to a Dask cluster."""

    def __init__(self, place: Workplace, report: Report, spec: Spec) -> None:
        distributed = _distributed()
        self._report = report
        self._run = os.urandom(8).hex()
        modules, self._changed_modules = user_modules(configured())
        self._parcels = {dask_worker.SETTING: messages.encode(Setting.of(place, modules))}
        self._outbox: list[tuple[str, Task]] = []
        self._futures: dict[Any, _Batch] = {}
        self._average = 1.0
        self._is_closing = False
        self._lock = threading.Lock()
        self._keeper, address = _cluster(spec)
        self._address = address
        self._client = self._connect(distributed, address)
        self._threads, self._looked = 1, 0.0
        self._look()
        self._completed = distributed.as_completed(loop=self._client.loop)
        self._has_futures = threading.Semaphore(0)
        topic = dask_worker.topic(self._run)
        self._client.subscribe_topic(topic, self._sighted)
        threading.Thread(target=self._listen, name="druse-dask", daemon=True).start()

    def _connect(self, distributed: Any, address: str) -> Any:
        try:
            return distributed.Client(
                address, timeout=_CONNECT, set_as_default=False, name=f"druse-{self._run}"
            )
        except Exception as error:  # of whatever kind: there is no cluster
            self._stop_keeper()
            raise ExecutorLost(
                f"no Dask scheduler answers at {address}: {type(error).__name__}: {error}"
            ) from error

    # --- the run's thread ----------------------------------------------------------------------

    @property
    def capacity(self) -> int:
        if time.monotonic() - self._looked > _LOOK:
            self._look()
        return self._threads * _AHEAD * self._batch_size()

    def _look(self) -> None:
        self._looked = time.monotonic()
        try:
            self._threads = max(1, sum(self._client.nthreads().values()))
        except Exception:  # the listening thread says it, if the scheduler is gone
            self._threads = max(1, self._threads)

    def _batch_size(self) -> int:
        return max(1, min(_AT_ONCE, int(_WORTH / max(self._average, 1e-4))))

    def submit(self, prepared: Prepared, task: Task) -> None:
        if prepared.name not in self._parcels:
            self._parcels[prepared.name] = pack(prepared, self._changed_modules)
        self._outbox.append((prepared.name, task))

    def rest(self) -> None:
        """Sends what was submitted, in batches that leave no thread without work."""
        outbox, self._outbox = self._outbox, []
        share = -(-len(outbox) // self._threads)
        size = max(1, min(self._batch_size(), share))
        for start in range(0, len(outbox), size):
            self._send(_Batch(outbox[start : start + size]))

    def finish(self, prepared: Prepared) -> None:
        self._parcels.pop(prepared.name, None)
        if any(type(step).teardown is not PipelineStep.teardown for step in prepared.steps):
            self._everywhere(dask_worker.finish, self._run, prepared.name)

    def _everywhere(self, function: Any, *arguments: Any) -> None:
        """Calls something in all workers; one that cannot be reached has nothing to be told."""
        try:
            self._client.run(function, *arguments, on_error="ignore")
        except Exception as error:
            if not self._is_closing and self._is_connected:
                raise ExecutorLost(f"the Dask cluster at {self._address}: {error}") from error

    @property
    def _is_connected(self) -> bool:
        return bool(self._client.status == "running")

    def close(self) -> None:
        self._is_closing = True
        with self._lock:
            under_way = list(self._futures)
        try:
            if self._keeper is None:
                self._client.cancel(under_way, force=True)
            if not under_way and self._is_connected:
                self._everywhere(dask_worker.forget, self._run)
            self._has_futures.release()
            self._client.close(timeout=2)
        except Exception as error:  # it is given up anyway
            if self._is_connected:
                self._report(Stopped(ExecutorLost(str(error))))
        self._stop_keeper()

    def _stop_keeper(self) -> None:
        if self._keeper is not None:
            assert self._keeper.stdin is not None
            self._keeper.stdin.close()
            self._keeper.wait()

    # --- either thread -------------------------------------------------------------------------

    def _send(self, batch: _Batch, worker: str | None = None) -> None:
        cells = [(name, messages.encode_task(task)) for name, task in batch.tasks]
        where = {} if worker is None else {"workers": [worker], "allow_other_workers": True}
        future = self._client.submit(
            dask_worker.execute,
            self._run,
            cells,
            batch.parcels,
            pure=False,
            key=f"druse-{batch.tasks[0][1].cell}-{os.urandom(6).hex()}",
            **where,
        )
        with self._lock:
            self._futures[future] = batch
        self._completed.add(future)
        self._has_futures.release()

    # --- the thread that listens ---------------------------------------------------------------

    def _listen(self) -> None:
        try:
            while not self._is_closing:
                self._has_futures.acquire()
                for futures in self._completed.batches():
                    self._take(list(futures))
        except Exception as error:
            if not self._is_closing:
                self._report(Stopped(self._lost(error)))

    def _take(self, futures: list[Any]) -> None:
        """The results of Dask tasks that are over, brought at once."""
        finished = [future for future in futures if future.status == "finished"]
        results = self._client.gather(finished, direct=False) if finished else []
        for future, result in zip(finished, results, strict=True):
            self._results(self._batch(future), *result)
        for future in futures:
            if future.status == "error":
                self._failed(self._batch(future), future.exception())
            elif future.status in ("cancelled", "lost") and not self._is_closing:
                raise self._lost(RuntimeError(f"a task was {future.status}"))

    def _batch(self, future: Any) -> _Batch:
        with self._lock:
            return self._futures.pop(future)

    def _results(
        self, batch: _Batch, worker: str, missing: Iterable[str], outcomes: list[bytes]
    ) -> None:
        if missing:
            parcels = {name: self._parcels[name] for name in missing if name in self._parcels}
            self._send(_Batch(batch.tasks, parcels), worker)
            return
        for packed in outcomes:
            outcome = messages.decode_outcome(packed)
            self._average += _WEIGHT * (outcome.seconds - self._average)
            self._tell(outcome)

    def _failed(self, batch: _Batch, error: BaseException | None) -> None:
        """Dask has given a task up, since workers died of it, or could not even begin."""
        if len(batch.tasks) > 1:  # which of them it was comes out when each goes alone
            for each in batch.tasks:
                self._send(_Batch([each], batch.parcels))
            return
        _, task = batch.tasks[0]
        text = f"the Dask workers that executed the cell died: {type(error).__name__}: {error}"
        self._tell(failed(task, WorkerDied(text)))

    def _tell(self, outcome: Outcome) -> None:
        if not self._is_closing:
            self._report(outcome)

    def _sighted(self, event: Any) -> None:
        _, (experiment, condition, replicate, name, digest) = event
        cell = CellName(experiment, condition, replicate)
        self._report(Sighting(cell, name, Digest(bytes(digest))))

    def _lost(self, error: Exception) -> ExecutorLost:
        logging.getLogger("distributed.client").setLevel("CRITICAL")  # it would try, and say so
        return ExecutorLost(
            f"the Dask cluster at {self._address} is gone ({error}); what had finished is kept, "
            "and the same run goes on from there"
        )


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise DruseError(
            "the executor dask needs the package `distributed`: install druse[dask]"
        ) from error
    for name in ("core", "batched"):  # they tell of a closed connection by a whole traceback
        logger = logging.getLogger(f"distributed.{name}")
        if logger.getEffectiveLevel() == logging.INFO:
            logger.setLevel(logging.WARNING)
    return distributed


def _cluster(spec: Spec) -> tuple[subprocess.Popen[bytes] | None, str]:
    """The address of the cluster, and the process that keeps it, where it is one of our own."""
    if spec.address not in (None, "local"):
        return None, str(spec.address)
    path = os.pathsep.join(entry for entry in sys.path if entry)
    command = [sys.executable, "-m", "druse.executors.dask_keeper"]
    keeper = subprocess.Popen(  # noqa: S603 - this very interpreter
        [*command, str(spec.workers or processors())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert keeper.stdout is not None
    address = keeper.stdout.readline().decode().strip()
    if not address:
        raise ExecutorLost("a local Dask cluster could not be started: see what it said above")
    return keeper, address


def make(spec: Spec, place: Workplace, report: Report) -> DaskExecutor:
    return DaskExecutor(place, report, spec)
