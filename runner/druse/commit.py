"""Making outcomes durable: records as they come, many in one commit, a tenth of a second late."""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from druse.key import algorithm
from druse.reads import FAILED, FAILED_VALUE, UNSTORABLE
from druse.task import CellName, Outcome
from druse_store import (
    ArtifactRef,
    Digest,
    Form,
    ObjectRef,
    Read,
    Record,
    RunWriter,
    Store,
    Writes,
    extend,
)

if TYPE_CHECKING:
    from druse.floor import Floor
    from druse.prepared import Prepared

INTERVAL = 0.1  # seconds that a finished cell waits for others at most
_EARLY = 0.09  # seconds before which the run's own thread commits, where it gets to it
_STEP = 0.03  # seconds between two of its looks that it allows for
_LATEST = 0.07  # seconds that news may wait to be taken in
_new = tuple.__new__  # a named tuple's own way takes three times as long


class Common(NamedTuple):
    """What the records of an experiment's cells have in common."""

    form: Form
    manifest: Digest
    algorithm: str
    python: str


def make_record(
    prepared: Prepared,
    common: Common,
    outcome: Outcome,
    artifacts: list[ArtifactRef],
    at: float,
    plain: bool,
) -> Record:
    """The record of an outcome that is there since `at`. A failure, or what must not be found
    again, lies off the path."""
    said = _provenance(prepared, common, outcome, at, plain)
    more = None if plain else _more(outcome)
    if not more:
        replicate = outcome.cell.replicate
        return common.form.fill(replicate, outcome.reads, outcome.metrics, artifacts, said)
    reads = [Read(name, digest) for name, digest in outcome.reads.items()]
    if outcome.failure is not None:
        reads.append(Read(FAILED, FAILED_VALUE))
    elif outcome.unstorable is not None:
        reads.append(Read(UNSTORABLE, Digest.of(str(time.time_ns()).encode())))
    signature = prepared.start
    for read in reads:
        signature = extend(signature, read.key, read.value)
    return Record(
        signature=signature,
        replicate=outcome.cell.replicate,
        status="ok" if outcome.failure is None else "failed",
        base=prepared.base,
        start=prepared.start,
        reads=tuple(reads),
        metrics=outcome.metrics,
        artifacts=tuple(artifacts),
        output=None,
        provenance={**said, **more},
        manifest=common.manifest,
    )


def _provenance(
    prepared: Prepared, common: Common, outcome: Outcome, at: float, plain: bool
) -> dict[str, Any]:
    """What is said of every cell, in the order of the keys, as a record keeps them."""
    shown = outcome.shown  # sorted, but for what was added since
    if not plain and len(shown) > 1:
        shown = dict(sorted(shown.items()))
    return {
        "algorithm": common.algorithm,
        "at": at,
        "python": common.python,
        "seconds": outcome.seconds,
        "seed": prepared.seed.root,
        "shown": shown,
        "step_seconds": outcome.step_seconds,
        "trace": outcome.trace,
    }


def _more(outcome: Outcome) -> dict[str, Any]:
    """What is said of few cells."""
    more: dict[str, Any] = {}
    for name in ("tags", "warnings", "step_hits", "outputs"):
        if getattr(outcome, name):
            more[name] = getattr(outcome, name)
    if outcome.unseen:
        more["unseen"] = [list(each) for each in outcome.unseen]
    if outcome.attempts > 1:
        more["attempts"] = outcome.attempts
    if outcome.failure is not None:
        failure = outcome.failure
        more["failure"] = {
            "step": failure.step,
            "message": failure.message,
            "traceback": failure.traceback,
            "kind": failure.kind,
        }
    elif outcome.unstorable is not None:
        more["unstorable"] = outcome.unstorable
    return more


