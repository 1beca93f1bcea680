"""`druse gc`, `rm`, `pin`, `unpin` and `pins`: what is kept, and what goes."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

from druse.cli import text
from druse.cli.bar import Bar
from druse.cli.options import (
    find_run,
    json_option,
    named_store,
    open_for_reading,
    parse_run,
    print_json,
    reading_option,
    store_option,
)
from druse.cli.rules import policy_of, rule_options
from druse.cli.say import say

if TYPE_CHECKING:
    from druse_store import GcProgress, GcReport, Policy, Run, Store


class _Phases:
    """A bar for each phase of a collection."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._phase = ""
        self._bar: Bar | None = None

    def show(self, progress: GcProgress) -> None:
        if progress.phase != self._phase:
            self._close()
            self._phase = progress.phase
            self._bar = Bar(progress.phase, unit="", quiet=self._quiet)
        assert self._bar is not None
        self._bar.show(progress.done, progress.total, progress.eta)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()


# --- gc ----------------------------------------------------------------------------------------


@click.command("gc")
@click.option("--dry-run", is_flag=True, help="Say what would happen, to the byte; change nothing.")
@click.option("--grace", metavar="TIME", help="What is younger stays; else 1h, on a remote 7d.")
@click.option("--remote", metavar="NAME|URL", help="Collect there, what nobody's runs need.")
@click.option("--now", is_flag=True, help="Without grace; nobody else may have the store open.")
@click.option("--undo", is_flag=True, help="Bring back what was removed within the grace.")
@click.option(
    "--views",
    type=click.Path(path_type=Path),
    default="data",
    show_default=True,
    help="Where runs were exported to: artifacts that are dropped leave there, too.",
)
@rule_options
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but problems.")
@json_option
@store_option
def gc_command(
    dry_run: bool,
    grace: str | None,
    remote: str | None,
    now: bool,
    undo: bool,
    views: Path,
    quiet: bool,
    as_json: bool,
    store: str | None,
    **rules: Any,
) -> int:
    """Remove what no run, pin or cached step needs, by the rules of druse.yaml (`retention:`) and
    of the flags. Beside others; what becomes garbage now leaves when the grace is over.

    On a remote only --keep-last counts, for your own runs there; what others published stays.

    Exit status 1 if something kept it from removing all that it could.
    """
    from druse_store import Store

    given = _given(grace=grace, now=now, undo=undo, dry_run=dry_run, **rules)
    _refuse_together(given)
    if remote is not None:
        from druse.cli import remotegc

        _refuse("--remote", given - {"grace", "dry_run", "keep_last"})
        seconds = _duration(grace or "7d")
        return remotegc.collect(store, remote, seconds, rules["keep_last"], dry_run, quiet, as_json)
    grace = grace or "1h"
    with Store.open(named_store(store), create=False) as opened:
        if undo:
            return _undo(opened, None, as_json)
        policy, seconds = policy_of(rules, opened), 0.0 if now else _duration(grace)
        with _Phases(quiet=quiet or as_json) as phases:
            plan = opened.plan_gc(policy, grace=seconds, progress=phases.show)
            if dry_run:
                report = plan.report()
            else:
                _prune_views(opened, plan.levels, policy, views)
                report = opened.gc(policy, grace=seconds, alone=now, progress=phases.show)
    if as_json:
        print_json(_described(report))
    elif not quiet:
        _print_report(report)
        lost = [share for share in report.by_run if share.experiment is not None]
        if lost and not now and not report.freed + report.later:
            say(f"what is younger than the grace of {grace}, or than a running job, stays for now")
    for problem in report.problems:
        say(problem, err=True)
    return 1 if report.problems else 0


def _given(**options: Any) -> set[str]:
    return {name for name, value in options.items() if value not in (None, False)}


def _refuse_together(given: set[str]) -> None:
    """Raises UsageError for options that contradict each other."""
    if "undo" in given:
        _refuse("--undo", given - {"undo"})
    if "now" in given:
        _refuse("--now", given & {"grace"})


def _refuse(option: str, others: set[str]) -> None:
    if others:
        what = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(others))
        raise click.UsageError(f"{what} cannot be combined with {option}")


def _duration(value: str) -> float:
    from druse_store import StoreError
    from druse_store.policy import duration

    try:
        return duration(value)
    except (ValueError, StoreError) as error:
        raise click.UsageError(f"--grace: {error}, not {value!r}") from error


def _prune_views(store: Store, levels: list[Any], policy: Policy, root: Path) -> None:
    from druse import pruning

    for change in levels:
        threshold = policy.of(change.experiment).big_file_threshold
        pruning.prune(store, change, root, threshold)


def _described(report: GcReport) -> dict[str, Any]:
    from dataclasses import asdict

    found = asdict(report)
    for name in ("swept", "waiting"):
        found[name] = getattr(report, name)._asdict()
    found["by_run"] = [share._asdict() for share in report.by_run]
    return found


def _print_report(report: GcReport) -> None:
    shares = [share for share in report.by_run if share.experiment is not None]
    rows = [
        [
            f"{share.experiment}/v{share.version}",
            f"{share.old} → {share.new}" if share.old != share.new else share.new,
            text.size(share.freed),
            text.size(share.later),
            str(share.blobs or "-"),
        ]
        for share in shares
    ]
    rest = next((share for share in report.by_run if share.experiment is None), None)
    if rest is not None and (rest.freed or rest.later):
        rows.append(["(of no run)", "", text.signed(rest.freed), text.size(rest.later), "-"])
    if rows:
        head = ["run", "keeps", "frees", "later", "to recompute"]
        say(text.table(head, rows, right=(2, 3, 4)))
    verb = "would free" if report.dry_run else "freed"
    waits = ""
    if report.later:
        waits = f"; {text.size(report.later)} leave after the grace (`druse gc --undo` until then)"
    evicted = (
        f"; for the limit, {_count(report.evicted, 'cell')} without artifacts"
        if report.evicted
        else ""
    )
    left = (
        f"; {text.size(report.left)} of garbage stay in packs until a fifth of one is waste"
        if report.left > report.freed
        else ""
    )
    say(f"{verb} {text.signed(report.freed)}{waits}{evicted}{left}")


