"""Several cells at once, in processes of this machine.

Each worker gets an experiment once, and then a few bytes for each of its cells. A worker that dies
takes one cell along, and another one takes its place.
"""

from __future__ import annotations

import os
import selectors
import signal
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from druse.cell import failed
from druse.errors import CellTimeout, DruseError, ExecutorLost, WorkerDied
from druse.executors import messages, worker
from druse.executors.bench import Setting
from druse.executors.forking import Child, Template, template
from druse.executors.payload import pack
from druse.executors.spec import processors
from druse.fingerprint.loaded import user_modules
from druse.modules import configured
from druse.task import Outcome, Stopped, Task

if TYPE_CHECKING:
    from druse.executors import Report
    from druse.executors.spec import Spec
    from druse.prepared import Prepared
    from druse.runtime import Workplace

_SHORT = 0.02  # seconds; of cells as short as this, a worker gets the next one before it asks
_PATIENCE = 5.0  # seconds that workers may take to tear down
_STILLBORN = 5  # workers in a row that end before they begin: then there is no point in more
_WEIGHT = 0.1  # of the latest cell in the average of how long they take


@dataclass
class _Worker:
    child: Child
    tasks: deque[tuple[str, Task]] = field(default_factory=deque)
    known: set[str] = field(default_factory=set)
    until: float | None = None
    doom: DruseError | None = None
    is_ready: bool = False


