"""Makes the golden store of this format version: `python tests/store/golden/make.py`.

Run once for each version of the format, and never again for one that was released: every later
version has to open what is in `v1.tar.xz`, and to give what `v1.json` says.
"""

import json
import random
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

from druse_store import ArtifactRef, Digest, Read, Record, Store, extend

HERE = Path(__file__).parent
START, BASE = Digest.of(b"start"), Digest.of(b"base")


def contents():
    """What each codec, cut and layout stores otherwise, by name. The same for ever."""
    chance = random.Random(1)
    ramp = np.arange(60_000)
    return {
        "empty": b"",
        "small": b"a few bytes",
        "noise": chance.randbytes(3_000),
        "raw extent of several chunks": random.Random(18).randbytes(280_000),
        "text of several chunks": b"".join(b"line %d of many\n" % i for i in range(100_000)),
        "zeros": bytes(3_000_000),
        "widths 8": (ramp * 7919).astype("<u8").tobytes(),
    }


def objects():
    """One object of each encoding that needs nothing but numpy."""
    return {
        "bytes": b"\x00\x01" * 50,
        "text": "text with ünicode \ud800",
        "plain": {"a": [1, 2.5, None, True], "b": {"c": "d"}},
        "float64": np.cumsum(np.ones(3_000)) / 7,
        "float32": np.linspace(0, 1, 3_000, dtype="f4"),
        "int16": np.arange(3_000, dtype="i2").reshape(30, 100),
        "complex": np.exp(1j * np.arange(500)),
        "tree": {"weights": np.arange(1_000.0), "same": np.arange(1_000.0), "name": "net"},
        "pickle": {1, 2, 3},
    }


def record(number, artifacts=(), **fields):
    reads = (Read("ctx:n", Digest.of(b"%d" % number)), Read("file:x", Digest.of(b"x")))
    signature = START
    for read in reads:
        signature = extend(signature, read.key, read.value)
    values = {
        "replicate": 0,
        "status": "ok",
        "metrics": {"n": number, "big": 2**100, "nested": {"x": [1.5, None]}},
        "output": None,
        "provenance": {"host": "golden"},
        "manifest": None,
    }
    return Record(
        signature=signature, base=BASE, start=START, reads=reads, artifacts=artifacts,
        **(values | fields),
    )  # fmt: skip


def fill(path):
    """Makes the store; returns what has to be found in it."""
    with Store.open(path) as store:
        blobs = {name: str(store.put(data)) for name, data in contents().items()}
        refs = {name: store.put_object(obj) for name, obj in objects().items()}
        records = [
            record(n, (ArtifactRef(name, n, ref),)) for n, (name, ref) in enumerate(refs.items())
        ]
        for version in range(2):
            run = store.begin_run("exp", {"note": version})
            for made in records:
                run.add("baseline", 0, store.put_record(made), "hit" if version else "run")
            run.finish({"seconds": 1.5}, complete=True)
        store.put_record(record(0, metrics={"superseded": False}))
        failed = record(50, status="failed", kind="step", needs=(records[0].blobs()[0],))
        store.put_record(failed)
        gone = record(51)
        store.put_record(gone)
        store.remove_record(gone.digest)
        store.begin_run("other").abandon()
        store.set_level("exp", 0, "light")
        store.pin("run", store.run("exp", 1))
        store.pin("blob", store.put(b"pinned"))
    return {
        "blobs": blobs,
        "objects": {name: json_of(ref) for name, ref in refs.items()},
        "records": [str(made.digest) for made in records],
        "current": str(record(0, metrics={"superseded": False}).digest),
        "failed": str(failed.digest),
        "gone": str(gone.digest),
    }  # fmt: skip


def json_of(value):
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    return [json_of(item) for item in value] if isinstance(value, list | tuple) else value


def main():
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        expected = fill(store)
        with tarfile.open(HERE / "v1.tar.xz", "w:xz", preset=9) as archive:
            archive.add(store, "store")
    (HERE / "v1.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
