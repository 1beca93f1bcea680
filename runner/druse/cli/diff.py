"""`druse diff`: what differs between two runs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from druse.cli import text
from druse.cli.options import find_run, json_option, open_for_reading, print_json, reading_option
from druse.cli.say import say

if TYPE_CHECKING:
    from druse.comparison import Comparison, MetricChange, Sample, Side
    from druse.fingerprint.manifest import Manifest
    from druse_store import Run, Store


@click.command("diff")
@click.argument("before", metavar="EXPERIMENT[/vN]")
@click.argument("after", metavar="[EXPERIMENT/vM]", required=False)
@click.option("--exit-status", is_flag=True, help="Exit with 1 where results differ.")
@json_option
@reading_option
def diff_command(
    before: str, after: str | None, exit_status: bool, as_json: bool, store: str | None
) -> int:
    """Show what differs between two runs: metrics (with n, mean, standard deviation), artifacts by
    their content, code, values that cells read, environment.

    With one run, it is compared with the one before it.
    """
    from druse.comparison import compare

    with open_for_reading(store) as opened:
        one = find_run(opened, before)
        runs = (_before(opened, one), one) if after is None else (one, find_run(opened, after))
        found = compare(*(_side(opened, run) for run in runs))
    if as_json:
        print_json(_plain(found))
    else:
        _show(found)
    return 1 if exit_status and not found.is_same else 0


def _before(store: Store, run: Run) -> Run:
    """The run before one. Raises UsageError."""
    earlier = [each for each in store.runs(run.experiment) if each.version < run.version]
    if not earlier:
        raise click.UsageError(f"there is no run before {run.name}: name two runs")
    return earlier[-1]


def _side(store: Store, run: Run) -> Side:
    from druse import layout
    from druse.comparison import Side
    from druse.stored import step_names

    cells = layout.cells_of(store, run)
    environment = {
        name: str(run.info[name]) for name in ("host", "user", "seed") if run.info.get(name)
    }
    pythons = {str(record.provenance.get("python", "")) for record in cells.values()} - {""}
    if pythons or run.info.get("python"):
        environment["python"] = " and ".join(sorted(pythons)) or str(run.info["python"])
    return Side(
        name=run.name,
        conditions=layout.conditions_of(run),
        steps=step_names(run),
        cells=cells,
        manifests=_manifests(store, cells.values()),
        environment=environment,
    )


def _manifests(store: Store, records: Any) -> list[Manifest]:
    from druse.fingerprint.manifest import Manifest, ManifestDamaged
    from druse_store import StoreError

    found = []
    for digest in dict.fromkeys(record.manifest for record in records if record.manifest):
        try:
            found.append(Manifest.decode(store.get(digest)))
        except (StoreError, ManifestDamaged) as error:
            say(f"a manifest cannot be read, so its code is not compared: {error}", err=True)
    return found


# --- for people ------------------------------------------------------------------------------


def _show(found: Comparison) -> None:
    say(
        f"{found.before} → {found.after}: {found.same_records} of {found.cells} cells rest on the "
        "same record"
    )
    rows = [_row(each) for each in found.metrics]
    if rows:
        head = ["condition", "metric", "n", found.before, "n", found.after, "difference"]
        say("\n" + text.table(head, rows, right=(2, 4, 6)))
    _show_artifacts(found)
    for title, lines in (
        ("code", found.code),
        ("values", found.values),
        ("environment", found.environment),
    ):
        if lines:
            say(f"\n{title}")
            for line in lines:
                say(f"    {line}")


def _row(each: MetricChange) -> list[str]:
    row = [each.condition, each.metric, *_sample(each.before), *_sample(each.after)]
    if each.is_same:
        return [*row, "="]
    if each.difference is None:
        return [*row, "differs"]
    return [*row, ("+" if each.difference > 0 else "") + text.number(each.difference)]


def _sample(sample: Sample | None) -> tuple[str, str]:
    if sample is None:
        return "-", "-"
    if sample.mean is None:
        return str(sample.n), "no numbers"
    deviation = "" if sample.sd is None else f" ± {text.number(sample.sd)}"
    return str(sample.n), text.number(sample.mean) + deviation


def _show_artifacts(found: Comparison) -> None:
    rows = [
        [f"{each.step}/{each.name}", *map(str, (each.same, each.changed, each.removed, each.added))]
        for each in found.artifacts
    ]
    if rows:
        head = ["artifact (cells)", "same", "changed", "removed", "added"]
        say("\n" + text.table(head, rows, right=(1, 2, 3, 4)))


def _plain(found: Comparison) -> dict[str, Any]:
    return {**asdict(found), "is_same": found.is_same}
