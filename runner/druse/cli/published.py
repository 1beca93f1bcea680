"""Runs of others: what `ls --remote`, `show` and `export` say of `REMOTE:EXPERIMENT@ID`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from druse.cli import text
from druse.cli.options import named_store
from druse.cli.say import say

if TYPE_CHECKING:
    from druse_store import Digest, Listing, PublishedRun, Record, Run, Site, Store

_NAME = re.compile(r"(?P<remote>[^/:@]+):(?P<experiment>[^/@]+)(@(?P<id>[0-9a-fA-F]+))?")


@dataclass(frozen=True)
class Found:
    """A published run, with its records as its owner has them."""

    published: PublishedRun
    run: Run
    records: dict[Digest, Record]
    store: Store
    site: Site
    indexes: set[str]

    def fetch_artifacts(self) -> None:
        """Brings the bytes of its artifacts into the store."""
        from druse_store import fetch_blobs

        refs = [
            ref
            for record in self.records.values()
            for a in record.artifacts
            for ref in a.ref.blobs()
        ]
        fetch_blobs(self.store, self.site, refs, self.indexes)


def is_published(name: str) -> bool:
    """Whether a name is that of a run on a remote: REMOTE:EXPERIMENT[@ID]."""
    return _NAME.fullmatch(name) is not None


@contextmanager
def open_published(name: str, store: str | None) -> Iterator[Found]:
    """The run that a name means; the latest of the experiment without an id."""
    from druse_store import Store, Trust, find_published, open_site, published_records

    found = _NAME.fullmatch(name)
    if found is None:
        raise click.UsageError(f"{name!r} names no run on a remote: REMOTE:EXPERIMENT[@ID]")
    trust = Trust()
    with Store.open(named_store(store)) as opened:
        site = open_site(opened, found["remote"])
        run = find_published(site, trust, found["experiment"], found["id"] or "")
        records, indexes = published_records(opened, site, trust, run)
        yield Found(run, run.as_run(), records, opened, site, indexes)


def listed(store: str | None, remote: str, experiment: str | None) -> tuple[str, Listing]:
    """What lies on a remote, by trusted keys."""
    from druse_store import Store, Trust, open_site, published

    with Store.open(named_store(store)) as opened:
        site = open_site(opened, remote)
        return site.name, published(site, Trust(), experiment)


def plain(run: PublishedRun) -> dict[str, Any]:
    return {
        "name": run.name,
        "experiment": run.experiment,
        "id": run.id,
        "by": run.signer,
        "key": str(run.key),
        "user": run.body.info.get("user"),
        "host": run.body.info.get("host"),
        "version": run.body.version,
        "state": "complete" if run.body.complete else "incomplete",
        "cells": len(run.cells),
        "started": run.body.started / 1e9,
        "finished": run.body.finished / 1e9 or None,
    }


def table(listing: Listing) -> str:
    rows = [
        [
            run.name,
            "complete" if run.body.complete else "incomplete",
            str(len(run.cells)),
            text.moment(run.body.started),
            run.signer,
            str(run.body.info.get("host", "-")),
        ]
        for run in listing.runs
    ]
    return text.table(["run", "state", "cells", "when", "by", "host"], rows, right=(2,))


def say_unused(listing: Listing) -> None:
    """Why some of what lies there is not shown."""
    for reason in listing.refused[:5]:
        say(f"not shown: {reason}", err=True)
    for signer, count in listing.unknown.items():
        say(
            f"not shown: {count} objects by a key {signer}… that is not trusted here "
            "(`druse trust add NAME KEY`)",
            err=True,
        )