def _undo(store: Store, runs: list[Any] | None, as_json: bool) -> int:
    undone = store.undo(runs)
    if as_json:
        names = {"runs": undone.runs, "levels": undone.levels}
        found: dict[str, Any] = {key: [str(run) for run in value] for key, value in names.items()}
        print_json({**found, "records": undone.records, "chunks": undone.chunks})
        return 0
    for run in undone.runs:
        say(f"{run} is back")
    for run in undone.levels:
        now = store.run(*run)
        if now is not None:
            level = "whole" if now.level == "full" else now.level
            say(f"{run} is {level} again")
    if undone.levels:
        say("`druse export` writes the artifacts of their folders again")
    if not undone.runs and not undone.levels:
        say(f"{undone.records} records and {undone.chunks} chunks are back")
    return 0


# --- rm ----------------------------------------------------------------------------------------


@click.command("rm")
@click.argument("names", nargs=-1, required=True, metavar="EXPERIMENT[/vN]...")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed.")
@click.option("--undo", is_flag=True, help="Bring these runs back.")
@json_option
@store_option
def rm_command(
    names: tuple[str, ...], yes: bool, dry_run: bool, undo: bool, as_json: bool, store: str | None
) -> int:
    """Remove runs, all of an experiment without a version. `--undo` brings them back until the next
    `druse gc` behind the grace; the bytes leave with it."""
    from druse_store import RunName, Store

    with Store.open(named_store(store), create=False) as opened:
        if undo:
            return _undo(opened, [RunName(*_version(name)) for name in names], as_json)
        runs = list({run.name: run for name in names for run in _runs(opened, name)}.values())
        _refuse_pinned(opened, runs)
        if not as_json:
            for run in runs:
                say(f"{run.name}: {_count(run.count, 'cell')}, {run.level}")
        if not dry_run:
            if not yes and not _agrees(f"Remove {_count(len(runs), 'run')}?"):
                say("nothing was removed", err=True)
                return 1
            for run in runs:
                opened.remove_run(run.experiment, run.version)
    if as_json:
        print_json({"removed": [] if dry_run else [run.name for run in runs]})
    elif not dry_run:
        say(
            "removed; `druse rm --undo` brings back, `druse gc` frees the space, exported folders "
            "stay"
        )
    return 0


def _agrees(question: str) -> bool:
    """What a person says. Raises UsageError where there is none."""
    try:
        return click.confirm(question, err=True)
    except click.Abort as error:
        if isinstance(error.__context__, EOFError):
            say("", err=True)
            raise click.UsageError("nobody answers, so nothing was removed: say --yes") from error
        raise


def _version(name: str) -> tuple[str, int]:
    experiment, version = parse_run(name)
    if version is None:
        raise click.UsageError(f"say which run is to come back: {experiment}/vN")
    return experiment, version


def _runs(store: Store, name: str) -> list[Run]:
    """One run, or all of an experiment. Raises RunNotFound."""
    run: Run = find_run(store, name)
    return [run] if parse_run(name)[1] is not None else list(store.runs(run.experiment))


def _refuse_pinned(store: Store, runs: list[Run]) -> None:
    wanted = {(run.experiment, run.version) for run in runs}
    for pin, target in store.pins().items():
        if target in wanted:
            raise click.UsageError(f"{target} is pinned as {pin!r}: `druse unpin {pin}` first")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


# --- pins --------------------------------------------------------------------------------------


@click.command("pin")
@click.argument("name")
@click.argument("target", metavar="EXPERIMENT[/vN]|DIGEST")
@store_option
def pin_command(name: str, target: str, store: str | None) -> None:
    """Keep a run (the latest without a version), a record or a blob for good, under a NAME."""
    from druse.errors import RunNotFound
    from druse_store import Store, StoreError

    with Store.open(named_store(store), create=False) as opened:
        before = opened.pins().get(name)
        try:
            opened.pin(name, find_run(opened, target))
        except RunNotFound as error:
            try:
                digest = opened.resolve(target)
            except StoreError:
                raise error from None
            opened.pin(name, digest)
        kept = opened.pins()[name]
    say(f"{name}: {kept}" + ("" if before in (None, kept) else f" (before: {before})"))


@click.command("unpin")
@click.argument("name")
@store_option
def unpin_command(name: str, store: str | None) -> None:
    """Take a pin away; what it kept is kept no more than anything else."""
    from druse_store import Store

    with Store.open(named_store(store), create=False) as opened:
        opened.unpin(name)


@click.command("pins")
@json_option
@reading_option
def pins_command(as_json: bool, store: str | None) -> None:
    """List what is pinned."""
    with open_for_reading(store) as opened:
        pins = {name: str(target) for name, target in opened.pins().items()}
    if as_json:
        print_json(pins)
    elif pins:
        say(text.table(["pin", "keeps"], [list(item) for item in pins.items()]))
    else:
        say("nothing is pinned; `druse pin NAME EXPERIMENT/vN` does it", err=True)
