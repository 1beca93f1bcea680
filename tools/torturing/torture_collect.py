"""Three writers, two readers and a collector (grace 0 and 1 s) at one store, any of which is killed
or stopped at random moments. What was acknowledged and retention keeps restores byte for byte, no
reader ever sees wrong bytes, and at the end the garbage is gone."""

import json
import os
import random
import signal
import time
from collections import Counter
from functools import lru_cache

import children
from sample import find_damage

from druse_store import (
    ArtifactRef,
    Digest,
    Policy,
    Read,
    Record,
    RunName,
    Store,
    StoreError,
    extend,
)
from druse_store.errors import BlobNotFound, BlobVanished, NotFound, StoreBusy
from druse_store.gc import crew

POLICY = Policy(keep_last=2, keep_metrics=4.0)
KEPT = 2
START, BASE = Digest.of(b"start"), Digest.of(b"base")
CREW = {"writer": 3, "reader": 2, "collector": 1}


def add_arguments(parser):
    parser.add_argument("--seconds", type=float, default=120.0)


def main(options, folder):
    chance = random.Random(options.seed)
    store, log = folder / "store", folder / "log"
    log.mkdir()
    children.ask(lambda: Store.open(store).close())
    jobs = {"writer": write, "reader": read, "collector": collect}
    crew = [(kind, slot) for kind, count in CREW.items() for slot in range(count)]
    pids, lives, problems = {}, Counter(), []
    end = time.monotonic() + options.seconds
    while time.monotonic() < end and not problems:
        for member in crew:
            if member not in pids:
                kind, slot = member
                lives[kind] += 1
                name = f"{kind}{slot}-{lives[kind]}"
                seed = f"{options.seed} {name}"
                pids[member] = children.spawn(jobs[kind], store, slot, log / name, seed)
        time.sleep(chance.uniform(0.02, 0.3))
        member = chance.choice(crew)
        if chance.random() < 0.4:
            _stop_for_a_while(pids[member], chance)
        else:
            problems += _kill(pids.pop(member), member)
        problems += _ended_by_themselves(pids)
    for member, pid in pids.items():
        problems += _kill(pid, member)
    lines = [json.loads(line) for path in log.iterdir() for line in path.read_text().splitlines()]
    counts = Counter(kind for kind, *_ in lines)
    print(f"collect: {sum(lives.values())} lives of {len(crew)}, {dict(counts)}")
    problems += [what[0] for kind, *what in lines if kind == "PROBLEM"]
    return problems + children.ask(judge, store, lines)


def _stop_for_a_while(pid, chance):
    os.kill(pid, signal.SIGSTOP)
    time.sleep(chance.uniform(0.05, 0.6))
    os.kill(pid, signal.SIGCONT)


def _kill(pid, member):
    os.kill(pid, signal.SIGKILL)
    status = children.wait(pid)
    return [] if status == -signal.SIGKILL else [f"{member} ended by itself, status {status}"]


def _ended_by_themselves(pids):
    problems = []
    for member, pid in list(pids.items()):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            del pids[member]
            problems.append(f"{member} ended by itself: {os.waitstatus_to_exitcode(status)}")
    return problems


class Log:
    """What one process acknowledges: a line at a time, which a kill does not take back."""

    def __init__(self, path):
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def __call__(self, *what):
        os.write(self._fd, json.dumps(what).encode() + b"\n")


# --- writers -----------------------------------------------------------------------------------


@lru_cache(500)
def content(seed):
    """Few different large ones, which all writers put again and again; and many small ones."""
    kind, number = seed.split()[0], seed.split()[-1]
    chance = random.Random(seed)
    if kind == "large":
        return random.Random("base").randbytes(150_000) + chance.randbytes(40_000)
    return (f"{seed} {number} " * 3).encode() + chance.randbytes(chance.randrange(3000))


def write(path, slot, log, seed):
    chance, log = random.Random(seed), Log(log)
    with Store.open(path) as store:
        for turn in range(1_000_000):
            try:
                _run(store, slot, chance, log, f"{seed} {turn}")
                _now_and_then(store, slot, chance, log)
            except BlobVanished:
                log("vanished")  # the runner computes the cell again


def _run(store, slot, chance, log, seed):
    experiment = chance.choice((f"own{slot}", "shared"))
    writer = store.begin_run(experiment)
    records = []
    for replicate in range(chance.randrange(1, 6)):
        seeds = [
            f"large {chance.randrange(6)}" if chance.random() < 0.4 else f"small {seed} {i}"
            if chance.random() < 0.5 else f"common {chance.randrange(40)}"
            for i in range(chance.randrange(1, 4))
        ]  # fmt: skip
        while True:
            try:
                records.append(put_cell(store, replicate, seeds, seed, chance))
                break
            except BlobVanished:
                log("vanished")
        writer.add("base", replicate, records[-1], "run")
        if chance.random() < 0.1:
            time.sleep(0.05)
    run = writer.finish(complete=True)
    if len(run.cells) != len(records):
        log("PROBLEM", f"{run.name} has {len(run.cells)} of {len(records)} cells")
    log("run", experiment, run.version, [str(record) for record in records])


