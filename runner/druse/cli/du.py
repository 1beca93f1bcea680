"""`druse du`: what takes the space, and what of it a collection would free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from druse.cli import text
from druse.cli.options import (
    find_run,
    json_option,
    named_store,
    open_for_reading,
    parse_run,
    print_json,
    store_option,
)
from druse.cli.rules import policy_of, rule_options
from druse.cli.say import say

if TYPE_CHECKING:
    from druse_store import Freed, SpaceUsed, Usage, VersionUsage


@click.command("du")
@click.argument("name", metavar="[EXPERIMENT[/vN]]", required=False)
@click.option("--reclaimable", is_flag=True, help="What `druse gc --now` would free, by run.")
@rule_options
@json_option
@store_option
def du_command(
    name: str | None, reclaimable: bool, as_json: bool, store: str | None, **rules: Any
) -> None:
    """Say what takes the space: by experiment; by version of an EXPERIMENT; by step and artifact
    of a version.

    `raw` counts what is named each time that it is, as files in folders would; `unique` counts
    equal data once, and `stored` what that takes, compressed; `ratio` is raw / stored. `alone` is
    what would be free without it: what others share is not in it. `gone` is named, and not here
    any more.
    """
    experiment, version = parse_run(name) if name is not None else (None, None)
    if reclaimable:
        from druse_store import Store

        with Store.open(named_store(store), create=False) as opened:
            if name is not None:
                find_run(opened, name)
            shares = opened.reclaimable(policy_of(rules, opened))
        _print_reclaimable(
            [s for s in shares if _is_meant(s.experiment, s.version, experiment, version)], as_json
        )
        return
    steps: list[str] = []
    with open_for_reading(store) as opened:
        if name is not None:
            from druse.stored import step_names

            steps = step_names(find_run(opened, name))
        used = opened.du()
    _narrow(used, experiment, version)
    if as_json:
        from dataclasses import asdict

        print_json(asdict(used))
    elif version is not None:
        _print_table(("step", "artifact"), _artifact_rows(used.experiments[0].versions[0], steps))
    elif experiment is not None:
        versions = used.experiments[0].versions
        _print_table(
            ("version", "keeps"), [((f"v{v.version}", v.level), v.usage) for v in versions]
        )
    else:
        _print_table(("experiment", "runs"), _experiment_rows(used))


def _is_meant(
    name: str | None, version: int | None, experiment: str | None, only: int | None
) -> bool:
    return experiment in (None, name) and only in (None, version)


def _narrow(used: SpaceUsed, experiment: str | None, version: int | None) -> None:
    """Leaves what was asked for."""
    used.experiments = [e for e in used.experiments if experiment in (None, e.experiment)]
    for each in used.experiments:
        each.versions = [v for v in each.versions if version in (None, v.version)]


def _print_reclaimable(shares: list[Freed], as_json: bool) -> None:
    if as_json:
        print_json([share._asdict() for share in shares])
        return
    rows = [
        [f"{s.experiment}/v{s.version}" if s.experiment else "(of no run)", text.signed(s.freed)]
        for s in shares
        if s.freed
    ]
    rows.append(["all", text.signed(sum(share.freed for share in shares))])
    say(text.table(["run", "reclaimable"], rows, right=(1,)))


_Row = tuple[tuple[str, str], "Usage"]


def _experiment_rows(used: SpaceUsed) -> Iterator[_Row]:
    for each in used.experiments:
        yield (each.experiment, str(len(each.versions))), each.usage
    outside = (
        ("(cached steps)", used.outside_runs),
        ("(pinned)", used.pinned),
        ("(of no run)", used.unnamed),
    )
    for name, usage in outside:
        if usage.stored:
            yield (name, "-"), usage
    yield ("all", "-"), used.total


def _artifact_rows(version: VersionUsage, steps: list[str]) -> Iterator[_Row]:
    for each in version.artifacts:
        if each.step < -1:
            place = "(records)"
        elif each.step < 0:
            place = "datasource"
        else:
            place = steps[each.step] if each.step < len(steps) else str(each.step)
        yield (place, each.name or "-"), each.usage
    yield ("all", "-"), version.usage


def _print_table(head: tuple[str, str], rows: Any) -> None:
    found = list(rows)
    any_gone = any(usage.gone for _, usage in found)
    names = ["raw", "unique", "stored", "ratio", "alone", *(["gone"] if any_gone else [])]
    lines = []
    for labels, usage in found:
        ratio = f"{usage.ratio:.2f}" if usage.stored else "-"
        sizes = [text.size(usage.raw), text.size(usage.unique), text.size(usage.stored), ratio]
        gone = [text.size(usage.gone)] if any_gone else []
        lines.append([*labels, *sizes, text.size(usage.alone), *gone])
    right = (*((1,) if head[1] == "runs" else ()), *range(2, 2 + len(names)))
    say(text.table([*head, *names], lines, right=right))
