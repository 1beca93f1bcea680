"""`druse explain`: why cells hit or miss, and what their keys cannot see."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from druse.cli import text
from druse.cli.options import json_option, open_for_planning, print_json, store_option
from druse.cli.say import say

if TYPE_CHECKING:
    from druse.explain import Explanation
    from druse.finding import Found
    from druse.session import Session
    from druse.task import CellName


@click.command("explain")
@click.argument("name", metavar="EXPERIMENT[/CONDITION[/REPLICATE]]")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Where the experiment is defined (else that of its latest run, or one found below here).",
)
@click.option("--coverage", is_flag=True, help="What the keys of its steps cannot see.")
@json_option
@store_option
def explain_command(
    name: str, config: Path | None, coverage: bool, as_json: bool, store: str | None
) -> None:
    """Say what a hit rests on, and for a miss what differs from the nearest earlier record.

    EXPERIMENT is a name, or the path of a folder with a config.yaml."""
    from druse import api, finding

    with open_for_planning(store) as opened:
        found = finding.find(name, opened, config)
        finding.require_condition(found)
        with api.planning(opened, found.graph.wanted()) as session:
            if coverage:
                _print_coverage(session, found.experiment, as_json)
            else:
                _explain(session, found, as_json)


def _explain(session: Session, found: Found, as_json: bool) -> None:
    from druse.explain import Explainer

    explainer = Explainer(session)
    groups = [(cells, explainer.explain(cells[0])) for cells in _groups(session, found).values()]
    if as_json:
        print_json(
            {
                "experiment": found.experiment,
                "groups": [_as_json(cells, explanation) for cells, explanation in groups],
            }
        )
        return
    for cells, explanation in groups:
        _print(found, cells, explanation)


def _groups(session: Session, found: Found) -> dict[Any, list[CellName]]:
    """The cells that are meant, those of which the same is to be said together."""
    groups: dict[Any, list[CellName]] = {}
    for cell in session.plan.cells(found.experiment):
        if found.condition not in (None, cell.condition):
            continue
        if found.replicate not in (None, cell.replicate):
            continue
        state, reason, _, read = session.plan.decisions[cell]
        groups.setdefault((state, reason, read, cell.condition), []).append(cell)
    if not groups:
        from druse.errors import DefinitionError

        replicates = session.plan.prepared[found.experiment].replicates
        raise DefinitionError(
            f"{found.experiment} has no replicate {found.replicate}: it has {replicates}, from 0"
        )
    return groups


# --- for people ------------------------------------------------------------------------------


def _print(found: Found, cells: list[CellName], explanation: Explanation) -> None:
    decision = explanation.decision
    first, last = cells[0], cells[-1]
    which = str(first.replicate) if len(cells) == 1 else f"{first.replicate}-{last.replicate}"
    head = f"{first.experiment}/{first.condition}/{which}"
    say(f"{head}: {decision.state.value}, {decision.reason}")
    if explanation.rests_on:
        for line in _rests_on(explanation.rests_on):
            say(f"    {line}")
        return
    for difference in explanation.differences:
        say(f"    {difference.sentence}")
    for note in explanation.notes:
        say(f"    {note}")
    past = explanation.compared
    if past is None:
        say("    there is no earlier record to compare it with")
        return
    at = past.provenance.get("at")
    when = f", computed {text.moment(int(at * 1e9))}" if isinstance(at, int | float) else ""
    run = f" of {past.run}" if past.run else ""
    place = f"{past.condition}/{past.record.replicate}" if past.condition else "a record"
    if not explanation.differences and not explanation.notes:
        say("    nothing that its key covers differs")
    say(f"    compared with {place}{run}{when}")


def _rests_on(found: dict[str, Any] | Any) -> list[str]:
    lines = []
    if found.get("computed"):
        taken = found.get("seconds")
        seconds = f", in {text.seconds(taken)}" if isinstance(taken, int | float) else ""
        when = text.moment(int(found["computed"] * 1e9))
        lines.append(f"record {found['record'][:12]}, computed {when}{seconds}")
    packages = f"; {', '.join(found['packages'])}" if found["packages"] else ""
    lines.append(f"code: {found['code']} functions and classes{packages}")
    lines.append(f"seed: {found['seed']}")
    lines += [f"read {each}" for each in found["told"]]
    accepted = found.get("accepted")
    if isinstance(accepted, dict):
        lines.append(text.accepted(accepted))
    audit = found.get("audit")
    if isinstance(audit, dict):
        lines.append(text.audited(audit))
    return lines


# --- for programs ----------------------------------------------------------------------------


def _as_json(cells: list[CellName], explanation: Explanation) -> dict[str, Any]:
    decision = explanation.decision
    return {
        "cells": [[cell.condition, cell.replicate] for cell in cells],
        "state": decision.state.value,
        "reason": decision.reason,
        "read": decision.read,
        **differences_as_json(explanation),
        "rests_on": dict(explanation.rests_on) or None,
    }


def differences_as_json(explanation: Explanation | None) -> dict[str, Any]:
    """What differs, and from what."""
    if explanation is None:
        return {"differences": None, "notes": [], "compared_with": None}
    past = explanation.compared
    return {
        "differences": [each._asdict() for each in explanation.differences],
        "notes": list(explanation.notes),
        "compared_with": None
        if past is None
        else {
            "run": past.run,
            "condition": past.condition,
            "replicate": past.record.replicate,
            "record": past.record.digest.hex(),
        },
    }


# --- blind spots -----------------------------------------------------------------------------


def _print_coverage(session: Session, experiment: str, as_json: bool) -> None:
    from druse.explain import coverage

    found = coverage(session, experiment)
    if as_json:
        print_json({"experiment": experiment, "parts": found})
        return
    for part in found:
        counts = [
            f"{part[kind]} {kind if part[kind] != 1 else one}"
            for kind, one in (
                ("functions", "function"),
                ("classes", "class"),
                ("globals", "global"),
            )
            if part[kind]
        ]
        packages = [f"packages: {', '.join(part['packages'])}"] if part["packages"] else []
        declared = [f"declared: {', '.join(part['declared'])}"] if part["declared"] else []
        covered = "; ".join([", ".join(counts) or "no code of yours", *packages, *declared])
        say(f"{part['part']}: {covered}")
        if part["uncacheable"]:
            say(f"    runs uncached: {part['uncacheable']}")
        for spot in part["blind_spots"]:
            say(f"    blind spot: {spot}")
        for sentence in part["unseen"]:
            say(f"    not seen when it ran: it {sentence}")
        for warning in part["warnings"]:
            say(f"    {warning}")
    if not any(part["blind_spots"] or part["unseen"] for part in found):
        say("no blind spots were found; files that are opened count by themselves")
