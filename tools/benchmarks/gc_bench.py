"""Collection beside `restic forget --prune` and `borg delete` with `compact`: stores of which half
is garbage, from small to large, as a growth curve. `cp` is what writing the live bytes takes."""

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gc_stores import PER_RECORD
from measure import Missing, disk_bytes
from peers import Borg, Restic

STORES = Path(__file__).with_name("gc_stores.py")
SIZES = (10_000, 100_000, 1_000_000)
LAYOUTS = ("versions", "mixed")
PEERS = {"restic": Restic, "borg": Borg}
PLANNING = ("records", "blobs", "chunks")  # phases
PLAN_LIMIT, MEMORY_LIMIT, COPY_LIMIT, PEER_FACTOR = 2.0, 200 << 20, 2.0, 5.0


def add_arguments(parser):
    parser.add_argument("--objects", type=int, nargs="+", help="sizes of stores, in objects")
    parser.add_argument("--bytes", type=int, default=4096, help="of an object (4096)")
    parser.add_argument("--peers", type=int, default=100_000, help="the largest size for peers")
    parser.add_argument("--plan-only", action="store_true", help="only open and plan")


def main(options):
    sizes = options.objects or ((2_000, 10_000) if options.quick else SIZES)
    layouts = [name for name in LAYOUTS if not options.only or options.only in name]
    rows = []
    if not options.json:
        print(_HEAD)
    with tempfile.TemporaryDirectory(prefix="druse-bench-", dir=options.dir) as name:
        for layout in layouts:
            for size in sizes:
                print(f"... {size:,} objects, {layout}", file=sys.stderr, flush=True)
                rows.append(_row(Path(name), layout, size, options))
                if not options.json:
                    _print(rows[-1])  # as it comes: the next one may take long
    if options.json:
        print(json.dumps(rows, indent=2))
    missed = [text for row in rows for text, met in _verdicts(row) if not met]
    print(f"{len(missed)} targets missed", file=sys.stderr)
    return 0


def _row(folder, layout, size, options):
    row = {"layout": layout, "objects": size, "bytes": options.bytes}
    store = folder / "store"
    _child("build", store, layout, size, options.bytes)
    row["index"] = disk_bytes(store / "index")
    planned = [_measure("plan", store) for _ in range(options.rounds)]
    for name in ("open", "plan", "anonymous", "before"):
        row[name] = statistics.median(found[name] for found in planned)
    if not options.plan_only:
        done = [_collect(store, folder / "copy") for _ in range(options.rounds)]
        row["phases"] = {
            name: statistics.median(found[name] for found in done)
            for name, value in done[0].items()
            if isinstance(value, float) and name not in ("open", "total")
        }
        row["total"] = statistics.median(found["total"] for found in done)
        row["after"] = done[0]["after"]
        row["memory"] = max(found["anonymous"] for found in done)
        row["cp"] = statistics.median(
            _copy(folder / "live", row["after"]) for _ in range(options.rounds)
        )
    shutil.rmtree(store)
    if size <= options.peers and not options.plan_only:
        for name, tool in PEERS.items():
            row[name] = _peer(folder / name, tool, layout, size, options.bytes)
    return row


def _collect(store, copy):
    shutil.copytree(store, copy)
    os.sync()
    try:
        return _measure("execute", copy)
    finally:
        shutil.rmtree(copy)


def _child(*arguments):
    done = subprocess.run(
        [sys.executable, str(STORES), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


def _measure(what, store):
    return json.loads(_child(what, store))


def _copy(path, size):
    """Seconds that `cp` and a sync take for so many bytes, which are in memory to be read."""
    source = path.with_name("source")
    with source.open("wb") as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))
        file.write(os.urandom(size & 0xFFFFF))
    os.sync()
    begin = time.perf_counter()
    subprocess.run(["cp", source, path], check=True)
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    seconds = time.perf_counter() - begin
    source.unlink()
    path.unlink()
    return seconds


def _peer(folder, tool, layout, count, size):
    """Seconds that a peer takes to drop the older of two snapshots of the same files."""
    folder.mkdir()
    try:
        repository = tool(folder)
    except Missing:
        shutil.rmtree(folder)
        return None
    chance = random.Random(count)
    older, newer = folder / "files" / "older", folder / "files" / "newer"
    for number in range(count):
        group = number // PER_RECORD
        kept = group % 2 == 0 if layout == "mixed" else number >= count // 2
        path = (newer if kept else older) / str(group // 100) / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(size))
    repository.backup(older.parent if layout == "mixed" else older)
    repository.backup(newer)
    os.sync()
    begin = time.perf_counter()
    repository.drop_older()
    seconds = time.perf_counter() - begin
    shutil.rmtree(folder)
    return seconds


# --- the table -----------------------------------------------------------------------------------


_HEAD = (
    f"{'objects':>10} {'layout':<9} {'open ms':>8} {'plan s':>7} {'MiB':>5} {'sweep s':>8} "
    f"{'packs s':>8} {'total s':>8} {'MB before':>10} {'after':>7} {'cp s':>7} "
    f"{'restic s':>9} {'borg s':>8}"
)


def _print(row):
    print(_line(row))
    for text, met in _verdicts(row):
        print(f"{'':>11}{'ok  ' if met else 'MISS'}  {text}", flush=True)


def _line(row):
    phases = row.get("phases", {})
    packs = sum(phases.get(name, 0.0) for name in ("look into packs", "write packs anew"))
    cells = [
        f"{row['objects']:>10,} {row['layout']:<9} {row['open'] * 1e3:8.2f} {row['plan']:7.3f}",
        f"{row['anonymous'] / 2**20:5.0f}",
    ]
    if phases:
        cells += [
            f"{_changes(row) - packs:8.3f} {packs:8.3f} {row['total']:8.3f}",
            f"{row['before'] / 1e6:10.1f} {row['after'] / 1e6:7.1f} {row['cp']:7.3f}",
        ]
        cells += [f"{row[name]:8.2f}" if row.get(name) else f"{'-':>8}" for name in PEERS]
    return " ".join(cells)


def _changes(row):
    """Seconds of what comes behind the plan."""
    return row["total"] - sum(row["phases"].get(n, 0.0) for n in PLANNING)


def _verdicts(row):
    if row["objects"] == 1_000_000:
        yield f"plan {row['plan']:.2f} s, target {PLAN_LIMIT:g}", row["plan"] <= PLAN_LIMIT
        most = max(row["anonymous"], row.get("memory", 0))
        yield (
            f"{most / 2**20:.0f} MiB of anonymous memory, target {MEMORY_LIMIT >> 20}",
            most <= MEMORY_LIMIT,
        )
        if "cp" in row:
            ratio = _changes(row) / row["cp"]
            yield f"{ratio:.2f} x cp of the live bytes, target {COPY_LIMIT:g}", ratio <= COPY_LIMIT
    if row["objects"] == 100_000:
        for name in PEERS:
            if row.get(name):
                factor = row[name] / row["total"]
                yield f"{factor:.1f} x {name}, target {PEER_FACTOR:g}", factor >= PEER_FACTOR
