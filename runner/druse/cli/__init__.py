"""The command `druse`. Each command lives in a module that is imported when it is called.

Exit status: 0 done, 1 cells failed or damage found, 2 bad usage or configuration, 3 trouble with a
store, remote or cluster, 130 interrupted.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from druse.cli.say import say

_COMMANDS = {
    "accept": ("accept", "Take the latest results over for today's code and parameters."),
    "audit": ("audit", "Execute hits again; name steps that do not give the same."),
    "explain": ("explain", "Say why cells hit or miss."),
    "diff": ("diff", "Show what differs between two runs."),
    "du": ("du", "Say what takes the space."),
    "export": ("views", "Write a run's folder: data/EXPERIMENT/vN/."),
    "import": ("importing", "Take runs from folders that Crystallize wrote."),
    "plan": ("plan", "Show what a run would do, and why."),
    "pull": ("transfer", "Bring what others published on a remote."),
    "push": ("transfer", "Send results to a remote."),
    "remote": ("remote", "Add, list and test the places where results are shared."),
    "gc": ("collect", "Remove what nothing needs any more."),
    "pin": ("collect", "Keep a run, record or blob for good."),
    "pins": ("collect", "List what is pinned."),
    "repair": ("health", "Mend what is damaged; give up what cannot be mended."),
    "rm": ("collect", "Remove runs."),
    "stats": ("health", "Count what is in the store, and its bytes."),
    "trust": ("trust", "Your key, and whose results are believed."),
    "unpin": ("collect", "Take a pin away."),
    "verify": ("health", "Read everything again; say what is damaged."),
    "init": ("init", "Make a store, for yourself or for a group."),
    "ls": ("look", "List experiments and their runs."),
    "run": ("run", "Run experiments; take from the store what it has."),
    "show": ("look", "Show a run: metrics, cells, failures."),
}


class Commands(click.Group):
    """The commands by name, each imported when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = _COMMANDS.get(cmd_name)
        if found is None:
            return None
        module = import_module(f"druse.cli.{found[0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in sorted(_COMMANDS.items())])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)


def _version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        say(f"druse {version('druse')}")
        ctx.exit()


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--store", metavar="DIR", help="The store (else $DRUSE_STORE, else the nearest).")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version)
@click.pass_context
def druse(ctx: click.Context, store: str | None) -> None:
    """Run experiments, keep what they give, and find it again."""
    ctx.obj = {"store": store}


def main() -> NoReturn:
    """The entry point: runs a command, and turns what it raises into words and an exit status."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """The exit status of a command line."""
    try:
        result: Any = druse.main(arguments, prog_name="druse", standalone_mode=False)
    except click.exceptions.Abort as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # click's own way to say so
            say("interrupted; what had finished is kept", err=True)
        return 130
    except click.ClickException as error:
        error.show()
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except Exception as error:
        return _explain(error)
    return result if isinstance(result, int) else 0


def _explain(error: Exception) -> int:
    """Says what went wrong, without a traceback where it is no bug of ours."""
    from druse.errors import DruseError, ExecutorLost
    from druse_store import StoreError

    if isinstance(error, StoreError | ExecutorLost):
        say(f"Error: {error}", err=True)
        return 3
    if isinstance(error, DruseError):
        say(f"Error: {error}", err=True)
        return 2
    raise error
