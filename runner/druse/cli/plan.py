"""`druse plan`: what `druse run` would do, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from druse.cli import text
from druse.cli.options import (
    control_options,
    json_option,
    named_remote,
    open_exchange,
    open_for_planning,
    print_json,
    store_option,
)
from druse.cli.say import say

if TYPE_CHECKING:
    from druse.forecast import ExperimentForecast, Group

_SHOWN = 3  # differences, and conditions, in one line


@click.command("plan")
@click.argument("config", type=click.Path(path_type=Path), required=False)
@click.option(
    "--strategy", type=click.Choice(["resume", "rerun"]), default="resume", show_default=True
)
@click.option("--replicates", type=click.IntRange(min=1), help="Instead of the configuration's.")
@click.option("--remote", metavar="NAME|URL", help="As for run; `none`: this store alone.")
@control_options
@json_option
@store_option
def plan_command(
    config: Path,
    strategy: str,
    replicates: int | None,
    remote: str | None,
    control: dict[str, Any],
    as_json: bool,
    store: str | None,
) -> None:
    """Show what a run of CONFIG would take from the store, what it would execute, and why."""
    from druse import api
    from druse.forecast import forecast
    from druse.foreseen import foresee
    from druse.graph import ExperimentGraph

    graph = ExperimentGraph.from_yaml(config)
    wanted = graph.wanted(replicates=replicates)
    heard: list[str] = []
    with (
        open_for_planning(store) as opened,
        open_exchange(opened, named_remote(remote, config), heard.append, config) as exchange,
        api.planning(opened, wanted, strategy=strategy, exchange=exchange, **control) as session,
    ):
        foresee(session, alone=exchange.is_alone)
        found = forecast(session)
        warnings = heard + [w for each in session.plan.prepared.values() for w in each.warnings]
    if as_json:
        print_json(_as_json(found, warnings))
        return
    for each in found:
        _print(each)
    _print_total(found)
    for warning in dict.fromkeys(warnings):
        say(f"warning: {warning}", err=True)


def _print(each: ExperimentForecast) -> None:
    from druse.plan import State

    counts = [(each.count(State.HIT), "hit"), (each.count(State.RUN), "run")]
    depends = each.count(State.DEPENDS)
    words = [f"{count} {word}" for count, word in counts if count or word == "hit"]
    if depends:
        words.append(f"at most {depends} more")
    due = each.count(State.RUN, State.DEPENDS)
    expected = f"  about {text.seconds(each.seconds)} of work" if due and each.seconds else ""
    say(f"{each.name}: {', '.join(words)}{expected}")
    for group in each.groups:
        if group.state is not State.HIT:
            say(f"    {len(group.cells)} {_cells(group)}: {group.reason}")
            for line in _why(group):
                say(f"        {line}")
    for proposal in each.proposals:
        say(
            f"    propose {proposal.flag} for {proposal.step}: {proposal.why}; the latest run "
            f"would have taken {text.seconds(proposal.seconds)} less"
        )


def _cells(group: Group) -> str:
    names = group.conditions
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    cells = "cell" if len(group.cells) == 1 else "cells"
    return f"{cells} of {', '.join(names[:_SHOWN])}{more}"


def _why(group: Group) -> list[str]:
    if group.explanation is None:
        return []
    lines = [each.sentence for each in group.explanation.differences]
    more = [f"... {len(lines) - _SHOWN} more; `druse explain` has all"]
    shown = lines[:_SHOWN] + (more if len(lines) > _SHOWN else [])
    return shown + list(group.explanation.notes)


def _print_total(found: list[ExperimentForecast]) -> None:
    from druse.plan import State

    run = sum(each.count(State.RUN) for each in found)
    depends = sum(each.count(State.DEPENDS) for each in found)
    cells = sum(len(group.cells) for each in found for group in each.groups)
    if not run + depends:
        say(f"nothing to execute: all {cells} cells are in the store")
        return
    at_most = "at most " if depends else ""
    times = [each.seconds for each in found if each.count(State.RUN, State.DEPENDS)]
    known = sum(seconds for seconds in times if seconds is not None)
    unknown = "" if None not in times else ", and some that has not been run before"
    work = f", about {text.seconds(known)} of work" if known else ""
    say(f"{at_most}{run + depends} of {cells} cells to execute{work}{unknown}")


def _as_json(found: list[ExperimentForecast], warnings: list[str]) -> dict[str, Any]:
    from druse.plan import State

    return {
        "experiments": [
            {
                "name": each.name,
                **{state.value: each.count(state) for state in State},
                "seconds": each.seconds,
                "step_seconds": dict(each.durations.steps),
                "groups": [_group_as_json(group) for group in each.groups],
                "proposals": [proposal._asdict() for proposal in each.proposals],
            }
            for each in found
        ],
        **{state.value: sum(each.count(state) for each in found) for state in State},
        "warnings": list(dict.fromkeys(warnings)),
    }


def _group_as_json(group: Group) -> dict[str, Any]:
    from druse.cli.explain import differences_as_json

    return {
        "state": group.state.value,
        "reason": group.reason,
        "read": group.read,
        "cells": [[cell.condition, cell.replicate] for cell in group.cells],
        **differences_as_json(group.explanation),
    }
