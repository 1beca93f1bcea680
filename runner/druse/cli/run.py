"""`druse run`: runs a configuration, and says what came of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from druse.cli import text
from druse.cli.options import (
    control_options,
    json_option,
    named_remote,
    named_store,
    open_exchange,
    print_json,
    store_option,
)
from druse.cli.say import say
from druse.display import Display
from druse.listener import Listener

if TYPE_CHECKING:
    from druse.experiment import Experiment
    from druse.graph import ExperimentGraph
    from druse.plan import Plan
    from druse.progress import Summary
    from druse.task import CellName
    from druse_store import Store


@click.command("run")
@click.argument("config", type=click.Path(path_type=Path), required=False)
@click.option(
    "--strategy",
    type=click.Choice(["resume", "rerun"]),
    default="resume",
    show_default=True,
    help="Take what the store has, or execute everything.",
)
@click.option("--replicates", type=click.IntRange(min=1), help="Instead of the configuration's.")
@control_options
@click.option("-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="Cells at once.")
@click.option(
    "--executor",
    metavar="NAME[:ADDRESS]",
    help="Where cells are executed, whatever plugins say: serial, thread, process, async, dask.",
)
@click.option("--timeout", type=float, metavar="SECONDS", help="For each cell.")
@click.option("--retries", type=click.IntRange(min=0), help="Try failed cells again so often.")
@click.option(
    "--remote",
    metavar="NAME|URL",
    help="Where results are shared (else the first one that was added); `none`: work alone.",
)
@click.option("--claim", is_flag=True, help="Divide the cells with whoever runs the same command.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
@json_option
@store_option
def run_command(
    config: Path,
    strategy: str,
    replicates: int | None,
    control: dict[str, Any],
    jobs: int | None,
    executor: str | None,
    timeout: float | None,
    retries: int | None,
    remote: str | None,
    claim: bool,
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
    try:
        with (
            Store.open(named_store(store)) as opened,
            open_exchange(
                opened, named_remote(remote, config), listener.warned, config, claim=claim
            ) as exchange,
        ):
            api.run(
                graph.wanted(replicates=replicates),
                strategy=strategy,
                store=opened,
                executor=spec,
                timeout=timeout,
                retries=retries,
                listener=listener,
                exchange=exchange,
                **control,
            )
            _warn_of_strangers(opened, listener)
    except KeyboardInterrupt:
        return _interrupted(listener)
    finally:
        listener.clear()
    if as_json:
        print_json(_outcome(graph, listener))
    return 1 if any(s.failed or s.blocked for s in listener.summaries) else 0


def _interrupted(listener: _Lines) -> int:
    """Says what became of the run; returns the exit status."""
    listener.clear()
    say(
        f"interrupted; {listener.done} cells had finished and are kept: the same command goes on "
        "from there",
        err=True,
    )
    return 130


def _warn_of_strangers(store: Store, listener: Listener) -> None:
    """In a store that a group shares: whose records were passed over."""
    for signer, count in store.strangers().items():
        listener.warned(
            f"{count} records in this store were passed over: the key {signer}… that signed them "
            "is not trusted (`druse trust add NAME KEY`)"
        )


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
    """One line for each experiment, and a table of its metrics; progress meanwhile."""

    shows_progress = True

    def __init__(self, *, quiet: bool, to_stderr: bool) -> None:
        self._quiet = quiet
        self._err = to_stderr
        self._display = None if quiet else Display()
        self.started_at = time.perf_counter()
        self.summaries: list[Summary] = []
        self.warnings: list[str] = []
        self.done = 0

    def planned(self, plan: Plan) -> None:
        if self._display is not None:
            self._display.planned(plan)

    def started(self, cell: CellName) -> None:
        if self._display is not None:
            self._display.started(cell)

    def put_back(self, cell: CellName) -> None:
        if self._display is not None:
            self._display.put_back(cell)

    def finished(self, cell: CellName, status: str) -> None:
        self.done += 1
        if self._display is not None:
            self._display.finished(cell, status)

    def retried(self, cell: CellName, why: str) -> None:
        self._say(f"{cell} failed, and is tried again: {why}")

    def hit(self, cell: CellName) -> None:
        if self._display is not None:
            self._display.hit(cell)

    def _say(self, text_: str) -> None:
        if not self._quiet:
            self.clear()
            say(text_, err=True)

    def clear(self) -> None:
        """Takes the progress away, to make room for other text."""
        if self._display is not None:
            self._display.clear()

    def warned(self, text_: str) -> None:
        if text_ not in self.warnings:
            self.warnings.append(text_)
            self._say(f"warning: {text_}")

    def ended(self, summary: Summary) -> None:
        self.summaries.append(summary)
        if self._quiet or self._display is None:
            return
        self._display.ended(summary)
        self.clear()
        say(_line(summary), err=self._err)
        table = text.metrics_table(summary.metrics)
        if table:
            indented = "\n".join(f"    {line}" for line in table.splitlines())
            say(indented, err=self._err)
        for cell, why in summary.errors[:5]:
            say(f"    {cell} failed: {why.rstrip()}", err=True)
        if len(summary.errors) > 5:
            say(
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
