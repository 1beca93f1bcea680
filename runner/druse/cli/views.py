"""`druse export`: a run's folder, or a part of it, in Crystallize's format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from druse.cli.bar import Bar
from druse.cli.options import find_run, json_option, open_for_reading, print_json, reading_option
from druse.cli.say import say

if TYPE_CHECKING:
    from druse.layout import Selection
    from druse.views import View
    from druse_store import Run

_ROOT = "data"


@click.command("export")
@click.argument("name", metavar="EXPERIMENT[/vN]|REMOTE:EXPERIMENT[@ID]")
@click.option("--to", "target", type=click.Path(path_type=Path), help="Below DIR (default: data).")
@click.option("--only", type=click.Choice(["metrics", "artifacts"]), help="Leave the others out.")
@click.option("--condition", "conditions", multiple=True, metavar="C", help="Only C (repeatable).")
@click.option(
    "--replicate",
    "replicates",
    multiple=True,
    type=click.IntRange(min=0),
    metavar="R",
    help="Only replicate R (repeatable).",
)
@json_option
@reading_option
def export_command(
    name: str,
    target: Path | None,
    only: str | None,
    conditions: tuple[str, ...],
    replicates: tuple[int, ...],
    as_json: bool,
    store: str | None,
) -> int:
    """Write the folder of a run (the latest one without a version) to data/EXPERIMENT/vN/; that of
    a run on a remote to data/EXPERIMENT/ID/.

    Parts of a run (--only, --condition, --replicate) go to a folder of their own: name it by --to.
    """
    from druse import layout, views
    from druse.cli import published

    selection = layout.Selection(
        metrics=only != "artifacts",
        artifacts=only != "metrics",
        conditions=frozenset(conditions) or None,
        replicates=frozenset(replicates) or None,
    )
    if target is None and (selection.is_part or only is not None):
        raise click.UsageError(
            f"a part of a run needs --to DIR: in {_ROOT}/ it would take the place of the whole one"
        )
    root = target if target is not None else Path(_ROOT)
    if published.is_published(name):
        with published.open_published(name, store) as found:
            _check(found.run, selection)
            found.fetch_artifacts()
            view = views.export_published(
                found.store, found.run, root, found.published.id, found.records, selection
            )
        return _say(found.published.name, view, as_json)
    with open_for_reading(store) as opened, Bar("exporting", quiet=as_json) as bar:
        run = find_run(opened, name)
        _check(run, selection)
        view = views.export(
            opened,
            run,
            root,
            versioned=True,
            selection=selection,
            remember=target is None,
            progress=bar.show,
        )
    return _say(run.name, view, as_json)


def _check(run: Run, selection: Selection) -> None:
    """Raises UsageError for conditions and replicates that the run does not have."""
    from druse import layout

    known = layout.conditions_of(run)
    for condition in sorted(selection.conditions or ()):
        if condition not in known:
            raise click.UsageError(
                f"{run.name} has no condition {condition!r} (it has: {', '.join(known)})"
            )
    count = layout.replicates_of(run)
    for replicate in sorted(selection.replicates or ()):
        if replicate >= count:
            raise click.UsageError(
                f"{run.name} has no replicate {replicate}: there are {count}, counted from 0"
            )


def _say(name: str, view: View, as_json: bool) -> int:
    if as_json:
        print_json({"run": name, "view": str(view.folder), "missing": view.missing})
    else:
        say(str(view.folder))
        for missing in view.missing:
            say(f"missing: {missing} (its bytes are gone)", err=True)
    return 1 if view.missing else 0
