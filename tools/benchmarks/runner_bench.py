"""The runner beside joblib and Crystallize: cells that hit, cells that run, plans, executors."""

import sys
import tempfile
from pathlib import Path

import runner_cells
import runner_executors
import runner_views
from measure import run_rows, verdicts
from table import print_json, print_table


def add_arguments(parser):
    pass


def main(options):
    rows = [
        *runner_cells.rows(options.quick),
        *runner_views.rows(20 if options.quick else 1000),
        *runner_executors.rows(options.quick),
    ]
    rows = [row for row in rows if not options.only or options.only in row.name]
    with tempfile.TemporaryDirectory(prefix="druse-bench-", dir=options.dir) as name:
        run_rows(rows, Path(name), options.rounds)
    (print_json if options.json else print_table)(rows)
    missed = [(row.name, text) for row in rows for text, met in verdicts(row) if met is False]
    print(f"{len(missed)} targets missed", file=sys.stderr)
    return 0
