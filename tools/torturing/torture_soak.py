"""Several processes put, get and record the same and different keys at once for a while: no error,
nothing acknowledged is lost, and how long each operation took."""

import json
import random
import time
from pathlib import Path

import children
from sample import find_damage
from workload import Writer, find_missing, read_acknowledged

from druse_store import Digest, Store

SHARED_BLOBS = 200


def add_arguments(parser):
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", metavar="FILE", help="write the latencies there")


def main(options, folder):
    latencies, problems = soak(folder, options.processes, options.seconds, options.seed)
    for operation, values in sorted(latencies.items()):
        print(f"  {operation:<8} {describe(values)}")
    if options.json:
        found = {name: quantiles(values) for name, values in latencies.items()}
        Path(options.json).write_text(json.dumps(found))
    return problems


def soak(folder, processes, seconds, seed):
    """Latencies in seconds by operation, and what went wrong."""
    store, acknowledged, timed = (folder / name for name in ("store", "acknowledged", "timed"))
    acknowledged.mkdir()
    timed.mkdir()
    end = time.monotonic() + seconds
    pids = [
        children.spawn(_work, store, f"p{i}", acknowledged, timed / f"p{i}", seed, end)
        for i in range(processes)
    ]
    problems = [f"process {i} failed" for i, pid in enumerate(pids) if children.wait(pid)]
    lines = read_acknowledged(acknowledged)
    print(f"soak: {processes} processes, {seconds:g} s, {len(lines)} acknowledgements")
    problems += children.ask(find_missing, store, lines)
    if hasattr(Store, "verify"):
        problems += children.ask(find_damage, store)
    latencies = {}
    for path in timed.iterdir():
        for operation, values in json.loads(path.read_text()).items():
            latencies.setdefault(operation, []).extend(values)
    return latencies, problems


def quantiles(values):
    values = sorted(values)
    return {
        "count": len(values),
        "p50_ms": values[len(values) // 2] * 1e3,
        "p99_ms": values[len(values) * 99 // 100] * 1e3,
        "max_ms": values[-1] * 1e3,
    }


def describe(values):
    found = quantiles(values)
    return (
        f"{found['count']:>8} times   p50 {found['p50_ms']:8.3f} ms   "
        f"p99 {found['p99_ms']:8.3f} ms   max {found['max_ms']:8.1f} ms"
    )


def _work(path, name, acknowledged, timed, seed, end):
    writer = Writer(path, name, acknowledged / name, seed)
    chance = random.Random(f"{seed} soak {name}")
    latencies = {}
    shared = [b"shared %d " % i * 50 for i in range(SHARED_BLOBS)]
    while time.monotonic() < end:
        operation = chance.choice(("put", "get", "record", "mixed"))
        begin = time.perf_counter()
        if operation == "put":
            writer.store.put(chance.choice(shared))
        elif operation == "get":
            _get(writer.store, chance.choice(shared))
        elif operation == "record":
            writer.record()
        else:
            writer.work()
        latencies.setdefault(operation, []).append(time.perf_counter() - begin)
    writer.store.close()
    timed.write_text(json.dumps(latencies))


def _get(store, expected):
    digest = Digest.of(expected)
    if digest in store and store.get(digest) != expected:
        raise AssertionError("a get gave other bytes")
