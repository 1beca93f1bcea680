"""The store beside cp, restic, borg, joblib and diskcache."""

import os
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

from measure import run_rows, verdicts
from store_rows import Sizes, all_rows
from table import print_json, print_latencies, print_table

# Peers use all cores through their own threads; numpy's must not compete while data are made.
os.environ.setdefault("OMP_NUM_THREADS", "1")

CROWD = "8 processes put, get and record at once"


def add_arguments(parser):
    parser.add_argument(
        "--objects", type=int, help="size of the store to open (1,000,000; quick: 20,000)"
    )


def latencies(folder, seconds):
    """What `tools/torture soak` measures: 8 processes at one store, the same and different keys."""
    sys.path.append(str(Path(__file__).parents[1] / "torturing"))
    import torture_soak

    found, problems = torture_soak.soak(folder, 8, seconds, seed=1)
    return {name: torture_soak.quantiles(values) for name, values in found.items()}, problems


def main(options):
    sizes = Sizes.quick() if options.quick else Sizes()
    if options.objects:
        sizes.stored_objects = options.objects
    with tempfile.TemporaryDirectory(prefix="druse-bench-", dir=options.dir) as name:
        folder = Path(name)
        rows = [r for r in all_rows(sizes, folder) if not options.only or options.only in r.name]
        run_rows(rows, folder, options.rounds)
        crowd = {}
        if not options.only or options.only in CROWD:
            print(f"... {CROWD}", file=sys.stderr, flush=True)
            (folder / "crowd").mkdir()
            with redirect_stdout(sys.stderr):
                crowd, problems = latencies(folder / "crowd", 3 if options.quick else 60)
            for problem in problems:
                print(f"PROBLEM: {problem}", file=sys.stderr)
    if options.json:
        print_json(rows, crowd)
    else:
        print_table(rows)
        print_latencies(CROWD, crowd)
    missed = [(row.name, text) for row in rows for text, met in verdicts(row) if met is False]
    print(f"{len(missed)} targets missed", file=sys.stderr)
    return 0
