"""Collection beside `restic forget --prune` and `borg delete` with `compact`: stores of which half
is garbage, from small to large, as a growth curve. `cp` is what writing the live bytes takes,
"cold" a plan whose index is on the disk alone. Stores of 10M are opened and planned only."""

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
PLANNED = 10_000_000  # objects from which on a store is not collected: a copy for each round
UNITS = {"k": 1_000, "M": 1_000_000}
LAYOUTS = ("versions", "mixed")
PEERS = {"restic": Restic, "borg": Borg}
PLANNING = ("records", "blobs", "chunks")  # phases
COMPACTING = ("look into packs", "write packs anew")
PLAN_LIMIT, MEMORY_LIMIT, COPY_LIMIT, PEER_FACTOR = 2.0, 200 << 20, 2.0, 5.0


def add_arguments(parser):
    parser.add_argument("--sizes", type=_count, nargs="+", help="of stores, in objects: 10k 1M")
    parser.add_argument("--bytes", type=int, default=4096, help="of an object (4096)")
    parser.add_argument("--peers", type=_count, default=100_000, help="the largest size for peers")
    parser.add_argument("--stores", type=Path, help="a folder in which stores are kept, for again")
    parser.add_argument("--plan-only", action="store_true", help="only open and plan")


def _count(text):
    """A number of objects: 10000, 10k, 1M."""
    unit = UNITS.get(text[-1:], 1)
    return int(text.rstrip("kM").replace(",", "")) * unit


def main(options):
    sizes = options.sizes or ((2_000, 10_000) if options.quick else SIZES)
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
    else:
        _print_growth(rows)
    missed = [text for row in rows for text, met in _verdicts(row) if not met]
    print(f"{len(missed)} targets missed", file=sys.stderr)
    return 0


def _row(folder, layout, size, options):
    row = {"layout": layout, "objects": size, "bytes": options.bytes}
    store = _store(folder, layout, size, options)
    row["index"] = disk_bytes(store / "index")
    row["cold"] = _measure("cold", store)["plan"]
    planned = [_measure("plan", store) for _ in range(options.rounds)]
    for name in ("open", "plan", "anonymous", "rss", "before"):
        row[name] = statistics.median(found[name] for found in planned)
    row["us planned"] = row["plan"] / size * 1e6
    collects = size < PLANNED and not options.plan_only
    if collects:
        _add_collection(row, [_collect(store, folder / "copy") for _ in range(options.rounds)])
        row["cp"] = statistics.median(
            _copy(folder / "live", row["after"]) for _ in range(options.rounds)
        )
    if store.parent == folder:
        shutil.rmtree(store)
    if collects and size <= options.peers:
        for name, tool in PEERS.items():
            row[name] = _peer(folder / name, tool, layout, size, options.bytes)
    return row


def _store(folder, layout, size, options):
    """A store, made now, or kept from another time."""
    kept = options.stores and options.stores / f"{layout}-{size}-{options.bytes}"
    store = kept or folder / "store"
    if not (store / "format").exists():
        _child("build", store, layout, size, options.bytes)
    return store


def _add_collection(row, rounds):
    row["phases"] = {
        name: statistics.median(found.get(name, 0.0) for found in rounds)
        for name, value in rounds[0].items()
        if isinstance(value, float) and name not in ("open", "total")
    }
    row["total"] = statistics.median(found["total"] for found in rounds)
    row["compact"] = sum(row["phases"].get(name, 0.0) for name in COMPACTING)
    planning = sum(row["phases"].get(name, 0.0) for name in PLANNING)
    row["sweep"] = row["total"] - planning - row["compact"]
    row["us collected"] = row["total"] / row["objects"] * 1e6
    row["after"] = rounds[0]["after"]
    row["memory"] = max(found["anonymous"] for found in rounds)
    row["rss"] = max(found["rss"] for found in rounds)


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
    f"{'objects':>10} {'layout':<9}{'open ms':>8}{'cold s':>8}{'plan s':>8}{'sweep s':>8}"
    f"{'compact s':>10}{'total s':>8}{'us each':>8}{'MiB plan':>9}{'MiB gc':>7}{'RSS MiB':>8}"
    f"{'MB before':>10}{'after':>8}{'cp s':>7}{'restic s':>9}{'borg s':>7}"
)


def _print(row):
    print(_line(row))
    for text, met in _verdicts(row):
        print(f"{'':>11}{'ok  ' if met else 'MISS'}  {text}", flush=True)


def _line(row):
    def cell(name, width, digits=0, unit=1):
        value = row.get(name)
        return f"{'-':>{width}}" if value is None else f"{value / unit:{width},.{digits}f}"

    return (
        f"{row['objects']:>10,} {row['layout']:<9}{cell('open', 8, 2, 1e-3)}{cell('cold', 8, 3)}"
        f"{cell('plan', 8, 3)}{cell('sweep', 8, 3)}{cell('compact', 10, 3)}{cell('total', 8, 3)}"
        f"{cell('us collected', 8, 2)}{cell('anonymous', 9, 0, 2**20)}{cell('memory', 7, 0, 2**20)}"
        f"{cell('rss', 8, 0, 2**20)}{cell('before', 10, 1, 1e6)}{cell('after', 8, 1, 1e6)}"
        f"{cell('cp', 7, 3)}{cell('restic', 9, 2)}{cell('borg', 7, 2)}"
    )


def _print_growth(rows):
    """Microseconds for each object: a flat line is what one wants."""
    sizes = sorted({row["objects"] for row in rows})
    print(f"\n{'us an object':<22}" + "".join(f"{size:>12,}" for size in sizes))
    for layout in dict.fromkeys(row["layout"] for row in rows):
        found = {row["objects"]: row for row in rows if row["layout"] == layout}
        for name, key in (("plan", "us planned"), ("collection", "us collected")):
            values = [found.get(size, {}).get(key) for size in sizes]
            cells = [f"{'-':>12}" if value is None else f"{value:12.2f}" for value in values]
            print(f"{name:<12}{layout:<10}" + "".join(cells))


def _changes(row):
    """Seconds of what comes behind the plan."""
    return row["sweep"] + row["compact"]


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
