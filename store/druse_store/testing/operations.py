"""What a store can be asked to do, as plain data: done to a store, and to the dict beside it.

An operation is a list that begins with its name, so that it can be sent to another process. What
it puts is made from numbers, so that both sides know it.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from druse_store.digest import Digest
from druse_store.errors import PinNotFound, RunNotFound
from druse_store.records import Read, Record, extend
from druse_store.run import RunName
from druse_store.store import Store

Operation = list[Any]
START, BASE = Digest.of(b"start"), Digest.of(b"base")
SIZES = (0, 40, 5_000, 300_000)


def data_of(number: int, size: int) -> bytes:
    """The content that a number stands for. Large ones begin alike, and so share chunks."""
    chance = random.Random(number)  # noqa: S311  # data, no secret
    if size <= 65_536:
        return chance.randbytes(size)
    common = random.Random(number % 2).randbytes(size)  # noqa: S311
    return common + chance.randbytes(1_000)


def record_of(number: int, replicate: int, size: int, metric: int) -> tuple[Record, bytes]:
    """A record, and the content that it needs."""
    data = data_of(number, size)
    digest = Digest.of(data)
    reads = (Read("ctx:n", Digest.of(b"%d" % number)),)
    record = Record(
        signature=extend(START, reads[0].key, reads[0].value),
        replicate=replicate,
        status="ok",
        base=BASE,
        start=START,
        reads=reads,
        metrics={"m": metric},
        artifacts=(),
        output=None,
        provenance={},
        manifest=None,
        needs=(digest,),
    )
    return record, data


@dataclass
class Model:
    """What a store has to say: dicts."""

    blobs: dict[Digest, bytes] = field(default_factory=dict)
    records: dict[Digest, Record] = field(default_factory=dict)
    current: dict[tuple[Digest, int], Digest] = field(default_factory=dict)
    runs: dict[tuple[str, int], tuple[bool, list[Digest]]] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    pins: dict[str, Digest | RunName] = field(default_factory=dict)


def steps(operation: Operation) -> Iterator[Operation]:
    """The parts of an operation that can each have happened when it was interrupted."""
    name, *arguments = operation
    if name == "batch":
        for inner in arguments:
            yield from steps(inner)
    elif name == "run":
        experiment, records, complete = arguments
        for record in records:
            yield ["record", *record]
        yield ["run", experiment, records, complete]
    else:
        yield operation


# --- on a store --------------------------------------------------------------------------------


def do(store: Store, operation: Operation) -> None:
    """Does it. What is not there to be removed is no error."""
    name, *arguments = operation
    _ACTS[name](store, *arguments)


def _put(store: Store, number: int, size: int) -> None:
    store.put(data_of(number, size))


def _stream(store: Store, number: int, size: int) -> None:
    store.put(io.BytesIO(data_of(number, size)))


def _record(store: Store, *arguments: int) -> Digest:
    record, data = record_of(*arguments)
    store.put(data)
    return store.put_record(record)


def _run(store: Store, experiment: str, records: list[list[int]], complete: bool) -> None:
    writer = store.begin_run(experiment)
    for arguments in records:
        writer.add("base", arguments[1], _record(store, *arguments), "run")
    writer.finish(complete=complete)


def _remove_record(store: Store, *arguments: int) -> None:
    store.remove_record(record_of(*arguments)[0].digest)


def _remove_run(store: Store, experiment: str, version: int) -> None:
    with suppress(RunNotFound):
        store.remove_run(experiment, version)


def _pin(store: Store, name: str, number: int) -> None:
    store.pin(name, Digest.of(data_of(number, 40)))


def _unpin(store: Store, name: str) -> None:
    with suppress(PinNotFound):
        store.unpin(name)


def _batch(store: Store, *operations: Operation) -> None:
    with store.batch():
        for operation in operations:
            do(store, operation)


_ACTS: dict[str, Any] = {
    "put": _put,
    "stream": _stream,
    "record": _record,
    "run": _run,
    "remove_record": _remove_record,
    "remove_run": _remove_run,
    "pin": _pin,
    "unpin": _unpin,
    "batch": _batch,
}


# --- on the model ------------------------------------------------------------------------------


def note(model: Model, operation: Operation) -> None:
    """What the operation makes of the model."""
    name, *arguments = operation
    if name in ("put", "stream"):
        data = data_of(*arguments)
        model.blobs[Digest.of(data)] = data
    elif name == "record":
        record, data = record_of(*arguments)
        model.blobs[Digest.of(data)] = data
        model.records[record.digest] = record
        model.current[record.signature, record.replicate] = record.digest
    elif name == "run":
        _note_run(model, *arguments)
    elif name == "remove_record":
        record, _ = record_of(*arguments)
        key = record.signature, record.replicate
        if model.records.pop(record.digest, None) and model.current.get(key) == record.digest:
            del model.current[key]
    elif name == "remove_run":
        model.runs.pop((arguments[0], arguments[1]), None)
    elif name == "pin":
        model.pins[arguments[0]] = Digest.of(data_of(arguments[1], 40))
    elif name == "unpin":
        model.pins.pop(arguments[0], None)
    else:
        for inner in arguments:
            note(model, inner)


def _note_run(model: Model, experiment: str, records: list[list[int]], complete: bool) -> None:
    version = model.versions.get(experiment, 0)
    model.versions[experiment] = version + 1
    for arguments in records:
        note(model, ["record", *arguments])
    digests = [record_of(*arguments)[0].digest for arguments in records]
    model.runs[experiment, version] = (complete, digests)
