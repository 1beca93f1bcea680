"""`druse ls` and `druse show`: what the store knows of experiments and their runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from druse.cli import text
from druse.cli.options import find_run, json_option, open_for_reading, print_json, reading_option
from druse.cli.say import say

if TYPE_CHECKING:
    from druse_store import Digest, Record, Run, Store


def _state(run: Run) -> str:
    if not run.finished:
        return "unfinished"
    return "complete" if run.complete else "incomplete"


def _described(run: Run) -> dict[str, Any]:
    return {
        "experiment": run.experiment,
        "version": run.version,
        "state": _state(run),
        "cells": run.count,
        "conditions": run.info.get("conditions"),
        "replicates": run.info.get("replicates"),
        "started": run.started / 1e9,
        "finished": run.finished / 1e9 or None,
        "level": run.level,
        "user": run.info.get("user"),
        "host": run.info.get("host"),
    }


@click.command("ls")
@click.argument("experiment", required=False)
@click.option("--all", "every", is_flag=True, help="Every run, not only the latest of each.")
@click.option("--remote", metavar="NAME|URL", help="What others published there.")
@json_option
@reading_option
def ls_command(
    experiment: str | None, every: bool, remote: str | None, as_json: bool, store: str | None
) -> None:
    """List experiments with their latest run; the runs of one EXPERIMENT."""
    if remote is not None:
        _list_published(store, remote, experiment, as_json)
        return
    with open_for_reading(store) as opened:
        if experiment is not None:
            find_run(opened, experiment)
            runs = list(opened.runs(experiment))
        else:
            runs = list(opened.runs())
            if not every:
                runs = list({run.experiment: run for run in runs}.values())
    if as_json:
        print_json([_described(run) for run in runs])
        return
    if not runs:
        say("no runs yet; `druse run CONFIG` makes the first one")
        return
    rows = [_row(run) for run in runs]
    head = ["experiment", "run", "state", "cells", "conditions", "replicates", "when", "kept"]
    say(text.table(head, rows, right=(3, 5)))


def _list_published(store: str | None, remote: str, experiment: str | None, as_json: bool) -> None:
    from druse.cli import published

    name, listing = published.listed(store, remote, experiment)
    published.say_unused(listing)
    if as_json:
        print_json([published.plain(run) for run in listing.runs])
    elif not listing.runs:
        say(f"no runs by trusted keys on {name}; `druse push` publishes yours")
    else:
        say(published.table(listing))


def _row(run: Run) -> list[str]:
    conditions = run.info.get("conditions")
    return [
        run.experiment,
        f"v{run.version}",
        _state(run),
        str(run.count),
        str(len(conditions)) if isinstance(conditions, list) else "-",
        str(run.info.get("replicates", "-")),
        text.moment(run.started),
        run.level,
    ]


@click.command("show")
@click.argument("name", metavar="EXPERIMENT[/vN]|REMOTE:EXPERIMENT[@ID]")
@json_option
@reading_option
def show_command(name: str, as_json: bool, store: str | None) -> None:
    """Show a run (the latest one without a version): metrics, cells, what failed."""
    from druse.cli import published

    if published.is_published(name):
        with published.open_published(name, store) as found:
            run, shown, records = found.run, found.published.name, found.records
            more = published.plain(found.published)
        cells, gone = _ordered(run, records.get), frozenset[str]()
    else:
        with open_for_reading(store) as opened:
            run, more = find_run(opened, name), {}
            cells = _cells(opened, run)
            gone = _gone(opened, cells)
        shown = run.name
    metrics = _metrics(cells)
    if as_json:
        described = {**_described(run), **more}
        print_json(
            {
                **described,
                "metrics": metrics,
                "cells": [_plain(c) for c in cells],
                "gone": sorted(gone),
            }
        )
        return
    say(f"{shown}  {_state(run)}  {text.moment(run.started)}  {_origin(run)}")
    hows = Counter(how for _, _, how, _ in cells)
    say("cells: " + ", ".join(f"{count} {how}" for how, count in sorted(hows.items())))
    table = text.metrics_table(metrics)
    if table:
        say("\n" + table)
    _show_artifacts(cells, gone)
    _show_notes(cells)
    _show_unseen(run, cells)
    _show_failures(cells)


def _show_notes(cells: list[Cell]) -> None:
    """What was accepted, and what an audit found, each once."""
    noted: Counter[str] = Counter()
    for _, _, _, record in cells:
        provenance = record.provenance if record is not None else {}
        for name, tell in (("accepted", text.accepted), ("audit", text.audited)):
            known = provenance.get(name)
            if isinstance(known, dict):
                noted[tell(known)] += 1
    for sentence, count in noted.items():
        say(f"\n{count} {'cell' if count == 1 else 'cells'}: {sentence}")


def _show_unseen(run: Run, cells: list[Cell]) -> None:
    """What no key sees and cells used all the same: if that changes, they are hits nevertheless."""
    from druse.stored import step_names
    from druse.unseen import noted

    steps, counts = step_names(run), Counter[tuple[str, str]]()
    for _, _, _, record in cells:
        for place, sentence in noted(record) if record is not None else ():
            name = steps[place] if 0 <= place < len(steps) else "datasource"
            counts[name, sentence] += 1
    for (name, sentence), count in counts.items():
        which = "1 cell" if count == 1 else f"{count} cells"
        say(f"\n{which}: {name} {sentence}; no key sees what that gave")


Cell = tuple[str, int, str, "Record | None"]


def _cells(store: Store, run: Run) -> list[Cell]:
    with store.reading() as view:
        return _ordered(run, view.record_by_digest)


def _ordered(run: Run, record_of: Callable[[Digest], Record | None]) -> list[Cell]:
    order = run.info.get("conditions")
    places = {name: place for place, name in enumerate(order)} if isinstance(order, list) else {}
    found = [
        (cell.condition, cell.replicate, cell.how, record_of(cell.record)) for cell in run.cells
    ]
    return sorted(found, key=lambda cell: (places.get(cell[0], len(places)), cell[1]))


def _metrics(cells: list[Cell]) -> dict[str, dict[str, list[Any]]]:
    from druse.layout import merged

    by_condition: dict[str, list[Record]] = {}
    for condition, _, _, record in cells:
        if record is not None and record.status != "failed":
            by_condition.setdefault(condition, []).append(record)
    return {
        condition: merged([r.metrics for r in records])
        for condition, records in by_condition.items()
    }


def _plain(cell: Cell) -> dict[str, Any]:
    condition, replicate, how, record = cell
    found: dict[str, Any] = {"condition": condition, "replicate": replicate, "how": how}
    if record is not None:
        found["record"] = record.digest.hex()
        found["signature"] = record.signature.hex()
        found["metrics"] = dict(record.metrics)
        found["artifacts"] = {a.name: a.ref.root.digest.hex() for a in record.artifacts}
        found["provenance"] = dict(record.provenance)
    return found


def _origin(run: Run) -> str:
    user, host = run.info.get("user"), run.info.get("host")
    return f"by {user} on {host}" if user and host else ""


def _gone(store: Store, cells: list[Cell]) -> frozenset[str]:
    """The digests of artifacts that are not in the store any more: the records have the recipe."""
    found = set()
    with store.reading() as view:
        for *_, record in cells:
            missing = set(view.missing(record)) if record is not None else ()
            for artifact in record.artifacts if record is not None and missing else ():
                if any(blob.digest in missing for blob in artifact.ref.blobs()):
                    found.add(artifact.ref.root.digest.hex())
    return frozenset(found)


def _show_artifacts(cells: list[Cell], gone: frozenset[str]) -> None:
    sizes: dict[str, list[int]] = {}
    dropped: Counter[str] = Counter()
    for _, _, _, record in cells:
        for artifact in record.artifacts if record is not None else ():
            root = artifact.ref.root
            here = root.digest.hex() not in gone
            sizes.setdefault(artifact.name, []).append(root.size if here else 0)
            dropped[artifact.name] += not here
    if sizes:
        head = ["artifact", "cells", "bytes", *(["dropped"] if gone else [])]
        rows = [
            [n, str(len(s)), text.size(sum(s)), *([str(dropped[n])] if gone else [])]
            for n, s in sorted(sizes.items())
        ]
        say("\n" + text.table(head, rows, right=(1, 2, 3)))
    if gone:
        say("what was dropped is computed again where a cell needs it")


def _show_failures(cells: list[Cell]) -> None:
    for condition, replicate, how, record in cells:
        failure = record.provenance.get("failure") if record is not None else None
        if how == "failed" and isinstance(failure, dict):
            say(f"\nfailed: {condition}/{replicate} in {failure.get('step')}")
            say(str(failure.get("traceback", failure.get("message"))).rstrip())
