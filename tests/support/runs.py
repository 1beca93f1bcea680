"""Runs with artifacts, made through the store's own ways."""

import random
import time

from druse_store import ArtifactRef, Digest, Read, Record, Store, extend

START = Digest.of(b"start")
BASE = Digest.of(b"base")


def noise(size: int, seed: object = 0) -> bytes:
    return random.Random(repr(seed)).randbytes(size)


def make_record(store: Store, name: str, payloads, *, seconds=1.0, replicate=0, **fields) -> Record:
    """A record whose signature is its name's, with an artifact for each payload."""
    refs = tuple(
        ArtifactRef(f"a{i}", 0, store.put_object(payload)) for i, payload in enumerate(payloads)
    )
    value = Digest.of(name.encode())
    provenance = {"seconds": seconds, "at": time.time(), **fields.pop("provenance", {})}
    values = {
        "signature": extend(START, "ctx:name", value),
        "replicate": replicate,
        "status": "ok",
        "base": BASE,
        "start": START,
        "reads": (Read("ctx:name", value),),
        "metrics": {"name": name},
        "artifacts": refs,
        "output": None,
        "provenance": provenance,
        "manifest": None,
    }
    return Record(**(values | fields))


def add_run(store: Store, experiment: str, cells, *, complete=True, finish=True, seconds=1.0):
    """A run, with a cell for each list of payloads; a Record stands for a cell that hits."""
    writer = store.begin_run(experiment)
    with store.batch():
        for replicate, payloads in enumerate(cells):
            how, record = "hit", payloads
            if not isinstance(payloads, Record):
                name = f"{experiment}/{writer.version}/{replicate}"
                record = make_record(store, name, payloads, replicate=replicate, seconds=seconds)
                how = "run"
                store.put_record(record)
            writer.add("baseline", replicate, record.digest, how)
    return writer.finish(complete=complete) if finish else writer


def payloads_of(store: Store, experiment: str, version: int | None = None) -> list:
    """What the artifacts of a run give; an error's class where one is not here."""
    found = []
    run = store.run(experiment, version)
    assert run is not None
    for cell in run.cells:
        record = store.record_by_digest(cell.record)
        assert record is not None
        for artifact in record.artifacts:
            try:
                found.append(store.get_object(artifact.ref))
            except Exception as error:
                found.append(type(error))
    return found


def pack_bytes(path) -> int:
    return sum(pack.stat().st_size for pack in path.glob("packs/*/*.pack"))


def chain(number: int) -> dict:
    """Fields of a record that nine reads lead to."""
    reads = tuple(Read(f"ctx:{i}", Digest.of(b"%d/%d" % (number, i))) for i in range(9))
    signature = START
    for read in reads:
        signature = extend(signature, read.key, read.value)
    return {"reads": reads, "signature": signature}
