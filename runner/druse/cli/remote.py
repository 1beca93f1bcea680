"""`druse remote`: the places through which results are shared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from druse.cli import text
from druse.cli.options import json_option, named_store, open_for_reading, print_json, store_option
from druse.cli.say import say

if TYPE_CHECKING:
    from druse_store import KnownRemote, Probed

_POLICIES = click.Choice(["signed", "any"])


@click.group("remote")
def remote_command() -> None:
    """Add, list, test and forget remotes: the places through which results are shared."""


@remote_command.command("add")
@click.argument("name")
@click.argument("url")
@click.option(
    "--trust",
    "policy",
    type=_POLICIES,
    default="signed",
    show_default=True,
    help="Whose records count: those of trusted keys, or anybody's (metrics only).",
)
@json_option
@store_option
def add_command(name: str, url: str, policy: str, as_json: bool, store: str | None) -> None:
    """Add a remote: s3://bucket/path, gs://, az://, file:///folder (or a path), ssh://host/path,
    https:// (to read from). An empty place becomes a remote. The first one is the default."""
    from druse_store import KeyMissing, Signer, Store, Trust, add_remote

    with Store.open(named_store(store)) as opened:
        known = add_remote(opened, name, url)
    trust = Trust()
    trust.set_policy(known.id.hex(), "any" if policy == "any" else "signed")
    try:
        has_key = bool(Signer.load())
    except KeyMissing:
        has_key = False
    if as_json:
        print_json({**_described(known), "has_key": has_key})
        return
    say(f"added {known.name}: {known.url}")
    for weakness in _weaknesses(known):
        say(f"  {weakness}")
    if not has_key and known.capabilities.writes:
        say("To publish there you need a key: `druse trust init` makes one")


def _weaknesses(known: KnownRemote) -> list[str]:
    found = []
    if not known.capabilities.writes:
        found.append("it can only be read")
    elif not (known.capabilities.create and known.capabilities.one_winner):
        found.append("its server lets two create the same object, so --claim may compute twice")
    return found


@remote_command.command("rm")
@click.argument("name")
@store_option
def rm_command(name: str, store: str | None) -> None:
    """Forget a remote. What lies there stays."""
    from druse_store import Store, remotes_of

    with Store.open(named_store(store), create=False) as opened:
        known = remotes_of(opened).remove(name)
    say(f"forgotten: {known.name} ({known.url})")


@remote_command.command("ls")
@json_option
@store_option
def ls_command(as_json: bool, store: str | None) -> None:
    """List the remotes of the store; the first one is the default."""
    from druse_store import remotes_of

    with open_for_reading(store) as opened:
        found = remotes_of(opened).all()
    if as_json:
        print_json([_described(known) for known in found])
    elif not found:
        say("no remotes yet; `druse remote add NAME URL` adds one")
    else:
        rows = [[known.name, known.url, _policy(known)] for known in found]
        say(text.table(["name", "address", "trust"], rows))


@remote_command.command("show")
@click.argument("name")
@json_option
@store_option
def show_command(name: str, as_json: bool, store: str | None) -> None:
    """Show what is known of a remote, without asking it."""
    from druse_store import remotes_of

    with open_for_reading(store) as opened:
        known = remotes_of(opened).get(name)
    described = _described(known)
    if as_json:
        print_json(described)
        return
    for key, value in described.items():
        say(f"{key.replace('_', ' ')}: {value}")


@remote_command.command("test")
@click.argument("url", metavar="NAME|URL")
@json_option
@store_option
def test_command(url: str, as_json: bool, store: str | None) -> int:
    """Ask a server what it can do. Writes into a folder `probe/` there, and removes it again.

    Exit status 3 if it cannot be used.
    """
    from druse_store import StoreNotFound, probe_url, remotes_of

    try:
        with open_for_reading(store) as opened:
            known = remotes_of(opened).find(url)
    except StoreNotFound:
        known = None
    found = probe_url(known.url if known is not None else url)
    if as_json:
        print_json(_probed(found))
    else:
        for check in found.checks:
            mark = "ok  " if check.passed else "FAIL" if check.must else "no  "
            say(f"{mark} {check.name}" + (f" ({check.said})" if check.said else ""))
        say("usable" if found.usable else "NOT usable")
    return 0 if found.usable else 3


def _probed(found: Probed) -> dict[str, Any]:
    return {
        "usable": found.usable,
        "capabilities": found.capabilities.to_dict(),
        "checks": [
            {"name": c.name, "passed": c.passed, "must": c.must, "said": c.said}
            for c in found.checks
        ],
    }


def _described(known: KnownRemote) -> dict[str, Any]:
    return {
        "name": known.name,
        "url": known.url,
        "id": known.id.hex(),
        "trust": _policy(known),
        **known.capabilities.to_dict(),
    }


def _policy(known: KnownRemote) -> str:
    from druse_store import Trust

    return Trust().policy(known.id.hex())
