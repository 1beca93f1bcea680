"""`druse push` and `druse pull`: results to a remote, and from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from druse.cli import text
from druse.cli.bar import Bar
from druse.cli.options import (
    json_option,
    named_remote,
    named_store,
    print_json,
    remote_timeouts,
    store_option,
)
from druse.cli.say import say

if TYPE_CHECKING:
    from druse_store import Fetched, Pushed, PushPlan, Transferred

_remote = click.option("--remote", metavar="NAME|URL", help="Else the first one that was added.")
_quiet = click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")


@click.command("push")
@click.argument("names", nargs=-1, metavar="[EXPERIMENT[/vN]]...")
@click.option("--all", "everything", is_flag=True, help="All records and runs.")
@_remote
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and send nothing.")
@_quiet
@json_option
@store_option
def push_command(
    names: tuple[str, ...],
    everything: bool,
    remote: str | None,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
    store: str | None,
) -> int:
    """Send runs, their records and bytes to a remote: the latest of every experiment, those that
    are named, or everything. What is there already is not sent again; an interrupted push goes on
    where it was."""
    from druse_store import Signer, Store, Timeouts, choose_runs, open_site, prepare_push

    signer = Signer.load()
    with (
        Bar("pushing", quiet=quiet or as_json) as bar,
        Store.open(named_store(store), create=False) as opened,
    ):
        site = open_site(opened, named_remote(remote), Timeouts(**remote_timeouts()))
        runs = choose_runs(opened, names)
        push = prepare_push(opened, site, signer, runs, everything=everything, show=_shown_by(bar))
        answer = _plan(push.plan()) if dry_run else _pushed(push.execute())
    answer["remote"] = site.name
    if as_json:
        print_json(answer)
    elif not quiet:
        _say_pushed(answer, dry_run)
    return 1 if answer.get("damaged") else 0


def _shown_by(bar: Bar) -> Callable[[Transferred], None]:
    return lambda moved: bar.show(moved.done, moved.total, moved.eta)


def _pushed(pushed: Pushed) -> dict[str, Any]:
    return {
        "records": pushed.records,
        "runs": pushed.runs,
        "chunks": pushed.chunks,
        "bytes": pushed.bytes,
        "damaged": [digest.hex() for digest in pushed.damaged],
    }


def _plan(plan: PushPlan) -> dict[str, Any]:
    return {
        "records": plan.records,
        "runs": len(plan.load.runs),
        "chunks": plan.chunks,
        "bytes": plan.bytes,
        "present": plan.present,
        "absent": len(plan.load.absent),
    }


def _say_pushed(answer: dict[str, Any], dry_run: bool) -> None:
    what = "would send at most" if dry_run else "sent"
    say(
        f"{what} {answer['runs']} runs, {answer['records']} records, {answer['chunks']} chunks "
        f"({text.size(answer['bytes'])}) to {answer['remote']}"
    )
    for digest in answer.get("damaged", ())[:5]:
        say(f"not sent, since it is damaged here: {digest}; `druse repair`", err=True)


@click.command("pull")
@click.argument("experiments", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="The bytes of artifacts, too, now.")
@_remote
@click.option("--dry-run", is_flag=True, help="Say what there is, and bring nothing.")
@_quiet
@json_option
@store_option
def pull_command(
    experiments: tuple[str, ...],
    everything: bool,
    remote: str | None,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
    store: str | None,
) -> None:
    """Bring what trusted keys published of EXPERIMENTS, or of all. Records come now; the bytes of
    their artifacts when they are needed, or with --all."""
    from druse_store import Store, Timeouts, Trust, open_site, published, pull

    trust = Trust()
    with (
        Bar("pulling", quiet=quiet or as_json) as bar,
        Store.open(named_store(store)) as opened,
    ):
        site = open_site(opened, named_remote(remote), Timeouts(**remote_timeouts()))
        if dry_run:
            names = experiments or (None,)
            found = [run for name in names for run in published(site, trust, name).runs]
            answer: dict[str, Any] = {"runs": [run.name for run in found], "refused": []}
        else:
            brought, fetched = pull(
                opened, site, trust, experiments, blobs=everything, show=_shown_by(bar)
            )
            answer = {
                "records": brought.records,
                "known": brought.known,
                "refused": brought.reasons(),
                **_fetched(fetched),
            }
    answer["remote"] = site.name
    if as_json:
        print_json(answer)
        return
    for reason in answer["refused"][:10]:
        say(f"not used: {reason}", err=True)
    if not quiet:
        _say_pulled(answer, dry_run)


def _fetched(fetched: Fetched | None) -> dict[str, Any]:
    if fetched is None:
        return {}
    return {"chunks": fetched.chunks, "bytes": fetched.bytes, "missing": len(fetched.missing)}


def _say_pulled(answer: dict[str, Any], dry_run: bool) -> None:
    if dry_run:
        for name in answer["runs"]:
            say(name)
        return
    say(f"{answer['records']} records from {answer['remote']} ({answer['known']} known already)")
    if "bytes" in answer:
        say(f"{answer['chunks']} chunks, {text.size(answer['bytes'])}")
        if answer["missing"]:
            say(f"{answer['missing']} blobs are not there: they are computed when needed")
