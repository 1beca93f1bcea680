"""`druse accept`: today's code, parameters and versions take the latest results over."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from druse.cli.options import json_option, named_store, print_json, store_option
from druse.cli.say import say

if TYPE_CHECKING:
    from druse.accept import Acceptance


@click.command("accept")
@click.argument("name", metavar="EXPERIMENT[/STEP]")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Where the experiment is defined (else that of its latest run, or one found below here).",
)
@click.option("--dry-run", is_flag=True, help="Say what would be taken over, and change nothing.")
@json_option
@store_option
def accept_command(
    name: str, config: Path | None, dry_run: bool, as_json: bool, store: str | None
) -> int:
    """Take the latest results of EXPERIMENT over for its code, parameters and packages of today.

    For changes that change no result. With STEP, only where nothing else changed. The records say
    what was accepted, by whom and when."""
    from druse import accept, api, finding
    from druse_store import Store

    with Store.open(named_store(store), create=False) as opened:
        found = finding.find(name, opened, config)
        step = found.rest[0] if found.rest else None
        with api.planning(opened, found.graph.wanted()) as session:
            acceptance = accept.plan(session, found.experiment, step)
            if not dry_run:
                accept.carry_out(session, acceptance)
    if as_json:
        print_json(_as_json(found.experiment, acceptance))
    else:
        _print(found.experiment, acceptance, dry_run)
    return 1 if acceptance.refused else 0


def _sentences(acceptance: Acceptance) -> dict[str, int]:
    return Counter(d.sentence for each in acceptance.accepted for d in each.differences)


def _print(experiment: str, acceptance: Acceptance, dry_run: bool) -> None:
    count = len(acceptance.accepted)
    if not count and not acceptance.refused:
        say(f"{experiment}: nothing to accept, all {acceptance.hits} cells are hits")
        return
    verb = "would be taken over" if dry_run else "were taken over"
    say(f"{experiment}: {count} results {verb}, {acceptance.hits} are hits already")
    for sentence, cells in _sentences(acceptance).items():
        say(f"    accepted for {cells} cells: {sentence}")
    for why, refused in acceptance.refused.items():
        say(f"    not for {len(refused)} cells, as {refused[0]}: {why}", err=True)


def _as_json(experiment: str, acceptance: Acceptance) -> dict[str, Any]:
    return {
        "experiment": experiment,
        "accepted": [
            {
                "cell": [each.cell.condition, each.cell.replicate],
                "record": each.record.digest.hex(),
                "differences": [d._asdict() for d in each.differences],
            }
            for each in acceptance.accepted
        ],
        "refused": [
            {"why": why, "cells": [[c.condition, c.replicate] for c in cells]}
            for why, cells in acceptance.refused.items()
        ],
        "hits": acceptance.hits,
    }
