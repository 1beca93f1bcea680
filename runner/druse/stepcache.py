"""Cacheable steps and datasources: kept one by one, under the same rules as cells.

A step's key rests on its code and parameters, the digest of its input, its seed, and what it reads
while it runs, wherever in the cell that came from. A hit replays what the step returned, and its
metrics, artifacts and context values; what it returned stays in the store until something needs it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from druse import key, seeds
from druse.context import ArtifactRecord, FrozenContext
from druse.errors import InvalidMetric, Unhashable
from druse.fingerprint.values import value_digest
from druse.glance import Glance
from druse.plain import plain
from druse.reads import Frame, Reads
from druse.task import Outcome, Task
from druse.unpickled import class_digest, finished, package_digest
from druse.watch import Watch, unwatched
from druse_store import ArtifactRef, Digest, ObjectRef, Read, Record, StoreError, extend

if TYPE_CHECKING:
    from druse.key import Part
    from druse.setups import SetUp

_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.1  # seconds, while another cell executes a step
_CONTEXT_VALUE = -2  # the place of an artifact that stands for a value set in the context


class Held:
    """A step's output: the value, or where it lies in the store."""

    __slots__ = ("_digest", "_load", "_loaded", "_value")

    def __init__(
        self,
        value: Any = None,
        digest: Digest | None = None,
        load: Callable[[], Any] | None = None,
    ) -> None:
        self._value = value
        self._digest = digest
        self._load = load

    def get(self) -> Any:
        """The value, loaded when it is first needed."""
        if self._load is not None:
            self._value, self._load = self._load(), None
        return self._value

    def digest(self) -> Digest:
        """Raises Unhashable for a value without a canonical form."""
        if self._digest is None:
            self._digest = value_digest(self._value, "the step's input")
        return self._digest


