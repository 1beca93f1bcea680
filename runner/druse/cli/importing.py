"""`druse import`: runs of Crystallize's, from its folders into the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from druse.cli import text
from druse.cli.bar import Bar
from druse.cli.options import json_option, named_store, print_json, store_option
from druse.cli.say import say

if TYPE_CHECKING:
    from druse.importing import Import

_PROBLEMS = 5  # of one run, on a terminal; --json has them all


@click.command("import")
@click.argument("folder", type=click.Path(path_type=Path), default="data")
@click.option("--experiment", "only", multiple=True, metavar="EXP", help="Only EXP (repeatable).")
@click.option("--as", "name", metavar="EXP", help="Give the one experiment another name.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; do nothing.")
@json_option
@store_option
def import_command(
    folder: Path,
    only: tuple[str, ...],
    name: str | None,
    dry_run: bool,
    as_json: bool,
    store: str | None,
) -> int:
    """Take the runs of a FOLDER that Crystallize wrote (default: data) into the store.

    Their results can be shown, compared, exported and read by other experiments. No cell hits
    them, since nothing says which code they came from; `druse accept` takes them over.
    """
    from druse import importing
    from druse_store import Store

    if dry_run and not (named_store(store) / "format").exists():
        found = importing.plan(None, folder, only, name)
    else:
        with Store.open(named_store(store)) as opened, Bar("importing", quiet=as_json) as bar:
            found = importing.plan(opened, folder, only, name)
            if not dry_run:
                importing.execute(opened, found, bar.show)
    if as_json:
        print_json([_plain(each) for each in found])
    else:
        for each in found:
            _say(each)
    return 1 if any(each.skipped and not each.folder.cells for each in found) else 0


def _say(each: Import) -> None:
    folder = each.folder
    if each.skipped is not None:
        say(f"{folder.name}: left out: {each.skipped}")
        return
    files = sum(len(files) for files in folder.files.values())
    say(
        f"{folder.name}: {len(folder.cells)} cells, {len(folder.conditions)} conditions, "
        f"{files} artifacts ({text.size(folder.size)})"
    )
    for problem in folder.problems[:_PROBLEMS]:
        say(f"    {problem}", err=True)
    if len(folder.problems) > _PROBLEMS:
        say(f"    ... {len(folder.problems) - _PROBLEMS} more (--json)", err=True)


def _plain(each: Import) -> dict[str, Any]:
    folder = each.folder
    return {
        "folder": str(folder.path),
        "experiment": folder.experiment,
        "run": each.run.name if each.run is not None else None,
        "skipped": each.skipped,
        "cells": len(folder.cells),
        "conditions": folder.conditions,
        "replicates": folder.replicates,
        "artifacts": sum(len(files) for files in folder.files.values()),
        "bytes": folder.size,
        "problems": folder.problems,
    }
