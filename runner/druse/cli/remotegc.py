"""`druse gc --remote`: what nobody's runs need any more leaves a remote, in two phases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from druse.cli import text
from druse.cli.bar import Bar
from druse.cli.options import named_store, print_json
from druse.cli.say import say

if TYPE_CHECKING:
    from druse_store import RemoteGcPlan, Site

_SHOWN = 5


def collect(
    store: str | None,
    remote: str,
    grace: float,
    keep_last: int | None,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """One run of the collection; the exit status."""
    from druse_store import RemoteGc, Store, open_site

    with (
        Bar("copying", quiet=quiet or as_json) as bar,
        Store.open(named_store(store), create=False) as opened,
    ):
        site = open_site(opened, remote)
        gone = [] if keep_last is None else _take_back(site, keep_last, dry_run)
        gc = RemoteGc(site, grace=grace, show=lambda m: bar.show(m.done, m.total, m.eta))
        plan = gc.plan() if dry_run else gc.execute()
    if as_json:
        print_json({"remote": site.name, "taken_back": gone, **_described(plan)})
    elif not quiet:
        _say(site.name, plan, gone, dry_run)
    for note in plan.notes[:_SHOWN]:
        say(f"unreadable there: {note}", err=True)
    return 0


def _take_back(site: Site, keep_last: int, dry_run: bool) -> list[str]:
    """One's own runs there, but for the newest complete ones of each experiment."""
    from druse_store import Publisher, Signer, Trust, published

    signer = Signer.load()
    mine: dict[str, list[Any]] = {}
    for run in published(site, Trust()).runs:
        if run.key == signer.public:
            mine.setdefault(run.experiment, []).append(run)
    gone = []
    for experiment, runs in mine.items():
        complete = [run.id for run in runs if run.body.complete]
        kept = set(complete[-keep_last:]) if keep_last else set()
        newest = runs[-1].id  # an unfinished one may go on yet
        old = [run for run in runs if run.id not in kept and run.id != newest]
        gone += [run.name for run in old]
        if old and not dry_run:
            Publisher(site, signer).remove_runs(experiment, [run.id for run in old])
    return gone


def _described(plan: RemoteGcPlan) -> dict[str, Any]:
    return {
        "buried": sorted(plan.bury),
        "raised": sorted(plan.raise_up),
        "rewritten": sorted(plan.rewrite),
        "removed_packs": sorted(plan.remove_packs),
        "removed_bases": sorted(plan.remove_bases),
        "removed_objects": plan.remove_objects,
        "freed": plan.freed,
        "waiting": plan.waiting,
        "grace": plan.grace,
        "notes": plan.notes,
    }


def _say(name: str, plan: RemoteGcPlan, gone: list[str], dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    if gone:
        say(f"{len(gone)} of your runs {would}taken back: {', '.join(gone[:_SHOWN])}")
    if plan.is_empty() and not plan.waiting:
        say(f"nothing on {name} is to be removed")
        return
    say(f"{text.size(plan.freed)} {would}freed on {name} now")
    if plan.waiting:
        say(
            f"{text.size(plan.waiting)} leave with a later run, once {text.seconds(plan.grace)} "
            "have passed and nobody needs them"
        )
