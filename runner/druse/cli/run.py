"""`druse run`: runs a configuration, and says what came of it."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from druse.cli import text
from druse.cli.options import json_option, named_store, print_json, store_option
from druse.listener import Listener

if TYPE_CHECKING:
    from druse.exchange import Exchange
    from druse.experiment import Experiment
    from druse.graph import ExperimentGraph
    from druse.plan import Plan
    from druse.progress import Summary
    from druse.task import CellName
    from druse_store import Store


@click.command("run")
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--strategy",
    type=click.Choice(["resume", "rerun"]),
    default="resume",
    show_default=True,
    help="Take what the store has, or execute everything.",
)
@click.option("--replicates", type=click.IntRange(min=1), help="Instead of the configuration's.")
@click.option("--force", multiple=True, metavar="STEP", help="Execute cells with this step.")
@click.option(
    "--remote",
    metavar="NAME|URL",
    help="Where results are shared (else the first one that was added); `none`: work alone.",
)
@click.option("--claim", is_flag=True, help="Divide the cells with whoever runs the same command.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="Cells at once.")
@click.option(
    "--executor",
    metavar="NAME[:ADDRESS]",
    help="Where cells are executed, whatever plugins say: serial, thread, process, async, dask.",
)
@click.option("--timeout", type=float, metavar="SECONDS", help="For each cell.")
@click.option("--retries", type=click.IntRange(min=0), help="Try failed cells again so often.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
@json_option
@store_option
def run_command(
    config: Path,
    strategy: str,
    replicates: int | None,
    force: tuple[str, ...],
    remote: str | None,
    claim: bool,
    jobs: int | None,
    executor: str | None,
    timeout: float | None,
    retries: int | None,
    quiet: bool,
    as_json: bool,
    store: str | None,
) -> int:
    """Run the experiment of CONFIG (a config.yaml, its folder, or a folder of experiments) and all
    that it reads of others. Results that the store has already are taken from there."""
    from druse import api
    from druse.executors.spec import parse
    from druse.graph import ExperimentGraph
    from druse_store import Store

    spec = parse(executor, jobs) if executor or jobs else None
    graph = ExperimentGraph.from_yaml(config)
    for experiment in graph.experiments.values():
        _prepare(experiment)
    listener = _Lines(quiet=quiet, to_stderr=as_json)
    if claim and strategy != "resume":
        raise click.UsageError("--claim divides what is missing: it goes with --strategy resume")
    with (
        Store.open(named_store(store)) as opened,
        closing(_exchange(opened, remote, claim, listener)) as exchange,
    ):
        api.run(
            graph.wanted(replicates=replicates),
            strategy=strategy,
            store=opened,
            force=force,
            executor=spec,
            timeout=timeout,
            retries=retries,
            listener=listener,
            exchange=exchange,
        )
    if as_json:
        print_json(_outcome(graph, listener))
    return 1 if any(s.failed or s.blocked for s in listener.summaries) else 0


def _exchange(store: Store, remote: str | None, claim: bool, listener: Listener) -> Exchange:
    """What the run exchanges with the remote, if there is one."""
    from druse.exchange import Exchange
    from druse_store import Tier

    tier = None if remote == "none" else Tier.open(store, remote, warn=listener.warned)
    if claim and tier is None and remote in (None, "none"):
        raise click.UsageError("--claim needs a remote: `druse remote add NAME URL`, or --remote")
    return Exchange(tier, claim=claim)


def _prepare(experiment: Experiment) -> None:
    """The command's own defaults: every run has a folder of its own, and says little."""
    from druse.plugins import LoggingPlugin

    experiment.artifact_plugin.versioned = True
    logging_plugin = experiment.get_plugin(LoggingPlugin)
    if logging_plugin is not None:
        logging_plugin.log_level = "WARNING"


def _outcome(graph: ExperimentGraph, listener: _Lines) -> dict[str, Any]:
    return {
        "name": graph.name,
        "seconds": time.perf_counter() - listener.started_at,
        "experiments": [
            {
                "name": summary.name,
                "run_name": summary.run,
                "hit": summary.hit,
                "run": len(summary.executed),
                "failed": len(summary.failed),
                "blocked": len(summary.blocked),
                "executed": [[c.condition, c.replicate] for c in summary.executed],
                "failed_cells": [[c.condition, c.replicate] for c in summary.failed],
                "blocked_cells": [[c.condition, c.replicate] for c in summary.blocked],
                "seconds": summary.seconds,
                "view": str(summary.view.absolute()) if summary.view is not None else None,
                "metrics": summary.metrics,
            }
            for summary in listener.summaries
        ],
        "warnings": listener.warnings,
    }


class _Lines(Listener):
    """One line for each experiment, and a table of its metrics; progress on a terminal."""

    def __init__(self, *, quiet: bool, to_stderr: bool) -> None:
        self._quiet = quiet
        self._err = to_stderr
        self.started_at = time.perf_counter()
        self.summaries: list[Summary] = []
        self.warnings: list[str] = []
        self._due = 0
        self._done = 0
        self._is_live = not quiet and sys.stderr.isatty()
        self._shown = 0.0

    def planned(self, plan: Plan) -> None:
        from druse.plan import State

        decisions = plan.decisions.values()
        self._due = sum(1 for each in decisions if each.state is not State.HIT)

    def finished(self, cell: CellName, status: str) -> None:
        self._done += 1
        self._progress(cell)

    def hit(self, cell: CellName) -> None:
        self._done += 1
        self._progress(cell)

    def _progress(self, cell: CellName) -> None:
        now = time.monotonic()
        if self._is_live and now - self._shown > 0.1:
            self._shown = now
            line = f"{self._done}/{self._due} cells  {cell}"
            click.echo(f"\r\033[K{line[:100]}", err=True, nl=False)

    def _clear(self) -> None:
        if self._is_live:
            click.echo("\r\033[K", err=True, nl=False)

    def warned(self, text_: str) -> None:
        if text_ not in self.warnings:
            self.warnings.append(text_)
            if not self._quiet:
                self._clear()
                click.echo(f"warning: {text_}", err=True)

    def ended(self, summary: Summary) -> None:
        self.summaries.append(summary)
        if self._quiet:
            return
        self._clear()
        click.echo(_line(summary), err=self._err)
        table = text.metrics_table(summary.metrics)
        if table:
            indented = "\n".join(f"    {line}" for line in table.splitlines())
            click.echo(indented, err=self._err)
        for cell, why in summary.errors[:5]:
            click.echo(f"    {cell} failed: {why.rstrip()}", err=True)
        if len(summary.errors) > 5:
            click.echo(
                f"    … {len(summary.errors) - 5} more; `druse show {summary.name}` has all",
                err=True,
            )


def _line(summary: Summary) -> str:
    parts = [f"{summary.hit} hit", f"{len(summary.executed)} run"]
    if summary.failed:
        parts.append(f"{len(summary.failed)} failed")
    if summary.blocked:
        parts.append(f"{len(summary.blocked)} blocked")
    view = f"  {summary.view}" if summary.view is not None else ""
    return f"{summary.name}: {', '.join(parts)} ({text.seconds(summary.seconds)}){view}"
