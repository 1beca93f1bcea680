"""`druse trust`: one's own key, and whose results are believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from druse.cli import text
from druse.cli.options import json_option, named_store, print_json, store_option
from druse.cli.say import say

if TYPE_CHECKING:
    from druse_store import Resting

_SHOWN = 10


@click.group("trust")
def trust_command() -> None:
    """Whose results are believed: keys by name. Yours signs what you publish."""


@trust_command.command("init")
@json_option
def init_command(as_json: bool) -> None:
    """Make your key, unless you have one; print its public half, for others to trust."""
    from druse_store import Signer, Trust

    key = Signer.create().public
    if as_json:
        print_json({"key": str(key), "folder": str(Trust().folder)})
        return
    say(f"Your key lies in {Trust().folder}. Others trust it by `druse trust add NAME KEY`:")
    say(str(key))


@trust_command.command("show")
@click.argument("name", required=False)
@json_option
def show_command(name: str | None, as_json: bool) -> None:
    """Print your public key, or the one that is trusted under NAME, on a line of its own."""
    from druse_store import Signer, Trust, TrustError

    if name is None:
        key = Signer.load().public
    else:
        known = Trust().names()
        if name not in known:
            there = ", ".join(known) or "nobody yet"
            raise TrustError(f"no key is trusted under the name {name!r} (there are: {there})")
        key = known[name]
    if as_json:
        print_json({"name": name or "you", "key": str(key)})
    else:
        say(str(key))


@trust_command.command("add")
@click.argument("name")
@click.argument("key")
def add_command(name: str, key: str) -> None:
    """Believe what KEY signs. Ask its owner for the line that `druse trust show` prints there."""
    from druse_store import PublicKey, Trust

    parsed = PublicKey.parse(key)
    Trust().add(name, parsed)
    say(f"trusted as {name}: {parsed}")


@trust_command.command("rm")
@click.argument("name")
@json_option
@store_option
def rm_command(name: str, as_json: bool, store: str | None) -> None:
    """Believe a key no longer: name what rests on it in the store, and use that no more."""
    from druse_store import Resting, Store, StoreNotFound, Trust, enforce_trust, resting_on

    trust = Trust()
    key = trust.remove(name)
    resting = Resting()
    try:
        with Store.open(named_store(store), create=False) as opened:
            resting = resting_on(opened, key)
            enforce_trust(opened, trust)
    except StoreNotFound:
        pass  # a key can be removed anywhere; other stores notice when they are next used
    if as_json:
        print_json({"name": name, "key": str(key), **_plain(resting)})
    else:
        say(f"not trusted any more: {name} ({key})")
        _print_resting(resting)


def _plain(resting: Resting) -> dict[str, Any]:
    return {
        "records": [record.digest.hex() for record in resting.records],
        "downstream": [record.digest.hex() for record in resting.downstream],
        "runs": [str(run) for run in resting.runs],
    }


def _print_resting(resting: Resting) -> None:
    if not resting.records:
        say("nothing in this store rests on it")
        return
    say(f"{len(resting.records)} records that it signed are not used any more")
    if resting.downstream:
        say(f"{len(resting.downstream)} results were computed from them here:")
        for record in resting.downstream[:_SHOWN]:
            say(f"  record {record.digest.short} (replicate {record.replicate})")
        if len(resting.downstream) > _SHOWN:
            say(f"  … and {len(resting.downstream) - _SHOWN} more; --json gives all")
    if resting.runs:
        say("runs that have some of these: " + ", ".join(map(str, resting.runs)))


@trust_command.command("ls")
@json_option
def ls_command(as_json: bool) -> None:
    """List the keys that are trusted."""
    from druse_store import Trust

    trust = Trust()
    found = trust.names()
    own = trust.own()
    if as_json:
        mine = {"you": str(own)} if own is not None else {}
        print_json({**mine, **{name: str(key) for name, key in found.items()}})
        return
    rows = [["you", str(own)]] if own is not None else []
    rows += [[name, str(key)] for name, key in found.items()]
    say(text.table(["name", "key"], rows) if rows else "no keys yet; `druse trust init`")


@trust_command.command("policy")
@click.argument("remote")
@click.argument("policy", type=click.Choice(["signed", "any"]))
@store_option
def policy_command(remote: str, policy: str, store: str | None) -> None:
    """Say whose records count on a REMOTE: those of trusted keys, or anybody's (metrics only)."""
    from druse_store import Store, Trust, enforce_trust, remotes_of

    trust = Trust()
    with Store.open(named_store(store), create=False) as opened:
        known = remotes_of(opened).get(remote)
        trust.set_policy(known.id.hex(), "any" if policy == "any" else "signed")
        enforce_trust(opened, trust)
    say(f"{known.name}: {policy}")
