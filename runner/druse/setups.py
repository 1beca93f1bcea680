"""The steps of an experiment after their `setup`, and what that means for each of its cells."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from druse import seeds
from druse.context import FrozenContext
from druse.datasource import FunctionSource
from druse.errors import DruseError, traceback_of
from druse.plugins import BUILT_IN, BasePlugin
from druse.reads import Reads
from druse.runtime import Runtime, Workplace
from druse.seeds import Seeding
from druse.watch import Watch

if TYPE_CHECKING:
    from druse.control import Control
    from druse.prepared import Prepared
    from druse.task import Task
    from druse_store import Digest

_KEPT = 64
LOGGER = logging.getLogger("druse")


class SetUpFailed(DruseError):
    """A step's `setup` raised: every cell that would need it fails."""

    def __init__(self, step: str, error: BaseException) -> None:
        super().__init__(f"the setup of {step} failed: {error}")
        self.step = step
        self.traceback_str = traceback_of(error)


def traced(
    grown: Iterable[tuple[str, int]], reads: Iterable[str], wrote: Mapping[str, str]
) -> dict[str, Any]:
    """What a step did, in the order of the keys, at every depth, as a record keeps it: how many
    values each metric got, what was read, and what was written to the context."""
    return {
        "metrics": dict(sorted(grown)),
        "reads": list(reads),
        "wrote": dict(sorted(wrote.items())),
    }


class SetUp:
    """The steps of an experiment after their `setup`, in this process; what that read and set.

    Raises SetUpFailed.
    """

    def __init__(self, prepared: Prepared, place: Workplace) -> None:
        self.prepared = prepared
        self.place = place
        self.values: dict[str, Any] = {}
        self.read: dict[str, Any] = {}
        self.seeding = Seeding(prepared.seed.seed_fn or seeds.seed_generators)
        before = prepared.bare.values()
        reads = Reads(prepared.bare, prepared.table, {})
        ctx = FrozenContext._of_cell(dict(before), reads, LOGGER)
        self._ctx = ctx
        self._ready: list[Any] = []
        watch = Watch(place.files, prepared.code, reads)
        with watch:
            self._set_up(watch)
        self.values = {key: value for key, value in ctx._data.items() if key not in before}
        self.read = {f"setup:{name[4:]}": digest for name, digest in reads.found.items()}
        self.watched: dict[str, Digest | None] = watch.found
        self.unseen = watch.unseen
        self.hooks = [p for p in prepared.experiment.plugins if has_part_in_cells(p)]
        self._sorted: dict[tuple[str, ...], list[str]] = {}
        self._traces: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.idle: list[Watch] = []  # of earlier cells, for more: see `Watch.is_unused`
        self._without_inputs = Runtime(place, prepared, {})
        self._made = prepared.made
        self.named_steps = list(zip(prepared.steps, prepared.step_names, strict=True))
        source = prepared.experiment.datasource
        self.source_draws = not (
            isinstance(source, FunctionSource) and seeds.cannot_draw(type(source).fn)
        )
        self._kept: tuple[Control | None, list[bool]] = (None, [])

    def _set_up(self, watch: Watch) -> None:
        for watch.place, step in enumerate(self.prepared.steps):
            seed = seeds.derive(self.prepared.seed.root, 0, seeds.of_setup(watch.place))
            try:
                with seeds.apart(self.seeding.seed, seed):
                    step.setup(self._ctx)
            except Exception as error:
                self.tear_down()
                raise SetUpFailed(type(step).__name__, error) from error
            self._ready.append(step)

    def keeps(self, control: Control) -> list[bool]:
        """Whether the results of the datasource, and of each step, are kept one by one."""
        known, kept = self._kept
        if known is not control:  # all cells of a run have the same
            kept = [control.keeps(each) for each in self._made]
            self._kept = control, kept
        return kept

    def runtime(self, task: Task) -> Runtime:
        """What a cell can ask for."""
        if not task.upstream:
            return self._without_inputs
        return Runtime(self.place, self.prepared, task.upstream)

    def in_order(self, reads: Iterable[str]) -> list[str]:
        """The names of a cell's reads, sorted. Most cells read the same."""
        names = tuple(reads)
        known = self._sorted.get(names)
        if known is None:
            known = sorted(names)
            if len(self._sorted) < _KEPT:
                self._sorted[names] = known
        return known

    def trace(self, grown: tuple[tuple[str, int], ...], reads: tuple[str, ...]) -> dict[str, Any]:
        """As `traced`, of a step that wrote nothing: one for all cells of which it is the same."""
        done = grown, reads
        known = self._traces.get(done)
        if known is None:
            known = traced(grown, reads, {})
            if len(self._traces) < _KEPT:
                self._traces[done] = known
        return known

    def watch(self, reads: Reads, ctx: FrozenContext) -> Watch:
        """What notes what a cell opens, and the like."""
        try:
            return self.idle.pop().begin(reads, ctx)
        except IndexError:  # asked of it before, another thread may take the last one
            return Watch(self.place.files, self.prepared.code, reads, ctx)

    def tear_down(self) -> None:
        """Calls the steps' `teardown`; one that fails is spoken of, and stops nothing."""
        while self._ready:
            step = self._ready.pop(0)
            try:
                step.teardown(self._ctx)
            except Exception:
                name = type(step).__name__
                LOGGER.warning("the teardown of %s failed", name, exc_info=True)


_HOOKS = ("before_replicate", "before_step", "after_step")


def has_part_in_cells(plugin: BasePlugin) -> bool:
    """Whether a plugin has hooks that are called while a cell is executed."""
    if type(plugin) in BUILT_IN:
        return bool(getattr(plugin, "verbose", False))
    return any(getattr(type(plugin), hook) is not getattr(BasePlugin, hook) for hook in _HOOKS)