def put_cell(store, replicate, seeds, seed, chance, slow=0.2):
    with store.batch():
        refs = [store.put_object(content(s)) for s in seeds]
        if chance.random() < slow:
            time.sleep(chance.uniform(0, 0.2))
        reads = (Read("ctx:seed", Digest.of(f"{seed} {replicate}".encode())),)
        return store.put_record(
            Record(
                signature=extend(START, reads[0].key, reads[0].value),
                replicate=replicate,
                status="ok",
                base=BASE,
                start=START,
                reads=reads,
                metrics={"seeds": seeds},
                artifacts=tuple(ArtifactRef(f"a{i}", 0, ref) for i, ref in enumerate(refs)),
                output=None,
                provenance={"seconds": 0.1, "at": time.time()},
                manifest=None,
            )
        )


def _now_and_then(store, slot, chance, log):
    if chance.random() < 0.1:
        run = store.run(f"own{slot}")
        if run is not None and run.complete:
            name = f"pin{slot}"
            store.pin(name, run)
            log("pin", name, run.experiment, run.version, time.monotonic())
    if chance.random() < 0.1:
        store.put(content(f"small garbage {chance.random()}"))


# --- readers -----------------------------------------------------------------------------------


def read(path, slot, log, seed):
    chance, log = random.Random(seed), Log(log)
    with Store.open(path, read_only=slot == 1) as store:
        while True:
            names = store.experiments()
            run = store.run(chance.choice(names)) if names else None
            if run is None:
                time.sleep(0.01)
                continue
            try:
                missing = look_at(store, run)
            except NotFound:
                continue  # it was removed meanwhile
            except StoreError as error:
                log("PROBLEM", f"reading {run.name}: {type(error).__name__}: {error}")
                continue
            wrong = [what for what in missing if what.startswith("WRONG")]
            if wrong or (missing and is_newest(store, run)):
                log("PROBLEM", f"a reader found {(wrong or missing)[0]}")
            log("read")


def is_newest(store, run):
    """Whether a complete run was among those that are kept, and so still is."""
    complete = [other.version for other in store.runs(run.experiment) if other.complete]
    return run.complete and run.version in complete[-KEPT:]


def look_at(store, run):
    """What is missing, or wrong, of the artifacts of a run."""
    missing = []
    for cell in run.cells:
        record = store.record_by_digest(cell.record)
        if record is None:
            missing.append(f"no record {cell.record} of {run.name}")
            continue
        for seed, artifact in zip(record.metrics["seeds"], record.artifacts, strict=True):
            try:
                if store.get_object(artifact.ref) != content(seed):
                    missing.append(f"WRONG bytes of {seed} in {run.name}")
            except BlobNotFound:
                missing.append(f"no {seed} in {run.name}")
    return missing


# --- the collector -----------------------------------------------------------------------------


def collect(path, slot, log, seed):
    chance, log = random.Random(seed), Log(log)
    crew.WORTH = chance.choice((0, crew.WORTH))  # whether helpers copy packs, however small
    with Store.open(path) as store:
        while True:
            try:
                if chance.random() < 0.05:
                    store.undo()
                grace, waste = chance.choice((0.0, 1.0)), chance.choice((0.05, 0.3))
                done = store.gc(POLICY, grace=grace, waste=waste, details=chance.random() < 0.2)
                log("gc", done.freed, done.swept)
                for problem in done.problems:
                    log("PROBLEM", problem)
            except StoreBusy:
                log("busy")
            time.sleep(chance.uniform(0, 0.3))


# --- the judge ---------------------------------------------------------------------------------


def judge(path, lines):
    """What is wrong at the end, by the log of what was acknowledged."""
    problems = []
    pins = {}
    newest = {}
    for kind, *what in sorted((x for x in lines if x[0] == "pin"), key=lambda x: x[-1]):
        assert kind == "pin"
        pins[what[0]] = RunName(*what[1:3])
    for kind, *what in lines:
        if kind == "run":
            newest.setdefault(what[0], {})[what[1]] = what[2]
    with Store.open(path) as store:
        store.gc(POLICY, grace=0, details=False)  # gives life back to chunks, drops the rest
        for experiment, versions in newest.items():
            for version in sorted(versions)[-1:]:
                run = store.run(experiment, version)
                if run is None or [str(c.record) for c in run.cells] != versions[version]:
                    problems.append(f"{experiment}/v{version} is not there")
        for run in store.runs():
            if is_newest(store, run):
                problems += look_at(store, run)
        for name, run in store.pins().items():
            if isinstance(run, RunName):
                problems += [f"pin {name}: {what}" for what in look_at(store, store.run(*run))]
        problems += [f"pin {name} is gone" for name in pins if name not in store.pins()]
    problems += find_damage(path)
    return problems + find_garbage(path)


def find_garbage(path):
    """What is left that no run or pin needs, once everybody is gone."""
    with Store.open(path) as store:
        now = time.time()  # the same for both: nothing gets older in between
        store.gc(POLICY, grace=0, alone=True, waste=0.01, now=now)
        again = store.gc(POLICY, grace=0, alone=True, waste=0.01, now=now, dry_run=True)
        problems = [f"garbage is left: {again}"] if again.freed or any(again.swept) else []
        on_disk = sum(1 for _ in path.glob("packs/*/*.pack"))
        if on_disk != store.stats().packs:
            problems.append(f"{on_disk} packs on the disk, {store.stats().packs} in the index")
        bytes_on_disk = sum(p.stat().st_size for p in path.glob("packs/*/*.pack"))
        print(f"  {store.stats().chunks} chunks, {bytes_on_disk} bytes of packs are left")
    return problems
