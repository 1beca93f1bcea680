"""What a writer does to a store, at random from a seed, and how to see that it is all there.

A writer acknowledges what is durable by a line of JSON in a file of its own: a kill of the process
takes nothing from it, since one write of a few bytes is whole once it happened.
"""

import json
import os
import random

from druse_store import ArtifactRef, BlobRef, Digest, ObjectRef, Read, Record, Store, extend

START, BASE = Digest.of(b"start"), Digest.of(b"base")
SHARED_KEYS = 20  # records that all writers put again and again


class Writer:
    """One process at work. `name` is unique among all writers of a store."""

    def __init__(self, path, name, acknowledged, seed):
        self.name = name
        self.random = random.Random(f"{seed} {name}")
        self.count = 0
        self._acknowledged = os.open(acknowledged, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.store = Store.open(path)
        self.run = None

    def work(self):
        """One random thing."""
        kinds = (self.put, self.put_large, self.batch, self.record, self.record_again)
        kind = self.random.choices((*kinds, self.cells, self.pin), (6, 2, 3, 4, 3, 2, 1))[0]
        kind()

    def acknowledge(self, *what):
        os.write(self._acknowledged, json.dumps(what).encode() + b"\n")

    def blob(self, largest=3000):
        self.count += 1
        tail = self.random.randbytes(self.random.randrange(largest))
        return f"{self.name} {self.count} ".encode() + tail

    def put(self):
        self.acknowledge("blob", str(self.store.put(self.blob())))

    def put_large(self):
        # Half of it is the same for all: chunks that others have stored, or are storing now.
        common = random.Random(self.random.randrange(5)).randbytes(300_000)
        self.acknowledge("blob", str(self.store.put(common + self.blob(200_000))))

    def batch(self):
        done = []
        with self.store.batch():
            for _ in range(self.random.randrange(1, 20)):
                digest = self.store.put(self.blob())
                done.append(("blob", str(digest)))
                if self.random.random() < 0.5:
                    done.append(self._put_record(f"{self.name} {self.count}", digest))
                if self.random.random() < 0.05:
                    self.store.flush()
        for item in done:
            self.acknowledge(*item)

    def record(self):
        key = f"{self.name} {self.count}"
        self.acknowledge(*self._put_record(key, self.store.put(self.blob())))

    def record_again(self):
        """A key that all writers share: the last one counts, whoever that is."""
        key = f"shared {self.random.randrange(SHARED_KEYS)}"
        self.acknowledge(*self._put_record(key, self.store.put(self.blob())))

    def _put_record(self, key, blob):
        record = make_record(key, blob, self.count, self.name)
        return ("record", key, str(self.store.put_record(record)))

    def cells(self):
        if self.run is None:
            self.run = self.store.begin_run(f"exp{self.random.randrange(3)}")
            self.acknowledge("begun", self.run.experiment, self.run.version)
            self.expected = []
        digest = self.store.put(self.blob())
        record = self.store.put_record(make_record(f"c {self.name} {self.count}", digest, 0, ""))
        self.run.add("base", len(self.expected), record, "run")
        self.expected.append(str(record))
        self.acknowledge("cells", self.run.experiment, self.run.version, len(self.expected))
        if len(self.expected) >= 5:
            self.run.finish(complete=True)
            self.acknowledge("run", self.run.experiment, self.run.version, self.expected)
            self.run = None

    def pin(self):
        digest = self.store.put(self.blob())
        name = f"pin-{self.name}-{self.count}"
        self.store.pin(name, digest)
        self.acknowledge("pin", name, str(digest))


def make_record(key, blob, count, writer):
    reads = (Read("ctx:key", Digest.of(key.encode())),)
    artifact = ArtifactRef("a", 0, ObjectRef("bytes", BlobRef(blob, 1, blob)))
    return Record(
        signature=extend(START, reads[0].key, reads[0].value),
        replicate=0,
        status="ok",
        base=BASE,
        start=START,
        reads=reads,
        metrics={"count": count},
        artifacts=(artifact,),
        output=None,
        provenance={"writer": writer},
        manifest=None,
    )


def read_acknowledged(folder):
    """Every whole line of every writer."""
    lines = []
    for path in sorted(folder.iterdir()):
        text = path.read_text()
        lines += [json.loads(line) for line in text.splitlines()]
    return lines


def find_missing(path, acknowledged):
    """What was acknowledged and is not there, or is wrong: a list of texts."""
    missing = []
    with Store.open(path) as store:
        pins = store.pins()
        for kind, *what in acknowledged:
            try:
                if not _is_there(store, pins, kind, what):
                    missing.append(f"{kind} {what} is not there")
            except Exception as error:
                missing.append(f"{kind} {what}: {type(error).__name__}: {error}")
    begun = [tuple(what) for kind, *what in acknowledged if kind == "begun"]
    if len(begun) != len(set(begun)):
        missing.append("a version of an experiment was given to two runs")
    return missing


def _is_there(store, pins, kind, what):
    if kind == "blob":
        digest = Digest.from_hex(what[0])
        return Digest.of(store.get(digest)) == digest
    if kind == "record":
        return _has_record(store, *what)
    if kind == "begun":
        return store.run(*what) is not None
    if kind == "cells":
        experiment, version, count = what
        return len(store.run(experiment, version).cells) >= count
    if kind == "run":
        experiment, version, records = what
        run = store.run(experiment, version)
        return run.complete and [str(cell.record) for cell in run.cells] == records
    name, digest = what
    return pins.get(name) == Digest.from_hex(digest)


def _has_record(store, key, digest):
    record = store.record_by_digest(Digest.from_hex(digest))
    current = store.record(record.signature, 0)
    newest = key.startswith("shared") or current.metrics["count"] >= record.metrics["count"]
    return newest and all(blob in store for blob in (*record.blobs(), *current.blobs()))
