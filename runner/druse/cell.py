"""Executing one cell: fetch, then step by step; what was read, recorded and written on the way."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from druse import seeds, shown
from druse.checked import Inputs
from druse.context import FrozenContext
from druse.errors import PipelineExecutionError, traceback_of
from druse.names import REPLICATE_KEY, SOURCE, STEP_NAME_KEY
from druse.pipelines import without_metrics
from druse.plain import plain
from druse.plugins import BUILT_IN, BasePlugin
from druse.reads import Reads, Told
from druse.runtime import InputGone
from druse.seeds import Seeding
from druse.setups import LOGGER, SetUp, traced
from druse.stepcache import Held, StepCache
from druse.task import Failure, Outcome, Sighting, Task, WrittenArtifact
from druse.watch import unwatched

if TYPE_CHECKING:
    from druse.witness import See

Waiter = Callable[[Awaitable[Any]], Awaitable[Any]]
"""Awaits what an asynchronous step returned: in a running loop, or in one of its own."""


class CellRun:
    """One cell while it runs.

    `tell` gets the sightings that the task asks for. `seeding` is how generators are set, where
    that is not what the experiment says: see `executors.generators`. `see` is told what each step
    gave.
    """

    __slots__ = (
        *("outcome", "_cache", "_ctx", "_initial", "_place", "_reads", "_root", "_see"),
        *("_seed_replicate", "_seeding", "_task", "_up", "_waiter", "_watch"),
    )

    def __init__(
        self,
        up: SetUp,
        task: Task,
        waiter: Waiter,
        tell: Callable[[Sighting], None] | None = None,
        seeding: Seeding | None = None,
        see: See | None = None,
    ) -> None:
        self._up, self._task, self._waiter, self._see = up, task, waiter, see
        prepared = up.prepared
        _, name, replicate = task.cell
        condition = prepared.conditions[name]
        if task.given is not None:
            condition.hand(replicate, task.given)
        self._initial = initial = condition.cell(replicate)
        self._reads = reads = Reads(initial, prepared.table, up.values)
        if tell is not None and task.tells:
            reads.found = Told({}, lambda *read: tell(Sighting(task.cell, *read)))
        if up.read:
            reads.found.update(up.read)
        values = initial.values()
        if up.values:
            values = {**up.values, **values}
        self._root = condition.root
        self._seed_replicate = replicate if prepared.seed.auto_seed else 0
        self._ctx = ctx = FrozenContext._of_cell(values, reads, LOGGER)
        ctx._runtime = up.runtime(task)
        ctx._seeding = self._seeding = seeding or up.seeding
        self.outcome = Outcome(task.cell, reads.found)
        self._watch = up.watch(reads, ctx)
        self._cache: StepCache | None = None
        self._place = SOURCE

    async def run(self) -> Outcome:
        """Never raises what the user's code raised: it is in the outcome."""
        await self.go()
        return self.outcome

    async def go(self) -> None:
        """As `run`; what came of it is in `outcome` then."""
        outcome = self.outcome
        started = time.perf_counter()
        try:
            with self._watch:
                await self._run_steps()
            outcome.metrics = self._plain_metrics()
        except InputGone as error:
            outcome.gone = error.alias
            outcome.failure = self._failure(error)
        except (KeyboardInterrupt, GeneratorExit, asyncio.CancelledError):
            raise
        except BaseException as error:  # SystemExit too: a step cannot end the run
            if _is_input_gone(error):
                outcome.gone = _gone_alias(error)
            outcome.failure = self._failure(error)
        outcome.seconds = time.perf_counter() - started
        self._finish()

    async def _run_steps(self) -> None:
        up, ctx, see = self._up, self._ctx, self._see
        if self._initial.error is not None or up.values:
            self._check_start()
        experiment, hooks, kept = up.prepared.experiment, up.hooks, up.keeps(self._task.control)
        if hooks:
            ctx._log_reads = any(type(plugin) in BUILT_IN for plugin in hooks)
        for hook in hooks:
            with self._looking(hook, seeds.BEFORE_REPLICATE):
                hook.before_replicate(experiment, ctx)
        data = self._fetch(kept[0])
        if type(data) is _Later:
            data = await data.value
        if see is not None:
            see(seeds.SOURCE, _value(data), ctx._data)
        for position, (step, name) in enumerate(up.named_steps):
            self._place = ctx._data[STEP_NAME_KEY] = name
            self._reads.position = self._watch.place = position
            began = time.perf_counter()
            before = self._how_much()
            for hook in hooks:
                with self._looking(hook, seeds.before_step(position)):
                    hook.before_step(experiment, step)
            data = self._execute(position, step, data, kept[position + 1])
            if type(data) is _Later:
                data = await data.value
            if ctx.artifacts._items:
                self._note_artifacts(position)
            if see is not None:
                see(position, _value(data), ctx._data)
            for hook in hooks:
                with self._looking(hook, seeds.after_step(position)):
                    hook.after_step(experiment, step, _value(data), ctx)
            ctx.artifacts._end_step()
            self.outcome.step_seconds.append(time.perf_counter() - began)
            self._trace(before)

    def _note_artifacts(self, position: int) -> None:
        for artifact in reversed(self._ctx.artifacts._items):
            if artifact.position >= 0:
                break
            artifact.position, artifact.step_name = position, self._place

    @contextmanager
    def _looking(self, hook: BasePlugin, place: int) -> Iterator[None]:
        """Around a hook: the reads of a plugin that only looks do not count."""
        if not hook.observes_only:
            if type(hook) not in BUILT_IN:
                self._seed(place, shared=False)
            yield
            return
        self._ctx._reads = None
        try:
            with unwatched():
                yield
        finally:
            self._ctx._reads = self._reads

    def _check_start(self) -> None:
        if self._initial.error is not None:
            raise self._initial.error
        for key in self._up.values:
            if key in self._initial.values():
                from druse.errors import ContextMutationError

                raise ContextMutationError(
                    f"Cannot mutate existing key: '{key}' (the treatment sets it, and a step's "
                    "setup did before)"
                )

    # What follows gives a value, or says what has to be awaited for it. Most need not.

    def _fetch(self, is_kept: bool) -> Any:
        self._reads.position = self._watch.place = seeds.SOURCE
        source = self._up.prepared.experiment.datasource
        if source.shared:
            self._reads.shared(seeds.SOURCE)
        if is_kept:
            return _Later(self._keep(seeds.SOURCE, source, None, self._fetch_value))
        if self._up.source_draws or self._seeding.seed is not seeds.seed_generators:
            self._seed(seeds.SOURCE, bool(source.shared))
        value = source.fetch(self._ctx)
        return _Later(self._waiter(value)) if _is_awaitable(value) else value

    async def _fetch_value(self) -> Any:
        value = self._up.prepared.experiment.datasource.fetch(self._ctx)
        return await self._waiter(value) if _is_awaitable(value) else value

    def _execute(self, position: int, step: Any, data: Any, is_kept: bool) -> Any:
        if step.shared:
            self._reads.shared(position)
        if is_kept:
            held = data if type(data) is Held else Held(data)
            return _Later(self._keep(position, step, held, partial(self._execute_kept, step, held)))
        self._seed(position, bool(step.shared))
        return self._call(step, _value(data))

    async def _execute_kept(self, step: Any, data: Held) -> Any:
        result = self._call(step, data.get())
        return await result.value if type(result) is _Later else result

    def _call(self, step: Any, given: Any) -> Any:
        if self._task.control.check:
            return _Later(self._check(step, given))
        result = step(given, self._ctx)
        if _is_awaitable(result):
            return _Later(self._wait(result))
        return without_metrics(result, self._ctx)

    async def _wait(self, result: Awaitable[Any]) -> Any:
        return without_metrics(await self._waiter(result), self._ctx)

    async def _check(self, step: Any, given: Any) -> Any:
        """Sees to it that a step leaves alone what it was given."""
        inputs = Inputs(step, given)
        result = step(given, self._ctx)
        if _is_awaitable(result):
            result = await self._waiter(result)
        inputs.require_unchanged()
        return without_metrics(result, self._ctx)

    async def _keep(
        self, position: int, step: Any, data: Held | None, call: Callable[[], Awaitable[Any]]
    ) -> Held:
        """What a cacheable step gives, taken from the store or executed."""
        cache = self._cache
        if cache is None:
            cache = self._cache = StepCache(
                self._up,
                self._task,
                self._reads,
                self._watch,
                self._ctx,
                self.outcome,
                self._seeding.has_drawn,
            )
        hit = await cache.take(position, step, data, self._pause)
        return hit or await cache.execute(position, step, data, call, self._seed)

    async def _pause(self, seconds: float) -> None:
        await self._waiter(asyncio.sleep(seconds))

    def _seed(self, position: int, shared: bool) -> None:
        replicate = 0 if shared else self._seed_replicate
        self._seeding.seed(seeds.derive(self._root, replicate, position))

    # --- what comes of it ----------------------------------------------------------------------

    def _plain_metrics(self) -> dict[str, list[Any]]:
        metrics = self._ctx.metrics
        found = metrics._values
        if metrics._tags:
            self.outcome.tags = {name: list(metrics.get_tags(name)) for name in metrics._tags}
        return {
            name: [v if _is_plain(v) else plain(v, f"metric {name!r}") for v in values]
            for name, values in (found.items() if len(found) < 2 else sorted(found.items()))
        }

    def _finish(self) -> None:
        outcome, ctx = self.outcome, self._ctx
        if type(outcome.reads) is Told:
            outcome.reads = dict(outcome.reads)
        self._note_seen()
        if ctx.artifacts._items:
            outcome.artifacts = [
                _tuple(WrittenArtifact, (a.name, a.position, a.data)) for a in ctx.artifacts._items
            ]
        ctx._end()
        known, texts = self._up.prepared.shown_in(outcome.cell.condition), outcome.shown
        for name in self._up.in_order(outcome.reads):
            text = known.get(name)
            if text is None:
                text = self._show(name)
            if text is not None:
                texts[name] = text

    def _note_seen(self) -> None:
        """Notes what was opened, and written, and used in ways that nothing sees."""
        outcome, up, watch = self.outcome, self._up, self._watch
        if up.watched or watch.found:
            outcome.seen = {**up.watched, **watch.found}
        if up.unseen or watch.unseen:
            outcome.unseen = list({**up.unseen, **watch.unseen})
        if watch.is_unused:
            up.idle.append(watch)
            return
        outcome.written = watch.written
        changed = watch.changed()
        if changed:
            outcome.unstorable = f"{changed[0]} changed while the cell ran"

    def _show(self, name: str) -> str | None:
        """What a read gave, for people; remembered where it is the same in all replicates."""
        if name == _REPLICATE and REPLICATE_KEY not in self._initial.extra:
            return str(self._initial.replicate)
        prepared, condition = self._up.prepared, self.outcome.cell.condition
        text = shown.read(name, prepared, self._initial)
        key = name.rpartition(":")[2]
        if text is not None and prepared.conditions[condition].is_same_everywhere(key):
            prepared.shown_in(condition)[name] = text
        return text

    def _how_much(self) -> _Before:
        """How many keys, reads, and values of each metric there are before a step."""
        values = self._ctx.metrics._values
        counts = {name: len(each) for name, each in values.items()} if values else {}
        return len(self._ctx._data), len(self._reads.found), counts

    def _trace(self, before: _Before) -> None:
        data, values = self._ctx._data, self._ctx.metrics._values
        keys, reads, counts = before
        grown = tuple([(k, len(v)) for k, v in values.items() if len(v) != counts.get(k, 0)])
        found = tuple(self._reads.found)
        if reads:
            found = found[reads:]
        if len(data) > keys:  # a context only grows, and keeps the order in which its keys came
            wrote = {str(key): shown.shown(data[key]) for key in list(data)[keys:]}
            trace = traced(grown, found, wrote)
        else:
            trace = self._up.trace(grown, found)
        self.outcome.trace.append(trace)

    def _failure(self, error: BaseException) -> Failure:
        if isinstance(error, PipelineExecutionError) and error.traceback_str:
            text = error.traceback_str
        else:
            text = getattr(error, "traceback_str", "") or traceback_of(error)
        self.outcome.error = error
        return Failure(self._place, str(error), text, type(error).__name__)


