"""Collections of one open store: planned, executed, taken back. One at a time on the machine."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from druse_store import disk
from druse_store.errors import InvalidInput, StoreBusy
from druse_store.gc import cycles
from druse_store.gc.evict import evicting
from druse_store.gc.execute import Executor
from druse_store.gc.levels import retire
from druse_store.gc.plan import GcPlan, GcProgress, Meter, Planner, Settings
from druse_store.gc.report import Freed, GcReport
from druse_store.gc.roots import LevelChange
from druse_store.gc.shares import by_run
from druse_store.gc.undo import Undo, Undone
from druse_store.index import readahead
from druse_store.location import Location
from druse_store.policy import Policy
from druse_store.run import RunName

if TYPE_CHECKING:
    from druse_store.session import Session

_GROWTH = 1.25
_SPARE = 64 << 20  # bytes
_DAY = 86_400.0

Progress = Callable[[GcProgress], None]


class Collector:
    """What the collections of a store have in common."""

    def __init__(
        self,
        session: Session,
        progress: Progress | None = None,
        step: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._session = session
        self.meter = Meter(progress)
        self._step = step
        self.memory = self._last()  # from one collection to the next: a few numbers

    def plan(self, settings: Settings) -> GcPlan:
        """What a collection would do now."""
        self._session.flush_for_reading()
        self._session.writer.leave_files()
        planner = Planner(self._session, settings, self)
        with readahead.ahead(self._session.location.index), cycles.put_off():
            return evicting(planner, settings.policy.max_size)

    def execute(self, plan: GcPlan) -> GcReport:
        """Does what the plan says, as far as it still holds. Raises StoreBusy."""
        with self.lock(), cycles.put_off():
            report = Executor(self._session, plan, self.meter, self._step).run()
            self._remember(plan.settings, report)
            return report

    def collect(self, settings: Settings, *, alone: bool, details: bool) -> GcReport:
        """Plans and executes, without another collection in between. `alone`: nobody else may have
        the store open. `details`: with what becomes of each run. Raises StoreBusy."""
        with ExitStack() as stack:
            if alone:
                stack.enter_context(self._session.users.alone())
                stack.enter_context(self._session.no_new_holds())
            stack.enter_context(self.lock())
            stack.enter_context(cycles.put_off())
            plan = self.plan(settings)
            shares = plan.by_run() if details else []
            report = Executor(self._session, plan, self.meter, self._step, alone=alone).run()
            report.by_run = shares
            self._remember(settings, report)
            return report

    def by_run(self, plan: GcPlan) -> list[Freed]:
        """Whose bytes the plan frees."""
        planner = Planner(self._session, plan.settings, self)
        return by_run(plan, self._session.environment, planner.read_list)

    def undo(self, only: Collection[RunName] | None) -> Undone:
        """Brings back what was removed, all of it or some runs. Raises StoreBusy, RunNotFound."""
        self._session.flush_for_reading()
        with self.lock():
            return Undo(self._session).run(only)

    def after_runs(
        self, experiments: Iterable[str], settings: Settings
    ) -> tuple[list[LevelChange], GcReport | None]:
        """Applies retention to these experiments, and collects if that is due: where the store is
        over its limit, or has grown since the last time, or a day has passed."""
        levels = [
            change
            for experiment in experiments
            for change in retire(self._session, experiment, settings.policy, settings.now)
        ]
        if not self._is_due(settings):
            return levels, None
        try:
            return levels, self.collect(settings, alone=False, details=False)
        except StoreBusy:
            return levels, None  # somebody else does it already

    def _is_due(self, settings: Settings) -> bool:
        size, limit = disk.usage(self._session.location.root), settings.policy.max_size
        if limit is not None and size > limit:
            return True
        last = self.memory
        return size > _GROWTH * last.get("size", 0.0) + _SPARE or (
            settings.now - last.get("time", 0.0) > _DAY and "time" in last
        )

    def _last(self) -> dict[str, float]:
        path = self._session.location.holds / "collector"
        try:
            found = json.loads(path.read_text() or "{}")
            return {key: float(value) for key, value in found.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def _remember(self, settings: Settings, report: GcReport) -> None:
        self.memory.update(time=settings.now, size=report.size)
        text = json.dumps(self.memory)
        path = self._session.location.holds / "collector"
        with suppress(OSError):  # it only says when the next one is due
            path.write_text(text)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Raises StoreBusy while another collection goes on."""
        fd = _open_lock(self._session.location)
        try:
            if not disk.try_lock(fd, fcntl.LOCK_EX):
                raise StoreBusy(
                    f"another process collects garbage in {self._session.location.root}; it does "
                    "what this one would do: try again when it is done"
                )
            yield
        finally:
            os.close(fd)


def _open_lock(location: Location) -> int:
    path = location.holds / "collector"
    with disk.translated("opening", path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        mode = location.file_mode
        if mode is not None and os.fstat(fd).st_uid == os.getuid():
            os.fchmod(fd, mode)
    return fd


def settings(policy: Policy | None, grace: float, now: float | None, waste: float) -> Settings:
    """The settings of a collection. Raises InvalidInput."""
    policy = Policy() if policy is None else policy
    if not isinstance(policy, Policy):
        raise InvalidInput(f"a collection wants a Policy, not {type(policy).__name__}")
    if not grace >= 0:
        raise InvalidInput(f"a grace is a number of seconds, 0 or more: {grace!r}")
    if not 0 <= waste <= 1:
        raise InvalidInput(f"waste is a share from 0 to 1: {waste!r}")
    at = time.time() if now is None else now
    return Settings(policy=policy, grace=grace, now=at, waste=waste)