class Pool:
    """Worker processes, started as they are needed. Thread-safe.

    `is_of_run`: whether this is the run's own process, whose `sys.path` they take over.
    """

    def __init__(
        self, setting: Setting, report: Report, most: int, *, is_of_run: bool = True
    ) -> None:
        self._setting = setting
        self._is_of_run = is_of_run
        self._report = report
        self._most = most
        self._packed: dict[str, bytes] = {}
        self._workers: dict[Connection, _Worker] = {}
        self._average = 1.0
        self._stillborn = 0
        self._is_closing = False
        self._lock = threading.RLock()
        self._none_left = threading.Condition(self._lock)
        self._selector = selectors.DefaultSelector()
        self._wakeup, self._wake = os.pipe()
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        self._template: Template = template()
        self._thread = threading.Thread(target=self._listen, name="druse-workers", daemon=True)
        self._thread.start()

    @property
    def capacity(self) -> int:
        """How many tasks are worth having at once."""
        return self._most * (2 if self._average < _SHORT else 1)

    def knows(self, name: str) -> bool:
        """Whether it has an experiment of this name."""
        return name in self._packed

    def learn(self, name: str, packed: bytes) -> None:
        """Takes an experiment, which each worker gets once."""
        self._packed[name] = packed

    def submit(self, name: str, task: Task) -> None:
        """Takes a task of an experiment that it knows. Raises ExecutorLost."""
        with self._lock:
            self._place(name, task)

    def finish(self, name: str) -> None:
        """No more tasks of an experiment will come."""
        self._packed.pop(name, None)
        with self._lock:
            for each in self._workers.values():
                if name in each.known:
                    each.known.discard(name)
                    self._send(each, worker.FINISH, name)

    def close(self) -> None:
        """Ends the workers: those that are at a cell at once, the others when they tore down."""
        with self._lock:
            self._is_closing = True
            for each in list(self._workers.values()):
                if each.tasks:
                    self._template.kill(each.child)
                else:
                    self._send(each, worker.QUIT, None)
            if not self._none_left.wait_for(lambda: not self._workers, _PATIENCE):
                for each in self._workers.values():
                    self._template.kill(each.child)
        os.write(self._wake, b"x")
        self._thread.join(_PATIENCE)
        self._selector.close()
        os.close(self._wakeup)
        os.close(self._wake)

    # --- either thread, with the lock ----------------------------------------------------------

    def _place(self, name: str, task: Task) -> None:
        """Gives a task to the worker that will be done first."""
        each = self._least_busy()
        if each is None or (each.tasks and len(self._workers) < self._most):
            each = self._start()
        if name not in each.known:
            each.known.add(name)
            self._send(each, worker.EXPERIMENT, (name, self._packed[name]))
        each.tasks.append((name, task))
        self._send(each, worker.TASK, (name, messages.encode_task(task)))

    def _least_busy(self) -> _Worker | None:
        found = [each for each in self._workers.values() if each.doom is None]
        return min(found, key=lambda each: len(each.tasks), default=None)

    def _start(self) -> _Worker:
        try:
            each = _Worker(self._template.fork())
        except ExecutorLost:  # it has died
            self._template = template(instead_of=self._template)
            each = _Worker(self._template.fork())
        connection = each.child.connection
        self._workers[connection] = each
        path = list(sys.path) if self._is_of_run else None
        self._send(each, worker.SETTING, (self._setting, dict(os.environ), path))
        self._selector.register(connection, selectors.EVENT_READ)
        os.write(self._wake, b"x")
        return each

    def _send(self, each: _Worker, what: int, content: Any) -> None:
        # One that is gone says so where its messages are read.
        with suppress(OSError):
            each.child.connection.send_bytes(messages.encode((what, content)))

    # --- the thread that listens ---------------------------------------------------------------

    def _listen(self) -> None:
        try:
            while not (self._is_closing and not self._workers):
                for key, _ in self._selector.select(self._patience()):
                    if key.fileobj == self._wakeup:
                        os.read(self._wakeup, 512)
                    else:
                        self._hear(key.fileobj)  # type: ignore[arg-type]
                self._kill_overdue()
        except Exception as error:  # nobody else would hear of it
            self._report(Stopped(error))

    def _hear(self, connection: Connection) -> None:
        """All that a worker has said."""
        each = self._workers[connection]
        try:
            while True:
                self._note(each, *messages.decode(connection.recv_bytes()))
                if not connection.poll():
                    return
        except (EOFError, OSError):
            self._gone(connection, each)

    def _note(self, each: _Worker, what: int, content: Any) -> None:
        if what == worker.READY:
            each.is_ready, self._stillborn = True, 0
        elif what == worker.BEGAN:
            limit = each.tasks[0][1].timeout
            each.until = None if limit is None else time.monotonic() + limit
        elif what == worker.SIGHTED:
            self._report(content)
        else:
            outcome = messages.decode_outcome(content)
            self._average += _WEIGHT * (outcome.seconds - self._average)
            with self._lock:
                each.tasks.popleft()
                each.until = None
            self._tell(outcome)

    def _tell(self, outcome: Outcome) -> None:
        if not self._is_closing:
            self._report(outcome)

    def _gone(self, connection: Connection, each: _Worker) -> None:
        """A worker is gone: the cell that it was at fails, the others go to other workers."""
        self._selector.unregister(connection)
        with self._lock:
            del self._workers[connection]
            self._none_left.notify_all()
        connection.close()
        if self._is_closing or not each.tasks:
            return
        if each.is_ready:
            _, task = each.tasks.popleft()
            error = each.doom or WorkerDied(_how(self._template.how_it_ended(each.child)))
            self._tell(failed(task, error))
        else:
            self._stillborn += 1
            if self._stillborn >= _STILLBORN:
                raise ExecutorLost("worker processes end before they begin: see what they said")
        with self._lock:
            for name, other in each.tasks:
                self._place(name, other)

    def _patience(self) -> float | None:
        ends = [each.until for each in list(self._workers.values()) if each.until is not None]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for each in list(self._workers.values()):
            if each.until is not None and each.until <= now and each.doom is None:
                limit = each.tasks[0][1].timeout
                assert limit is not None
                each.doom, each.until = CellTimeout(limit), None
                self._template.kill(each.child)


def _how(status: int | None) -> str:
    text = "the worker process that executed the cell died"
    if status is None:
        return text
    if status >= 0:
        return f"{text}: it ended itself with status {status}"
    name = signal.Signals(-status).name
    hint = " (the system does that when memory runs out)" if name == "SIGKILL" else ""
    return f"{text}: killed by {name}{hint}"


class ProcessExecutor:
    """A pool of this machine's processes, for one run."""

    def __init__(self, place: Workplace, report: Report, workers: int) -> None:
        modules, self._changed = user_modules(configured())
        self._pool = Pool(Setting.of(place, modules), report, workers)

    @property
    def capacity(self) -> int:
        return self._pool.capacity

    def submit(self, prepared: Prepared, task: Task) -> None:
        if not self._pool.knows(prepared.name):
            self._pool.learn(prepared.name, pack(prepared, self._changed))
        self._pool.submit(prepared.name, task)

    def finish(self, prepared: Prepared) -> None:
        self._pool.finish(prepared.name)

    def close(self) -> None:
        self._pool.close()


def make(spec: Spec, place: Workplace, report: Report) -> ProcessExecutor:
    return ProcessExecutor(place, report, spec.workers or processors())
