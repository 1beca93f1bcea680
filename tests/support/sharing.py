"""Machines that share a remote: each its own user, key, memory and store."""

from __future__ import annotations

from pathlib import Path

from druse_store import ArtifactRef, Digest, Read, Record, Store, extend
from druse_store.remote import sharing
from druse_store.remote.push import Push
from druse_store.remote.sharing import Timeouts, add_remote, open_site
from druse_store.remote.site import Site
from druse_store.remote.tier import Tier
from druse_store.trust import Signer, Trust

BASE = Digest.of(b"the base signature of an experiment")
QUICK = Timeouts(request=20, patience=2, first=1, total=30)


class Machine:
    """One user on one machine. `enter` makes this process that user's."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.folder = folder
        self.monkeypatch = monkeypatch
        self.config = folder / "config" / "druse"
        self.config.mkdir(parents=True)
        self.signer = Signer.create(self.config)
        self.trust = Trust(self.config)
        self.warnings: list[str] = []
        self.store = Store.open(folder / "store")
        self.enter()

    def enter(self) -> Machine:
        self.monkeypatch.setenv("XDG_CONFIG_HOME", str(self.folder / "config"))
        self.monkeypatch.setenv("XDG_STATE_HOME", str(self.folder / "state"))
        return self

    def trusts(self, *others: Machine) -> Machine:
        for other in others:
            self.trust.add(other.folder.name, other.signer.public)
        return self

    def add_remote(self, url: str) -> None:
        self.enter()
        add_remote(self.store, "team", url)

    def site(self) -> Site:
        self.enter()
        return open_site(self.store, None, QUICK)

    def tier(self) -> Tier:
        self.enter()
        tier = Tier.open(self.store, warn=self.warnings.append, trust=self.trust, timeouts=QUICK)
        assert tier is not None
        return tier

    def push(self, *names: str, everything: bool = False) -> Push:
        site = self.site()
        runs = sharing.choose_runs(self.store, names)
        return sharing.prepare_push(self.store, site, self.signer, runs, everything=everything)

    # --- what it computes ----------------------------------------------------------------------

    def compute(self, number: int = 0, value=None, *, replicate: int = 0, **fields) -> Digest:
        """Stores the record of one cell, with an artifact."""
        ref = self.store.put_object(b"result %d" % number if value is None else value)
        return self.store.put_record(make_record(number, ref, replicate=replicate, **fields))

    def run(self, experiment: str = "exp", numbers=range(3), **info):
        writer = self.store.begin_run(experiment, info)
        for number in numbers:
            writer.add("base", number, self.compute(number), "run")
        return writer.finish(complete=True)

    def done(self, cells, _new):
        """Of cells whose leases are named by their signatures: those that it has a record of."""
        return {cell for cell in cells if self.store.record(cell.cell, 0) is not None}

    def has(self, number: int, replicate: int = 0) -> bool:
        """Whether it has a record of a cell: then it would not compute it."""
        return self.store.record(signature_of(number), replicate) is not None


def reads_of(number: int) -> tuple[Read, ...]:
    return (Read("ctx:n", Digest.of(b"%d" % number)),)


def signature_of(number: int) -> Digest:
    (read,) = reads_of(number)
    return extend(Digest.of(b"start"), read.key, read.value)


def make_record(number: int, ref, *, replicate: int = 0, base: Digest = BASE, **fields) -> Record:
    values = {
        "signature": signature_of(number),
        "replicate": replicate,
        "status": "ok",
        "base": base,
        "start": Digest.of(b"start"),
        "reads": reads_of(number),
        "metrics": {"n": number},
        "artifacts": () if ref is None else (ArtifactRef("a", 0, ref),),
        "output": None,
        "provenance": {},
        "manifest": None,
    }
    return Record(**(values | fields))
