"""`druse verify`, `druse repair` and `druse stats`: the state of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from druse.cli import text
from druse.cli.bar import Bar
from druse.cli.options import (
    json_option,
    named_store,
    open_for_reading,
    print_json,
    reading_option,
    store_option,
)
from druse.cli.say import say

if TYPE_CHECKING:
    from druse_store import Fetch, Finding, Progress, Repaired, Report, Store

_SHOWN = 20
_LABELS = {"blobs": "large blobs"}  # those of several chunks: any other is a chunk itself


@click.command("verify")
@click.option("--quick", is_flag=True, help="Look at the structure only, read no data.")
@click.option("--resume", is_flag=True, help="Go on where an interrupted verify was.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but findings.")
@json_option
@reading_option
def verify_command(quick: bool, resume: bool, quiet: bool, as_json: bool, store: str | None) -> int:
    """Read everything again, and say what is not what was stored. Changes nothing.

    Exit status 1 if something is damaged.
    """
    try:
        with Bar("verifying", quiet=quiet or as_json) as bar, open_for_reading(store) as opened:
            report = opened.verify(quick=quick, resume=resume, progress=lambda p: _show(bar, p))
    except KeyboardInterrupt:
        say("interrupted; `druse verify --resume` goes on from there", err=True)
        return 130
    if as_json:
        found = report._asdict()
        found["findings"] = [finding._asdict() for finding in report.findings]
        print_json({**found, "clean": report.clean})
    else:
        _print_findings(report.findings)
        if not quiet:
            state = "clean" if report.clean else "DAMAGED"
            say(f"{state}: {_looked_at(report, quick=quick)}")
        if not report.clean:
            say("`druse repair` mends what it can", err=True)
    return 0 if report.clean else 1


def _looked_at(report: Report, *, quick: bool) -> str:
    took = text.seconds(report.seconds)
    if quick:
        return f"the structure, in {took}; no data was read"
    counts = f"{report.packs} packs, {report.chunks} chunks, {report.blobs} large blobs"
    return f"{counts}, {text.size(report.bytes)} in {took}"


def _show(bar: Bar, progress: Progress) -> None:
    bar.show(progress.done, progress.total, progress.eta)


def _print_findings(findings: list[Finding]) -> None:
    for finding in findings[:_SHOWN]:
        say(f"{finding.kind} {finding.name}: {finding.what}")
    if len(findings) > _SHOWN:
        say(f"… and {len(findings) - _SHOWN} more; --json gives all")


@click.command("repair")
@click.option("--rebuild-index", is_flag=True, help="Make the index anew from the packs first.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but what was lost.")
@json_option
@store_option
def repair_command(rebuild_index: bool, quiet: bool, as_json: bool, store: str | None) -> int:
    """Mend what is damaged; give up what cannot be mended, so that it is computed again.

    Exit status 1 if something was lost.
    """
    from druse_store import Store
    from druse_store import rebuild_index as rebuild

    answer: dict[str, Any] = {}
    path = named_store(store)
    if rebuild_index:
        with Bar("rebuilding the index", quiet=quiet or as_json) as bar:
            rebuilt = rebuild(path, progress=bar.show)
        answer["rebuilt"] = {
            "packs": rebuilt.packs,
            "chunks": rebuilt.chunks,
            "blobs": rebuilt.blobs,
            "changes": rebuilt.changes,
            "damage": rebuilt.damage,
        }
        if not quiet and not as_json:
            say(
                f"a new index: {rebuilt.chunks} chunks in {rebuilt.packs} packs, "
                f"{rebuilt.changes} changes of the log"
            )
    with Bar("repairing", quiet=quiet or as_json) as bar, Store.open(path, create=False) as opened:
        repaired = opened.repair(fetch=_fetch(opened), progress=lambda p: _show(bar, p))
    if as_json:
        print_json({**answer, **_plain(repaired)})
    else:
        _print_repaired(repaired, quiet=quiet)
    return 0 if repaired.mended else 1


def _fetch(store: Store) -> Fetch | None:
    """Looks for lost chunks on the remotes of the store."""
    from druse_store import lost_chunks, open_site, remotes_of

    names = [known.name for known in remotes_of(store).all()]
    if not names:
        return None

    def failed(error: Exception) -> None:
        say(f"warning: {error}", err=True)

    return lost_chunks([open_site(store, name) for name in names], failed)


def _plain(repaired: Repaired) -> dict[str, Any]:
    return {
        "found": [finding._asdict() for finding in repaired.found],
        "healed": repaired.healed,
        "fetched": repaired.fetched,
        "lost": [digest.hex() for digest in repaired.lost],
        "retired": [digest.hex() for digest in repaired.retired],
        "pins": repaired.pins,
        "quarantined": [str(path) for path in repaired.quarantined],
        "log_rewritten": repaired.log_rewritten,
        "left": repaired.left,
        "mended": repaired.mended,
    }


def _print_repaired(repaired: Repaired, *, quiet: bool) -> None:
    _print_findings(repaired.found)
    for path in repaired.quarantined:
        say(f"quarantined: {path}")
    if repaired.lost:
        resting = "no current record rests on them"
        if repaired.retired:
            resting = (
                f"{len(repaired.retired)} records rest on them, whose cells are computed again by "
                "the next run"
            )
        say(f"lost: {len(repaired.lost)} blobs; {resting}")
    for name in repaired.pins:
        say(f"the pin {name} names something that was lost", err=True)
    for what in repaired.left:
        say(f"not repaired: {what}", err=True)
    if quiet:
        return
    if repaired.clean:
        say("nothing to repair")
    else:
        say(f"{repaired.healed} chunks healed, {repaired.fetched} fetched")


@click.command("stats")
@json_option
@reading_option
def stats_command(as_json: bool, store: str | None) -> None:
    """Count what is in the store, and the bytes that it takes."""
    with open_for_reading(store) as opened:
        stats = opened.stats()
        path, number = opened.path, opened.id
    found = stats._asdict()
    if as_json:
        print_json({"store": str(path), "id": number, **found})
        return
    say(f"{path} ({number[:12]})")
    rows = [
        [
            _LABELS.get(name, name.replace("_", " ")),
            text.size(value) if name.endswith("bytes") else str(value),
        ]
        for name, value in found.items()
    ]
    say(text.table(["", ""], rows, right=(1,)).lstrip("\n "))
