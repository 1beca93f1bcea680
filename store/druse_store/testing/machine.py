"""A store beside a dict: everything that can be done to it, by two processes, with crashes."""

from __future__ import annotations

import atexit
import copy
import os
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from druse_store.rebuild import rebuild_index
from druse_store.run import RunName
from druse_store.store import Store
from druse_store.testing.crashes import Helper
from druse_store.testing.operations import SIZES, Model, Operation, do, note, steps

_numbers = st.integers(0, 5)
_sizes = st.sampled_from(SIZES)
_names = st.sampled_from(("a", "b"))
_puts = st.tuples(st.sampled_from(("put", "stream")), _numbers, _sizes)
_cells = st.tuples(_numbers, st.integers(0, 1), _sizes, st.integers(0, 2))
_records = st.tuples(st.just("record"), _numbers, st.integers(0, 1), _sizes, st.integers(0, 2))
_runs = st.tuples(st.just("run"), _names, st.lists(_cells, max_size=3), st.booleans())
_single = (
    _puts
    | _records
    | _runs
    | st.tuples(st.just("remove_run"), _names, st.integers(0, 3))
    | st.tuples(st.just("pin"), _names, _numbers)
    | st.tuples(st.just("unpin"), _names)
)
_batches = st.lists(_puts | _records, max_size=5).map(lambda inner: ("batch", *inner))


def _plain(operation: object) -> Operation:
    """Lists all the way down, as they arrive in another process."""
    if isinstance(operation, list | tuple):
        return [_plain(item) if isinstance(item, list | tuple) else item for item in operation]
    raise TypeError(operation)


OPERATIONS = (_single | _batches).map(_plain)


def _memory() -> str | None:
    """A folder in memory, where there is one: nobody cuts the power here, so let syncs be cheap."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108


@cache
def _helper() -> Helper:
    helper = Helper()
    atexit.register(helper.close)
    return helper


class StoreMachine(RuleBasedStateMachine):
    """After every step the store says what the dict says; at the end, it verifies clean."""

    @initialize()
    def begin(self) -> None:
        """A new store."""
        self.folder = Path(tempfile.mkdtemp(prefix="druse-machine-", dir=_memory()))
        self.path = self.folder / "store"
        self.model = Model()
        self.interrupted: list[tuple[Model, Operation]] = []  # since somebody last wrote
        self.store = Store.open(self.path)

    @rule(operation=OPERATIONS)
    def operate(self, operation: Operation) -> None:
        """In this process."""
        do(self.store, operation)
        self._note([operation])

    @rule(operations=st.lists(OPERATIONS, min_size=1, max_size=3))
    def operate_in_another_process(self, operations: list[Operation]) -> None:
        """While this one has the store open."""
        assert _helper().do(self.path, operations) == len(operations)
        self._note(operations)

    @rule(
        operations=st.lists(OPERATIONS, min_size=1, max_size=3),
        die_at=st.integers(1, 60),
        how=st.sampled_from(("kill", "power")),
    )
    def crash(self, operations: list[Operation], die_at: int, how: str) -> None:
        """In another process, which ends in the middle of it, or does not come that far."""
        done = _helper().do(self.path, operations, die_at, how)
        self._note(operations[:done])
        if done < len(operations):
            self.interrupted.append((copy.deepcopy(self.model), operations[done]))
            self.model = settled(self.store, *self.interrupted[-1])

    @rule()
    def open_again(self) -> None:
        """Closes and opens."""
        self.store.close()
        self.store = Store.open(self.path, create=False)

    @rule()
    def rebuild(self) -> None:
        """From packs and log alone. What was interrupted may be found to have happened, as long
        as nobody has written since: its frame was durable."""
        self.store.close()
        rebuild_index(self.path)
        self.store = Store.open(self.path, create=False)
        for before, operation in self.interrupted:
            with suppress(AssertionError):
                found = settled(self.store, before, operation)
                check(self.store, found)
                self.model = found
                break

    def _note(self, operations: list[Operation]) -> None:
        for operation in operations:
            note(self.model, operation)
            if operation[0] not in ("unpin", "remove_run") and operation != ["batch"]:
                self.interrupted = []  # it wrote, and so cleared away what was never committed

    @invariant()
    def says_what_the_model_says(self) -> None:
        """Everything that was ever done shows."""
        if hasattr(self, "store"):
            check(self.store, self.model)

    def teardown(self) -> None:
        """Nothing is damaged in the end."""
        if hasattr(self, "store"):
            findings = self.store.verify().findings
            self.store.close()
            shutil.rmtree(self.folder)
            assert findings == []


def check(store: Store, model: Model) -> None:
    """Asserts that the store says what the model says."""
    for digest, data in model.blobs.items():
        assert digest in store
        assert store.get(digest) == data
    for digest, record in model.records.items():
        assert store.record_by_digest(digest) == record
    for (signature, replicate), digest in model.current.items():
        found = store.record(signature, replicate)
        assert found is not None
        assert found.digest == digest
    assert store.pins() == model.pins
    runs = {
        (run.experiment, run.version): (run.complete, [cell.record for cell in run.cells])
        for run in store.runs()
    }
    assert runs == model.runs


def settled(store: Store, before: Model, operation: Operation) -> Model:
    """The model of a store in which an operation was interrupted. Asserts that each thing is as
    it was before, or as some step of the operation made it."""
    after = copy.deepcopy(before)
    for step in steps(operation):
        note(after, step)
    found = copy.deepcopy(before)
    found.blobs.update({d: data for d, data in after.blobs.items() if d in store})
    found.records.update(
        {d: r for d, r in after.records.items() if store.record_by_digest(d) is not None}
    )
    for key in after.current:
        record = store.record(*key)
        if record is not None:
            assert record.digest in found.records
            found.current[key] = record.digest
        else:
            assert key not in before.current
    _settle_runs(store, before, after, found)
    pins: dict[str, object] = dict(store.pins())
    for name, target in pins.items():
        assert target in (before.pins.get(name), after.pins.get(name))
    found.pins = store.pins()
    return found


def _settle_runs(store: Store, before: Model, after: Model, found: Model) -> None:
    for key in {*before.runs, *after.runs}:
        run = store.run(*key)
        if run is None:
            assert key not in before.runs or key not in after.runs
            found.runs.pop(key, None)
            continue
        cells = [cell.record for cell in run.cells]
        _, expected = after.runs.get(key, before.runs.get(key, (False, [])))
        assert cells == expected[: len(cells)]
        assert not run.complete or cells == expected
        found.runs[key] = (run.complete, cells)
        found.versions[key[0]] = max(found.versions.get(key[0], 0), RunName(*key).version + 1)