class _Later(NamedTuple):
    """A value that has to be awaited."""

    value: Awaitable[Any]


def _value(data: Any) -> Any:
    """What a step or the datasource gave, loaded where it lies in the store."""
    return data.get() if type(data) is Held else data


_tuple = tuple.__new__  # a named tuple's own way takes three times as long
_Before = tuple[int, int, dict[str, int]]
_LARGE = 1 << 63
_REPLICATE = f"ctx:{REPLICATE_KEY}"
_NOT_AWAITABLE = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict})


def _is_plain(value: Any) -> bool:
    return type(value) is float or (type(value) is int and -_LARGE < value < _LARGE)


def _is_awaitable(value: Any) -> bool:
    return type(value) not in _NOT_AWAITABLE and inspect.isawaitable(value)


def failed(task: Task, error: BaseException, kind: str | None = None) -> Outcome:
    """The outcome of a cell that could not begin, or whose end is not known."""
    text = getattr(error, "traceback_str", "") or str(error)
    place = getattr(error, "step", "the cell")
    failure = Failure(place, str(error), text, kind or type(error).__name__)
    return Outcome(task.cell, {}, failure=failure, error=error)


def _is_input_gone(error: BaseException) -> bool:
    cause = error.__cause__ or error.__context__
    return isinstance(cause, InputGone)


def _gone_alias(error: BaseException) -> str:
    cause = error.__cause__ or error.__context__
    assert isinstance(cause, InputGone)
    return cause.alias