class StepCache:
    """The cacheable steps of one cell; it is asked about no others.

    `has_drawn` says whether a step may have drawn what its seed does not give.
    """

    def __init__(
        self,
        up: SetUp,
        task: Task,
        reads: Reads,
        watch: Watch,
        ctx: FrozenContext,
        outcome: Outcome,
        has_drawn: Callable[[], bool],
    ) -> None:
        self._watch = watch
        self._up = up
        self._prepared = up.prepared
        self._place = up.place
        self._task = task
        self._reads = reads
        self._ctx = ctx
        self._hits: list[int] = []
        self._outputs: dict[str, str] = {}
        self._warnings: list[str] = []
        outcome.step_hits, outcome.outputs = self._hits, self._outputs
        outcome.warnings = self._warnings
        self._has_drawn = has_drawn
        self._after_forced = False

    def _has_to_run(self, step: Any) -> bool:
        """Whether an earlier result must not be taken."""
        control = self._task.control
        if control.forces(step):
            self._after_forced = control.force_downstream
            return True
        return control.check or self._after_forced

    # --- finding -------------------------------------------------------------------------------

    async def take(
        self, position: int, step: Any, data: Held | None, wait: Callable[[float], Awaitable[Any]]
    ) -> Held | None:
        """As `find`; where the step has to run, no other cell executes it meanwhile."""
        pause = _FIRST_PAUSE
        while True:
            held = self.find(position, step, data)
            if held is not None:
                return held
            if self._claim(position, step, data):
                return self._find_late(position, step, data)
            await wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _find_late(self, position: int, step: Any, data: Held | None) -> Held | None:
        """As `find`, once it is claimed: whoever had the claim before may have kept it since."""
        held = None
        if self._place.claims is not None:
            try:
                held = self.find(position, step, data)
            except BaseException:
                self.give_back()
                raise
        if held is not None:
            self.give_back()
        return held

    def _claim(self, position: int, step: Any, data: Held | None) -> bool:
        """Whether this cell may execute a step now. The key is how far the step's is foreseen."""
        claims = self._place.claims
        if claims is None or self._task.control.check:
            return True
        start = self._start(position, step, data)
        if start is None:
            return True
        with unwatched():
            with Glance(self._place.store) as view:
                ends, passed = self._foreseen(view, start)
            given = []
            for parameter in getattr(step, "taken", ()):
                value = self._reads.parameter(parameter.name, self._ctx._data)
                if value is not None:
                    given.append((parameter.name, value))
            before = [key.joined("claim", [("end", node), *given]) for node in passed]
            parts = [("end", end) for end in sorted(ends)]
            return claims.take(self._task.cell, key.joined("claim", parts + given), before)

    def _foreseen(self, view: Glance, start: Digest) -> tuple[list[Digest], list[Digest]]:
        """Where the known reads lead with what they would give now, and over which nodes."""
        ends: list[Digest] = []
        passed: list[Digest] = []
        waiting = [start]
        while waiting:
            node = waiting.pop()
            names = [name for name in view.next_reads(node) if name]
            view.let_go()
            values = [(name, self._today(name)) for name in names]
            following = [extend(node, name, value) for name, value in values if value is not None]
            waiting += following
            (passed if following else ends).append(node)
        return ends, passed

    def give_back(self) -> None:
        """The step that was claimed has been executed."""
        if self._place.claims is not None:
            self._place.claims.give_back(self._task.cell)

    def find(self, position: int, step: Any, data: Held | None) -> Held | None:
        """The output of an earlier execution, replayed; None where the step has to run."""
        if self._has_to_run(step):
            return None
        start = self._start(position, step, data)
        if start is None:
            return None
        with unwatched(), Glance(self._place.store) as view:
            signature, replicate = start, self._replicate(step)
            found = self._walk(view, signature, replicate)
        if found is None:
            return None
        with unwatched():
            self._place.bring(found)
        try:
            held = self._replay(position, found)
        except StoreError as error:
            self._warn(f"{type(step).__name__}: its kept result cannot be read: {error}")
            return None
        self._hits.append(position)
        self._outputs[str(position)] = held.digest().hex()
        return held

    def _start(self, position: int, step: Any, data: Held | None) -> Digest | None:
        part = self._part(position)
        if part.uncacheable:
            return None
        try:
            input_digest = Digest.of(b"") if data is None else data.digest()
        except Unhashable as error:
            self._warn(f"{type(step).__name__} runs uncached: {error}")
            return None
        seed = self._prepared.seed
        replicate = 0 if step.shared or not seed.auto_seed else self._task.cell.replicate
        drawn = f"{seeds.derive(seed.root, replicate, position)}/{bool(step.shared)}"
        digests = [
            ("part", part.digest),
            ("hooks", self._hooks()),
            ("setup", key.joined("setup", sorted(self._up.read.items()))),
            ("input", input_digest),
            ("seed", value_digest(drawn, "seed")),
        ]
        return key.joined("cacheable", digests)

    def _part(self, position: int) -> Part:
        return self._prepared.parts[position + 1]

    def _hooks(self) -> Digest:
        parts = self._prepared.parts[1 + len(self._prepared.steps) :]
        return key.joined("cacheable", [(part.label, part.digest) for part in parts])

    def _replicate(self, step: Any) -> int:
        return 0 if step.shared else self._task.cell.replicate

    def _walk(self, view: Glance, start: Digest, replicate: int) -> Record | None:
        waiting = [start]
        while waiting:
            node = waiting.pop()
            for name in view.next_reads(node):
                if not name:
                    record = view.record_at(node, replicate)
                    if record is not None and record.status == "ok":
                        return record
                    continue
                view.let_go()
                value = self._today(name)
                if value is not None:
                    waiting.append(extend(node, name, value))
        return None

    def _today(self, name: str) -> Digest | None:
        """What a read of the step would give now; None if nothing answers."""
        kind, _, rest = name.partition(":")
        if kind == "ctx":
            return self._reads.current(rest, self._ctx._data)
        if kind == "param":
            return self._reads.parameter(rest, self._ctx._data)
        if kind in ("file", "dir", "glob", "class", "package", "up"):
            return self._outside(kind, rest)
        return self._inside(kind, rest)

    def _outside(self, kind: str, rest: str) -> Digest | None:
        if kind in ("file", "dir", "glob"):
            return self._place.files.current(f"{kind}:{rest}")
        if kind == "class":
            return class_digest(self._place.keys, rest)
        if kind == "package":
            return package_digest(rest)
        upstream = self._task.upstream.get(rest)
        return None if upstream is None else upstream.artifact.ref.root.digest

    def _inside(self, kind: str, rest: str) -> Digest | None:
        """What the cell made so far."""
        metrics = self._ctx.metrics
        seen: Any
        if kind == "metric":
            seen = tuple(metrics._values.get(rest, ()))
        elif kind == "tags":
            seen = metrics.get_tags(rest)
        elif kind == "metrics":
            seen = {name: tuple(values) for name, values in metrics._values.items()}
        elif kind == "artifacts":
            log = self._ctx.artifacts
            seen = [(a.name, a.data) for a in log._items[log._begin :]]
        elif kind == "name":
            seen = self._ctx._data.get("step_name")
        else:
            return None
        return value_digest(seen, kind)

    # --- replaying -----------------------------------------------------------------------------

    def _replay(self, position: int, record: Record) -> Held:
        store, ctx = self._place.store, self._ctx
        with unwatched():
            written = [(a, store.get_object(a.ref, writable=True)) for a in record.artifacts]
        for read in record.reads:
            self._read_again(read)
        tags: Any = record.provenance.get("tags", {})
        kept: Any = record.metrics
        for name, values in kept.items():
            for place, value in enumerate(values):
                ctx.metrics.add(name, value, tags[name][place] if name in tags else None)
        unseen: Any = record.provenance.get("unseen", ())
        for what in unseen:
            self._watch.unseen.setdefault((position, what))
        for artifact, value in written:
            if artifact.step == _CONTEXT_VALUE:
                ctx.add(artifact.name, value)
            else:
                ctx.artifacts.add(artifact.name, value)
        output, digest = record.output, Digest.fromhex(str(record.provenance["output"]))
        assert output is not None
        for ref in output.blobs():
            if ref.digest not in store:
                raise StoreError(f"blob {ref.digest} is gone")
        return Held(digest=digest, load=lambda: self._load(output))

    def _load(self, output: ObjectRef) -> Any:
        with unwatched():
            return self._place.store.get_object(output, writable=True)

    def _read_again(self, read: Read) -> None:
        kind, _, rest = read.key.partition(":")
        reads, data = self._reads, self._ctx._data
        if kind == "ctx":
            if rest == "*":
                reads.everything(data)
            else:
                reads.context(rest, data)
        elif kind == "param":
            if self._prepared.table.is_given(reads.position, rest):
                reads.given(rest)
            elif rest in data:
                reads.injected(rest, data)
            else:
                reads.defaulted(rest)
        elif kind == "name":
            reads.step_name(data.get("step_name"))
        elif kind in ("file", "dir", "glob", "class", "package", "up", "stored"):
            reads.note(read.key, read.value)

    # --- executing -----------------------------------------------------------------------------

    async def execute(
        self,
        position: int,
        step: Any,
        data: Held | None,
        call: Callable[[], Awaitable[Any]],
        seed: Callable[[int, bool], None],
    ) -> Held:
        """Runs a step, and keeps what came of it where it is cacheable."""
        try:
            return await self._execute(position, step, data, call, seed)
        finally:
            self.give_back()

    async def _execute(
        self,
        position: int,
        step: Any,
        data: Held | None,
        call: Callable[[], Awaitable[Any]],
        seed: Callable[[int, bool], None],
    ) -> Held:
        seed(position, bool(step.shared))
        start = self._start(position, step, data)
        if start is None:
            return Held(await call())
        before = _Before(self._ctx)
        began = time.perf_counter()
        with self._reads.recording() as frame, self._watch.recording() as seen:
            value = await call()
        frame.update(finished(seen, self._place.keys))
        seconds = time.perf_counter() - began
        held = Held(value)
        changed = self._watch.changed()
        if changed:
            self._warn(f"{type(step).__name__} runs uncached: {changed[0]} changed while it ran")
            return held
        if self._has_drawn():
            return held  # the cell is going to be executed again
        try:
            with unwatched(), self._place.store.batch():
                self._keep(position, start, frame, before, held, seconds)
            self._outputs[str(position)] = held.digest().hex()
        except (StoreError, Unhashable, InvalidMetric) as error:
            self._warn(f"{type(step).__name__} runs uncached: its output cannot be kept: {error}")
        return held

    def _keep(
        self,
        position: int,
        start: Digest,
        frame: Frame,
        before: _Before,
        held: Held,
        seconds: float,
    ) -> None:
        store, ctx = self._place.store, self._ctx
        step = self._prepared.made[position + 1]
        value = held.get()
        output = store.put_object(value)
        try:
            digest = value_digest(value, "output")
        except Unhashable:
            digest = self._digest_of_encoding(value, output)
        held._digest = digest
        artifacts = [
            ArtifactRef(a.name, 0, store.put_object(a.data)) for a in before.new_artifacts(ctx)
        ]
        artifacts += [
            ArtifactRef(name, _CONTEXT_VALUE, store.put_object(each))
            for name, each in before.new_values(ctx).items()
        ]
        reads = tuple(Read(name, each) for name, each in frame.items())
        signature = start
        for read in reads:
            signature = extend(signature, read.key, read.value)
        metrics, tags = before.new_metrics(ctx)
        unseen = [what for place, what in self._watch.unseen if place == position]
        provenance: dict[str, Any] = {
            "output": digest.hex(),
            "seconds": seconds,
            "at": time.time(),
            "step": type(step).__name__,
            "experiment": self._prepared.name,
        }
        provenance |= {k: v for k, v in (("tags", tags), ("unseen", unseen)) if v}
        record = Record(
            signature=signature,
            replicate=self._replicate(step),
            status="ok",
            base=self._prepared.step_base(position),
            start=start,
            reads=reads,
            metrics=metrics,
            artifacts=tuple(artifacts),
            output=output,
            provenance=provenance,
            manifest=None,
            kind="source" if before.is_source else "step",
        )
        store.put_record(record)
        self._place.kept(record)

    def _digest_of_encoding(self, value: Any, output: ObjectRef) -> Digest:
        closure = self._place.keys.fingerprinter.closure(type(value)).digest
        parts = [("class", closure), ("encoding", value_digest(output.encoding, "encoding"))]
        parts += [("blob", ref.digest) for ref in output.blobs()]
        return key.joined("cacheable", parts)

    def _warn(self, text: str) -> None:
        if text not in self._warnings:
            self._warnings.append(text)


class _Before:
    """What a context held before a step ran."""

    def __init__(self, ctx: FrozenContext) -> None:
        self._keys = set(ctx._data)
        self._counts = {name: len(values) for name, values in ctx.metrics._values.items()}
        self._artifacts = len(ctx.artifacts._items)
        self.is_source = "step_name" not in ctx._data

    def new_values(self, ctx: FrozenContext) -> dict[str, Any]:
        return {key: value for key, value in ctx._data.items() if key not in self._keys}

    def new_artifacts(self, ctx: FrozenContext) -> list[ArtifactRecord]:
        return ctx.artifacts._items[self._artifacts :]

    def new_metrics(self, ctx: FrozenContext) -> tuple[dict[str, Any], dict[str, Any]]:
        metrics, tags = {}, {}
        for name, values in ctx.metrics._values.items():
            place = self._counts.get(name, 0)
            if len(values) > place:
                metrics[name] = [plain(value, f"metric {name!r}") for value in values[place:]]
                if name in ctx.metrics._tags:
                    tags[name] = list(ctx.metrics.get_tags(name))[place:]
        return metrics, tags