class Committer:
    """Writes outcomes into the store, and says which cells are durable.

    Use it as a context. The run's thread commits between two cells (`flush_if_due`); where it does
    not get to that, as a cell takes long, a thread of its own does. Two threads that are busy at
    once would wait for the interpreter at every call into the index.
    """

    def __init__(self, store: Store, on_durable: Callable[[list[CellName]], None]) -> None:
        self._store = store
        self._on_durable = on_durable
        self._waiting: list[CellName] = []
        self._since = 0.0  # when the first one that waits began to
        self._looked = time.monotonic()  # when the run's own thread last got to it
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._due = threading.Event()
        self._error: BaseException | None = None
        self._helped: tuple[Callable[[], None], Floor] | None = None
        self._thread = threading.Thread(target=self._run, name="druse-commit", daemon=True)
        self._writes: Writes | None = None
        self._put: list[CellName] = []  # in the block that is open
        self._at = 0.0  # when it was opened
        self._commons: dict[str, Common] = {}
        self._uncommitted: dict[Digest, bytes] = {}

    @contextmanager
    def putting(self) -> Iterator[None]:
        """Within the block, several outcomes are put one after another, by one thread."""
        if self._error is not None:
            raise self._error
        began, self._put, self._at = time.monotonic(), [], time.time()
        with self._store.writes() as writes:
            self._writes = writes
            try:
                yield
            finally:
                self._writes = None
                self._let_wait(self._put, began)

    def _let_wait(self, cells: list[CellName], since: float) -> None:
        if not cells:
            return
        with self._lock:
            if not self._waiting:
                self._since = since
            self._waiting += cells
        self._due.set()  # whoever clears it takes what waits after that

    def put(
        self, prepared: Prepared, outcome: Outcome, run: RunWriter | None, plain: bool = False
    ) -> Record:
        """Writes an outcome's blobs and record, and the cell of its run; `plain`: see
        `Outcome.is_plain`. Raises StoreError."""
        writes = self._writes
        assert writes is not None
        common = self._commons.get(prepared.name) or self._common(prepared)
        artifacts = [
            _new(
                ArtifactRef,
                (name, step, self._put_bytes(data) if isinstance(data, bytes) else data),
            )
            for name, step, data in outcome.artifacts
        ]
        record = make_record(prepared, common, outcome, artifacts, self._at, plain)
        writes.put_record(record)
        if run is not None:
            how = "run" if outcome.failure is None else "failed"
            _, condition, replicate = outcome.cell
            run.add_to(writes, condition, replicate, record.digest, how)
        self._put.append(outcome.cell)
        return record

    def _put_bytes(self, data: bytes) -> ObjectRef:
        assert self._writes is not None
        ref = self._writes.put_bytes(data)
        self._uncommitted[ref.root.digest] = data
        return ref

    def uncommitted(self, digest: Digest) -> bytes | None:
        """The bytes of an artifact that other processes may not see yet; None if they do."""
        return self._uncommitted.get(digest)

    def _common(self, prepared: Prepared) -> Common:
        manifest = self._store.put(prepared.manifest)
        form = Form(prepared.base, prepared.start, manifest)
        common = Common(form, manifest, algorithm(), platform.python_version())
        self._commons[prepared.name] = common
        return common

    def flush_if_due(self) -> None:
        """Commits what waits, if that has been a while. Raises StoreError, and what came of it that
        another thread took something in."""
        if self._error is not None:
            raise self._error
        now = time.monotonic()
        step, self._looked = min(now - self._looked, _STEP), now
        if self._waiting and now - self._since + step > _EARLY:  # the next look may be too late
            self.flush()

    def flush(self) -> None:
        """Commits what waits. Raises StoreError."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            written = list(self._uncommitted)
        if waiting:
            self._store.flush()
            with self._lock:
                for digest in written:
                    self._uncommitted.pop(digest, None)
            self._on_durable(waiting)

    @contextmanager
    def helping(self, take_in: Callable[[], None], floor: Floor) -> Iterator[None]:
        """Within the block, news that wait for long are taken in by this thread."""
        self._helped = take_in, floor
        floor.on_note = self._due.set
        try:
            yield
        finally:
            self._helped = None

    def _run(self) -> None:
        while not self._stop.is_set():
            self._due.wait()
            while (left := self._left()) > 0 and not self._stop.wait(left):
                pass
            self._due.clear()
            try:
                self._take_in()
                self.flush()
            except BaseException as error:  # raised in the run's own thread
                self._error = error
            if self._left() > 0:
                self._due.set()

    def _left(self) -> float:
        """Seconds before this thread has something to do; 0 where nothing waits."""
        found = []
        if self._waiting:
            found.append(self._since + INTERVAL)
        if self._helped is not None and self._helped[1].since is not None:
            found.append(self._helped[1].since + _LATEST)
        return min(found) - time.monotonic() if found else 0.0

    def _take_in(self) -> None:
        helped = self._helped
        if helped is None or self._stop.is_set():
            return
        take_in, floor = helped
        if floor.since is None or time.monotonic() < floor.since + _LATEST:
            return
        if floor.take(INTERVAL):  # the run's thread executes a cell
            try:
                if self._helped is not None:
                    take_in()
            finally:
                floor.leave()

    def __enter__(self) -> Committer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        self._due.set()
        self._thread.join()
        self.flush()
        if self._error is not None and kind is None:
            raise self._error
