"""Stores of many objects, half of them garbage, for `tools/bench gc`; and one collection of one.

Layouts: "versions": the older of two runs is garbage, and so are whole packs. "mixed": the newer
run still has every other record of the older one, so that every pack is half garbage.
"""

import json
import os
import random
import resource
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

from druse_store import ArtifactRef, Digest, Policy, Read, Record, Store, extend

PER_RECORD = 10
POLICY = Policy(keep_last=1, keep_metrics=0.0)
START, BASE = Digest.of(b"start"), Digest.of(b"base")


def build(path, layout, count, size):
    """Makes the store by the usual ways: objects of `size` bytes that do not compress."""
    chance = random.Random(count)
    records = count // PER_RECORD
    with Store.open(path) as store:
        first = records if layout == "mixed" else records // 2
        made = _run(store, [], first, chance, size, 0)
        if layout == "mixed":
            _run(store, made[::2], 0, chance, size, records)
        else:
            _run(store, [], records - first, chance, size, first)


def _run(store, hits, fresh, chance, size, number):
    writer = store.begin_run("exp")
    digests = list(hits)
    with store.batch():
        for replicate, digest in enumerate(hits):
            writer.add("base", replicate, digest, "hit")
        for replicate in range(fresh):
            digest = store.put_record(_record(store, chance, number + replicate, size))
            writer.add("base", replicate, digest, "run")
            digests.append(digest)
    writer.finish(complete=True)
    return digests


def _record(store, chance, number, size):
    refs = [store.put_object(chance.randbytes(size)) for _ in range(PER_RECORD)]
    reads = (Read("ctx:n", Digest.of(b"%d" % number)),)
    return Record(
        signature=extend(START, reads[0].key, reads[0].value),
        replicate=0,
        status="ok",
        base=BASE,
        start=START,
        reads=reads,
        metrics={"accuracy": 0.5},
        artifacts=tuple(ArtifactRef(f"a{i}", 0, ref) for i, ref in enumerate(refs)),
        output=None,
        provenance={"seconds": 1.0, "at": 0.0},
        manifest=None,
    )


# --- one collection, in a process of its own ----------------------------------------------------


class AnonymousMemory(threading.Thread):
    """The most anonymous memory that this process and its helpers had, sampled: mapped files do
    not count."""

    def __init__(self):
        super().__init__(daemon=True)
        self.peak = 0

    def run(self):
        while True:
            self.sample()
            time.sleep(0.02)

    def sample(self):
        helpers = [
            number
            for children in Path("/proc/self/task").glob("*/children")
            for number in _text(children).split()
        ]
        found = (_anonymous(_text(Path(f"/proc/{pid}/status"))) for pid in ("self", *helpers))
        self.peak = max(self.peak, sum(found))
        return self.peak


def _text(path):
    try:
        return path.read_text()
    except OSError:  # it has ended meanwhile
        return ""


def _anonymous(status):
    """The bytes of anonymous memory that a process' status tells of."""
    sizes = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(sizes[0]) * 1024 if sizes else 0


def forget(index):
    """Has the system give up what it remembers of an index that nobody has open."""
    fd = os.open(index / "data.mdb", os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def measure(path, what):
    """Seconds of opening, of planning and of each phase, memory, and bytes of packs.

    `what`: "plan"; "cold", with an index that is on the disk alone; "execute".
    """
    import druse_store.gc.collector  # noqa: F401 - what is measured is the work, not the import

    if what == "cold":
        forget(Path(path) / "index")
    memory = AnonymousMemory()
    memory.sample()
    memory.start()
    began = time.perf_counter()
    store = Store.open(path)
    found = {"open": time.perf_counter() - began, "before": store.stats().pack_bytes}
    phases = []

    def progress(now):
        if not phases or phases[-1][0] != now.phase:
            phases.append((now.phase, time.perf_counter()))

    with store:
        if what == "execute":
            began = time.perf_counter()
            done = store.gc(POLICY, grace=0, alone=True, details=False, progress=progress)
            found["total"] = time.perf_counter() - began
            assert done.problems == [], done.problems
            phases.append(("end", time.perf_counter()))
            for (name, begin), (_, end) in pairwise(phases):
                found[name] = found.get(name, 0.0) + end - begin
        else:
            began = time.perf_counter()
            store.plan_gc(POLICY, grace=0)
            found["plan"] = time.perf_counter() - began
        found["after"] = store.stats().pack_bytes
        found["count"] = store.stats().chunks
    found["anonymous"] = memory.sample()
    found["rss"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return found


if __name__ == "__main__":
    what, path, *more = sys.argv[1:]
    if what == "build":
        build(path, more[0], int(more[1]), int(more[2]))
    else:
        print(json.dumps(measure(path, what)))
