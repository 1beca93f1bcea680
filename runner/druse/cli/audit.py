"""`druse audit`: executes hits again, and names the steps that do not give the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from druse.cli.options import json_option, named_store, print_json, store_option
from druse.cli.say import say

if TYPE_CHECKING:
    from druse.audit import Audit


@click.command("audit")
@click.argument("name", metavar="EXPERIMENT|CONFIG")
@click.option("--config", type=click.Path(path_type=Path), help="Where the experiment is defined.")
@click.option(
    "--fraction", type=float, default=0.1, show_default=True, help="Of each experiment's hits."
)
@click.option(
    "--cells",
    multiple=True,
    metavar="[EXPERIMENT/]CONDITION[/REPLICATE]",
    help="These hits, in place of a sample.",
)
@click.option(
    "--ignore", multiple=True, metavar="METRIC", help="May differ: a time that was measured, say."
)
@click.option("--seed", type=int, help="For the choice of the sample.")
@json_option
@store_option
def audit_command(
    name: str,
    config: Path | None,
    fraction: float,
    cells: tuple[str, ...],
    ignore: tuple[str, ...],
    seed: int | None,
    as_json: bool,
    store: str | None,
) -> int:
    """Execute a sample of the hits of EXPERIMENT, and of what it reads of others, again.

    Steps that do not give the same are named, with the first artifact or metric that differs, and
    the records are marked."""
    from druse import api, finding
    from druse.audit import Auditor, sample
    from druse_store import Store

    with Store.open(named_store(store), create=False) as opened:
        graph = finding.find_graph(name, opened, config)
        with api.planning(opened, graph.wanted()) as session:
            auditor = Auditor(session, ignore)
            found = auditor.audit(sample(session, fraction, cells, seed))
            auditor.mark(found)
    if as_json:
        print_json(_as_json(found))
    else:
        _print(found)
    return 1 if found.mismatches else 0


def _print(found: Audit) -> None:
    if not found.checked and not found.skipped:
        say("there are no hits to check: `druse run` computes what is missing")
        return
    same = len(found.checked) - len(found.mismatches)
    say(f"{len(found.checked)} hits were executed again: {same} gave the same")
    for (experiment, step), mismatches in found.steps.items():
        cells = ", ".join(f"{m.cell.condition}/{m.cell.replicate}" for m in mismatches[:5])
        more = f" and {len(mismatches) - 5} more" if len(mismatches) > 5 else ""
        say(f"{experiment}: {step} is not deterministic: {mismatches[0].sentence} ({cells}{more})")
    for why, skipped in found.skipped.items():
        say(f"{len(skipped)} cells were skipped, as {skipped[0]}: {why}", err=True)


def _as_json(found: Audit) -> dict[str, Any]:
    return {
        "checked": [list(cell) for cell in found.checked],
        "mismatches": [
            {"cell": list(m.cell), "step": m.step, "what": m.what, "sentence": m.sentence}
            for m in found.mismatches
        ],
        "skipped": [
            {"why": why, "cells": [list(cell) for cell in cells]}
            for why, cells in found.skipped.items()
        ],
    }
