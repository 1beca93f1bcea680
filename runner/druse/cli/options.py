"""Options that commands share, and opening the store that they name."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from druse.cli.say import say

if TYPE_CHECKING:
    from druse.exchange import Exchange
    from druse_store import Store

Command = TypeVar("Command", bound=Callable[..., Any])


def store_option(command: Command) -> Command:
    """`--store DIR`, behind the command as well as before it."""
    return click.option("--store", "store", metavar="DIR", help="The store to use.")(command)


def reading_option(command: Command) -> Command:
    """`--store DIR` and `--immutable`, for commands that only look."""
    immutable = click.option(
        "--immutable",
        is_flag=True,
        expose_value=False,
        callback=_note_immutable,
        help="The store is on a read-only mount, and nobody writes to it.",
    )
    return store_option(immutable(command))


def _note_immutable(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(dict)["immutable"] = True


def json_option(command: Command) -> Command:
    """`--json`: the answer as JSON on standard output."""
    return click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")(command)


def control_options(command: Command) -> Command:
    """What a run does otherwise about steps, as the keywords that `api.run` takes: `control`."""

    @functools.wraps(command)
    def with_control(
        *args: Any,
        force: tuple[str, ...],
        force_downstream: bool,
        cache: tuple[str, ...],
        no_cache: tuple[str, ...],
        check: bool,
        **kwargs: Any,
    ) -> Any:
        if kwargs.get("config") is None:
            kwargs["config"], no_cache = _config_among(no_cache)
        control = {
            "force": force,
            "force_downstream": force_downstream,
            "cache": {**dict.fromkeys(no_cache, False), **dict.fromkeys(cache, True)},
            "check": check,
        }
        return command(*args, control=control, **kwargs)

    options = (
        click.option("--force", multiple=True, metavar="STEP", help="Execute cells with STEP."),
        click.option(
            "--force-downstream", is_flag=True, help="With --force: all that comes after it, too."
        ),
        click.option("--cache", multiple=True, metavar="STEP", help="Keep STEP's results apart."),
        click.option(
            "--no-cache",
            multiple=True,
            metavar="[STEP]",
            is_flag=False,
            flag_value="*",
            help="Execute STEP (without one: every step) though its results are kept.",
        ),
        click.option("--check", is_flag=True, help="Find steps that change their input in place."),
    )
    made: Any = with_control
    for option in reversed(options):
        made = option(made)
    return cast("Command", made)


def _config_among(no_cache: tuple[str, ...]) -> tuple[Path, tuple[str, ...]]:
    """`--no-cache CONFIG` names no step where CONFIG is what there is to run."""
    if no_cache and Path(no_cache[-1]).exists():
        return Path(no_cache[-1]), (*no_cache[:-1], "*")
    raise click.UsageError("Missing argument 'CONFIG': name an experiment's folder or config.yaml")


def named_store(store: str | None) -> Path:
    """The store that the command line, the environment or the place names."""
    from druse import location

    context = click.get_current_context()
    root = context.find_root().obj or {}
    return location.store_path(store or root.get("store"))


def open_exchange(
    store: Store,
    remote: str | None,
    warn: Callable[[str], None],
    config: Path | None = None,
    *,
    claim: bool = False,
) -> AbstractContextManager[Exchange]:
    """What a run exchanges with a remote, if there is one; it is closed with the block."""
    from druse.exchange import Exchange
    from druse_store import RUN_TIMEOUTS, Tier

    limits = replace(RUN_TIMEOUTS, **remote_timeouts(config))
    tier = None if remote == "none" else Tier.open(store, remote, warn=warn, timeouts=limits)
    if claim and tier is None and remote in (None, "none"):
        raise click.UsageError("--claim needs a remote: `druse remote add NAME URL`, or --remote")
    return closing(Exchange(tier, claim=claim))


def named_remote(remote: str | None, start: Path | None = None) -> str | None:
    """The remote that the command line names, else druse.yaml; None: the first that was added."""
    from druse import project

    return remote or project.load(start or Path.cwd()).remote


def remote_timeouts(start: Path | None = None) -> Mapping[str, float]:
    """What druse.yaml says of how long a remote may take."""
    from druse import project

    return project.load(start or Path.cwd()).remote_timeouts


def open_for_reading(store: str | None) -> Store:
    """A store to look into."""
    from druse_store import Store

    immutable = bool((click.get_current_context().obj or {}).get("immutable"))
    return Store.open(named_store(store), create=False, read_only=True, immutable=immutable)


@contextmanager
def open_for_planning(store: str | None) -> Iterator[Store]:
    """A store to look into; an empty one, which leaves no trace, where there is none yet."""
    from druse_store import Store

    if (named_store(store) / "format").exists():
        with open_for_reading(store) as opened:
            yield opened
        return
    with tempfile.TemporaryDirectory(prefix="druse-plan-") as folder, Store.open(folder) as opened:
        yield opened


def print_json(value: Any) -> None:
    say(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def parse_run(text: str) -> tuple[str, int | None]:
    """`EXP` or `EXP/vN`. Raises UsageError."""
    experiment, slash, version = text.rpartition("/")
    if not slash:
        return text, None
    number = version[1:] if version.startswith("v") else version
    if not number.isdigit() or not experiment:
        raise click.UsageError(f"{text!r} names no run: write EXPERIMENT or EXPERIMENT/vN")
    return experiment, int(number)


def find_run(store: Store, text: str) -> Any:
    """The run that a name means, the latest without a version. Raises RunNotFound."""
    import difflib

    from druse.errors import RunNotFound

    experiment, version = parse_run(text)
    run = store.run(experiment, version)
    if run is not None:
        return run
    known = store.experiments()
    if experiment in known:
        versions = ", ".join(f"v{each.version}" for each in store.runs(experiment))
        raise RunNotFound(f"{experiment} has no run v{version} (it has: {versions})")
    near = difflib.get_close_matches(experiment, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "`druse ls` lists what there is"
    raise RunNotFound(f"no experiment {experiment!r} has runs in {store.path}; {hint}")
