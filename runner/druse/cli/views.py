"""`druse export`: a run's folder, in Crystallize's format."""

from __future__ import annotations

from pathlib import Path

import click

from druse.cli.options import find_run, json_option, open_for_reading, print_json, reading_option


@click.command("export")
@click.argument("name", metavar="EXPERIMENT[/vN]")
@click.option("--to", "target", type=click.Path(path_type=Path), help="Below DIR (default: data).")
@json_option
@reading_option
def export_command(name: str, target: Path | None, as_json: bool, store: str | None) -> int:
    """Write the folder of a run (the latest one without a version) to data/EXPERIMENT/vN/."""
    from druse import views

    root = target if target is not None else Path("data")
    with open_for_reading(store) as opened:
        run = find_run(opened, name)
        view = views.export(opened, run, root, versioned=True)
    if as_json:
        print_json({"run": run.name, "view": str(view.folder), "missing": view.missing})
    else:
        click.echo(str(view.folder))
        for missing in view.missing:
            click.echo(f"missing: {missing} (its bytes are gone)", err=True)
    return 1 if view.missing else 0
