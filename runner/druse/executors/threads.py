"""Several cells at once, in threads of this process."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

from druse.cell import failed
from druse.errors import CellTimeout
from druse.executors.generators import Sharing
from druse.executors.local import OwnLoop, SetUps
from druse.executors.spec import processors
from druse.task import Outcome, Task, Warned

if TYPE_CHECKING:
    from druse.executors import Report
    from druse.executors.spec import Spec
    from druse.prepared import Prepared
    from druse.runtime import Workplace
    from druse.seeds import Seeding


class _Job:
    """One task, which its thread ends, or whose time ends."""

    def __init__(self, prepared: Prepared, task: Task) -> None:
        self.prepared = prepared
        self.task = task
        self._lock = threading.Lock()
        self._is_over = False

    def end(self) -> bool:
        """Whether this call is the first one."""
        with self._lock:
            first, self._is_over = not self._is_over, True
            return first


class ThreadExecutor:
    """A pool of threads, started as they are needed.

    A thread cannot be stopped: one whose cell takes too long is left alone, and replaced.
    """

    def __init__(self, place: Workplace, report: Report, workers: int) -> None:
        self.capacity = workers
        self._report = report
        self._place = place
        place.share_steps()
        self._set_up = SetUps(place)
        self._sharing = Sharing(lambda text: report(Warned(text)))
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads = 0
        self._active = 0
        self._lock = threading.Lock()

    def submit(self, prepared: Prepared, task: Task) -> None:
        with self._lock:
            self._active += 1
            if self._active > self._threads:
                self._threads += 1
                threading.Thread(target=self._work, name="druse-cell", daemon=True).start()
        self._jobs.put(_Job(prepared, task))

    def _work(self) -> None:
        loop = OwnLoop()
        while (job := self._jobs.get()) is not None:
            outcome = self._execute(loop, job)
            if not job.end():
                break  # it took too long: another thread has this one's place
            self._done(outcome)
        loop.close()

    def _execute(self, loop: OwnLoop, job: _Job) -> Outcome:
        def execute(seeding: Seeding) -> Outcome:
            timer = self._limit(job)
            try:
                return loop.execute(
                    self._set_up, job.prepared, job.task, tell=self._report, seeding=seeding
                )
            finally:
                if timer is not None:
                    timer.cancel()

        try:
            if not self._set_up.has(job.prepared):
                self._set_up_alone(job)
            return self._sharing.run(job.prepared, job, execute)
        except BaseException as error:  # whatever it is, the run waits for an outcome
            return failed(job.task, error)

    def _set_up_alone(self, job: _Job) -> None:
        """Sets an experiment's steps up, which may draw, while no cell runs. One cell does that."""

        def is_done() -> bool:
            return self._set_up.has(job.prepared)

        with self._sharing.being_alone(job, unless=is_done) as is_alone:
            if not is_alone:
                return
            timer = self._limit(job)  # the time that it waited for others is not its own
            try:
                self._set_up.get(job.prepared)
            finally:
                if timer is not None:
                    timer.cancel()

    def _limit(self, job: _Job) -> threading.Timer | None:
        if job.task.timeout is None:
            return None
        timer = threading.Timer(job.task.timeout, self._give_up, (job,))
        timer.daemon = True
        timer.start()
        return timer

    def _give_up(self, job: _Job) -> None:
        if job.end():
            with self._lock:
                self._threads -= 1
            self._sharing.give_up(job)
            if self._place.claims is not None:
                self._place.claims.give_back(job.task.cell)
            assert job.task.timeout is not None
            self._done(failed(job.task, CellTimeout(job.task.timeout)))

    def _done(self, outcome: Outcome) -> None:
        with self._lock:
            self._active -= 1
        self._report(outcome)

    def finish(self, prepared: Prepared) -> None:
        self._set_up.tear_down(prepared.name)

    def close(self) -> None:
        with self._lock:
            for _ in range(self._threads):
                self._jobs.put(None)
        if not self._active:
            self._set_up.close()


def make(spec: Spec, place: Workplace, report: Report) -> ThreadExecutor:
    return ThreadExecutor(place, report, spec.workers or processors())
