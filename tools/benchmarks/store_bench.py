"""The store beside cp, restic, borg, joblib and diskcache."""

import os
import sys
import tempfile
from pathlib import Path

from measure import run_rows, verdicts
from store_rows import Sizes, all_rows
from table import print_json, print_table

# Peers use all cores through their own threads; numpy's must not compete while data are made.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def add_arguments(parser):
    parser.add_argument(
        "--objects", type=int, help="size of the store to open (1,000,000; quick: 20,000)"
    )


def main(options):
    sizes = Sizes.quick() if options.quick else Sizes()
    if options.objects:
        sizes.stored_objects = options.objects
    with tempfile.TemporaryDirectory(prefix="druse-bench-", dir=options.dir) as name:
        folder = Path(name)
        rows = [r for r in all_rows(sizes, folder) if not options.only or options.only in r.name]
        run_rows(rows, folder, options.rounds)
    if options.json:
        print_json(rows)
    else:
        print_table(rows)
    missed = [(row.name, text) for row in rows for text, met in verdicts(row) if met is False]
    print(f"{len(missed)} targets missed", file=sys.stderr)
    return 0
