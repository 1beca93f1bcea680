"""`druse export`: a run's folder, in Crystallize's format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from druse.cli.options import find_run, json_option, open_for_reading, print_json, reading_option

if TYPE_CHECKING:
    from druse.views import View


@click.command("export")
@click.argument("name", metavar="EXPERIMENT[/vN]|REMOTE:EXPERIMENT[@ID]")
@click.option("--to", "target", type=click.Path(path_type=Path), help="Below DIR (default: data).")
@json_option
@reading_option
def export_command(name: str, target: Path | None, as_json: bool, store: str | None) -> int:
    """Write the folder of a run (the latest one without a version) to data/EXPERIMENT/vN/; that of
    a run on a remote to data/EXPERIMENT/ID/."""
    from druse import views
    from druse.cli import published

    root = target if target is not None else Path("data")
    if published.is_published(name):
        with published.open_published(name, store) as found:
            found.fetch_artifacts()
            view = views.export_published(
                found.store, found.run, root, found.published.id, found.records
            )
        return _say(found.published.name, view, as_json)
    with open_for_reading(store) as opened:
        run = find_run(opened, name)
        view = views.export(opened, run, root, versioned=True)
    return _say(run.name, view, as_json)


def _say(name: str, view: View, as_json: bool) -> int:
    if as_json:
        print_json({"run": name, "view": str(view.folder), "missing": view.missing})
    else:
        click.echo(str(view.folder))
        for missing in view.missing:
            click.echo(f"missing: {missing} (its bytes are gone)", err=True)
    return 1 if view.missing else 0
