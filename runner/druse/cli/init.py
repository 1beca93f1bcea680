"""`druse init`: a store, for oneself or for a group."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from druse.cli.options import json_option, named_store, print_json, store_option
from druse.cli.say import say

if TYPE_CHECKING:
    from druse_store import Store


@click.command("init")
@click.option("--group", metavar="GROUP", help="Share it with the users of this group.")
@json_option
@store_option
def init_command(group: str | None, as_json: bool, store: str | None) -> None:
    """Make a store: in ./.druse, unless --store or $DRUSE_STORE says otherwise.

    `druse run` makes one by itself. With --group, other users may work in it, too; each one's
    results are signed, and count for who trusts the key (`druse trust`).
    """
    from druse_store import Store

    path = named_store(store)
    if group is not None:
        with _for_group(path, group) as opened:
            found = {"store": str(opened.path), "id": opened.id, "group": group}
    else:
        with Store.open(path) as opened:
            found = {"store": str(opened.path), "id": opened.id}
    if as_json:
        print_json(found)
        return
    say(f"a store lies at {found['store']}")
    if group is not None:
        say("Each user needs a key (`druse trust init`), and adds those of the others")


def _for_group(path: Path, group: str) -> Store:
    """Makes the folder the group's before the store is made in it, so that all below is."""
    import grp
    import os

    from druse_store import Signer, Store, StoreError

    if path.exists():
        raise StoreError(f"{path} is there already; a store is made for a group when it is created")
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise click.UsageError(f"there is no group {group!r}; `groups` lists yours") from error
    Signer.create()
    try:
        path.mkdir(parents=True)
        os.chown(path, -1, gid)
        path.chmod(0o2770)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be made a folder of the group {group}: {error.strerror}. Are you in it?"
        ) from error
    return Store.open(path, shared=True)
