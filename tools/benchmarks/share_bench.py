"""Sharing beside DVC 3 and `aws s3 cp`: the same data to and from one S3 server (OpenStack Swift,
from the package index, on this machine), with requests and bytes as the server's log has them;
knowing what others published; a crowd that divides the work. DVC and aws come from `.venv-dvc`.

DVC and aws move a tenth of the small objects, and a fortieth of them; the line through both gives
what all of them would take (--whole: all are moved, some minutes)."""

import json
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from share_crowd import divide
from share_peers import SYSTEMS, Missing
from share_server import Server, measured

SMALL, SMALL_BYTES = 20_000, 4096
ARRAYS, ARRAY_BYTES = 32, 16 << 20
KNOWN = (1000, 100)  # signatures, replicates
TIMES, FEWER = 20, 200  # faster than DVC, and with fewer requests, on the small objects


def add_arguments(parser):
    parser.add_argument("--without", nargs="*", default=[], choices=["dvc", "aws"], help="peers")
    parser.add_argument("--whole", action="store_true", help="no peer's figures are scaled")
    parser.add_argument("--dvc-bin", help="the bin folder of an environment with dvc and aws")


def main(options):
    sizes = _sizes(options.quick)
    rows = []
    with tempfile.TemporaryDirectory(prefix="druse-bench-", dir=options.dir) as name:
        folder = Path(name)
        with Server(folder / "server") as server:
            for what in ("small objects", "arrays"):
                if options.only is None or options.only in what:
                    rows += _transfers(folder, server, what, sizes[what], options)
            for what, run in (("know", _know), ("divide", _divide)):
                if options.only is None or options.only in what:
                    rows.append(run(folder, server, sizes[what]))
    print(json.dumps(rows, indent=2) if options.json else _table(rows))
    missed = [text for row in rows for text, met in row["verdicts"] if not met]
    print(f"{len(missed)} targets missed", file=sys.stderr)
    return 0


def _sizes(quick):
    if quick:
        return {"small objects": (1000, SMALL_BYTES), "arrays": (4, ARRAY_BYTES), "know": (100, 20),
                "divide": (40, 0.2)}  # fmt: skip
    return {"small objects": (SMALL, SMALL_BYTES), "arrays": (ARRAYS, ARRAY_BYTES), "know": KNOWN,
            "divide": (200, 0.2)}  # fmt: skip


def _transfers(folder, server, what, size, options):
    """A row for pushing and one for pulling, over all systems."""
    print(f"... {what}", file=sys.stderr, flush=True)
    found = {"push": {}, "pull": {}}
    for name, make in SYSTEMS.items():
        if name in options.without:
            continue
        scaled = what == "small objects" and name != "druse" and not options.whole
        counts = [size[0] // 40, size[0] // 10] if scaled else [size[0]]
        try:
            for _ in range(options.rounds):
                moved = [
                    _moved(folder / "work", server, make, what, (count, size[1]), options.dvc_bin)
                    for count in counts
                ]
                for verb, runs in found.items():
                    figures = [each[verb] for each in moved]
                    total = _at(size[0], counts, figures) if scaled else figures[0]
                    runs.setdefault(name, []).append(total)
        except Missing as missing:
            print(f"{name}: {missing}", file=sys.stderr)
    return [_row(f"{verb} {size[0]:,} {what}", runs, what) for verb, runs in found.items()]


def _moved(place, server, make, what, size, peers_bin):
    """What pushing and pulling takes one system."""
    place.mkdir()
    try:
        system = make(place, server, peers_bin)
        system.prepare(what, size)
        pushed = measured(server, system.push)
        system.forget()
        pulled = measured(server, system.pull)
        system.check()
        return {"push": pushed, "pull": pulled}
    finally:
        shutil.rmtree(place)


def _at(count, counts, figures):
    """The figures for `count` objects, on the line through those of two smaller numbers."""
    (few, many), (low, high) = counts, figures
    each = {key: (high[key] - low[key]) / (many - few) for key in high}
    return {key: high[key] + each[key] * (count - many) for key in high} | {"scaled_from": many}


def _row(name, runs, what):
    systems = {system: _median(each) for system, each in runs.items()}
    verdicts = []
    if what == "small objects" and "dvc" in systems:
        own, dvc = systems["druse"], systems["dvc"]
        times = dvc["seconds"] / own["seconds"]
        fewer = dvc["requests"] / own["requests"]
        verdicts = [
            (f"{times:.1f} x faster than dvc, target {TIMES}", times >= TIMES),
            (f"{fewer:.0f} x fewer requests than dvc, target {FEWER}", fewer >= FEWER),
        ]
    return {"name": name, "systems": systems, "verdicts": verdicts}


def _median(runs):
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def _know(folder, server, size):
    """What it costs to know what two signers published of one experiment."""
    from share_known import know

    signatures, replicates = size
    print("... know", file=sys.stderr, flush=True)
    found = know(folder / "know", server, signatures, replicates)
    allowed = 2 + found["signers"]
    return {
        "name": f"know what is there: {signatures:,} signatures x {replicates} replicates",
        "systems": {"druse": found},
        "verdicts": [
            (f"{found['requests']:.0f} requests, target {allowed}", found["requests"] <= allowed),
            (f"{found['seconds']:.2f} s, target 1", found["seconds"] <= 1),
        ],
    }


def _divide(folder, server, size):
    """Four processes with four stores run the same experiment with --claim."""
    cells, seconds = size
    print("... divide", file=sys.stderr, flush=True)
    found = divide(folder / "divide", server, 4, cells, seconds)
    return {
        "name": f"4 x run --claim: {cells} cells of {seconds} s",
        "systems": {"druse": found},
        "verdicts": [
            (f"{found['ratio']:.2f} x the ideal quarter, target 1.3", found["ratio"] <= 1.3),
            (f"{found['twice']} cells computed twice (leases are advice here)", True),
            (f"all ended with equal results: {found['equal']}", found["equal"]),
        ],
    }


def _table(rows):
    lines = []
    for row in rows:
        lines.append(f"\n{row['name']}")
        for system, found in row["systems"].items():
            lines.append(
                f"  {system:<8}{found['seconds']:9.2f} s  {found.get('cpu', 0):8.2f} s cpu"
                f"  {found.get('requests', 0):9,.0f} requests"
                f"  {found.get('sent', 0) / 1e6:9.1f} MB up"
                f"  {found.get('received', 0) / 1e6:9.1f} MB down"
                + (f"  (scaled from {found['scaled_from']:,.0f})" if "scaled_from" in found else "")
            )
        lines += [f"  {'ok  ' if met else 'MISS'}  {text}" for text, met in row["verdicts"]]
    return "\n".join(lines)


os.environ.setdefault("OMP_NUM_THREADS", "1")
