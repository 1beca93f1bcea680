"""The flags that stand for the rules of retention, for the commands that collect or foresee it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from druse.cli.say import say

if TYPE_CHECKING:
    from druse_store import Policy, Store

Command = TypeVar("Command", bound=Callable[..., Any])

_RULES = {
    "keep_last": "The newest complete runs that keep everything.",
    "keep_within": "Runs that ended within this time keep everything: 30d.",
    "keep_daily": "The newest run of each of the last days keeps everything.",
    "keep_weekly": "The newest run of each of the last weeks.",
    "keep_monthly": "The newest run of each of the last months.",
    "keep_metrics": "How long the others keep their metrics: 1y, forever.",
    "artifact_retention": "The newest runs that keep artifacts up to --big-file-threshold.",
    "big_file_threshold": "See --artifact-retention: 10MiB.",
    "max_size": "What the whole store may take: 50GB.",
}
_NUMBERS = ("keep_last", "keep_daily", "keep_weekly", "keep_monthly", "artifact_retention")


def rule_options(command: Command) -> Command:
    """A flag for each rule of retention; they come before what druse.yaml says."""
    for name, text_ in reversed(_RULES.items()):
        kind = int if name in _NUMBERS else str
        flag = "--" + name.replace("_", "-")
        command = click.option(flag, name, type=kind, metavar="N", help=text_)(command)
    return command


def policy_of(rules: dict[str, Any], store: Store) -> Policy:
    """What druse.yaml says, with the flags in its place; what runs noted for experiments about
    which neither says anything. Raises ConfigError, UsageError."""
    from dataclasses import replace

    from druse import project, retiring
    from druse_store import Policy, StoreError

    said = retiring.policy_of(project.load(Path.cwd()))
    fields = {}
    for name, value in rules.items():
        if value is not None:
            try:
                fields[name] = getattr(Policy.parse({name: value}), name)
            except StoreError as error:
                reason = str(error).partition(": ")[2]
                raise click.UsageError(f"--{name.replace('_', '-')}: {reason}") from error
    experiments = {
        name: replace(each, **{k: v for k, v in fields.items() if k != "max_size"})
        for name, each in said.experiments.items()
    }
    for name in sorted(set(experiments) - set(store.experiments())):
        say(f"druse.yaml: retention.experiments.{name}: it has no runs here", err=True)
    return retiring.with_noted(replace(said, **fields, experiments=experiments), store)
