"""Runs of others: who published what, when and where from; with their records and blobs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from druse_store.digest import Digest
from druse_store.errors import AmbiguousPrefix, ClaimRefused, InvalidInput, RunNotFound
from druse_store.records import Record
from druse_store.remote import bodies, layout
from druse_store.remote.bodies import RunBody
from druse_store.remote.reading import read_topic
from druse_store.remote.site import Site
from druse_store.run import Cell, Run
from druse_store.trust import PublicKey, Trust

if TYPE_CHECKING:
    from druse_store.store import Store

_MIN_ID = 4


@dataclass(frozen=True, slots=True)
class PublishedRun:
    """A run that somebody published; `signer` is the name under which its key is trusted, or the
    key itself. Times are in the body, by its owner's clock."""

    remote: str
    body: RunBody
    key: PublicKey
    signer: str

    @property
    def id(self) -> str:
        return self.body.id

    @property
    def name(self) -> str:
        """As users write it: `remote:experiment@id`."""
        return f"{self.remote}:{self.body.experiment}@{self.id}"

    @property
    def experiment(self) -> str:
        return self.body.experiment

    @property
    def cells(self) -> tuple[Cell, ...]:
        return self.body.cells

    def as_run(self) -> Run:
        """As runs of a store are: with its owner's version."""
        body = self.body
        return Run(
            body.experiment,
            body.version,
            body.info,
            body.started,
            body.finished,
            body.complete,
            count=len(body.cells),
            _load=lambda: body.cells,
        )

    def named_bases(self) -> list[str]:
        """The base signatures that it says it used, beyond those of its cells."""
        named = self.body.info.get("bases")
        found = [text for text in named if isinstance(text, str)] if isinstance(named, list) else []
        return [text for text in found if len(text) == 64]


@dataclass(slots=True)
class Listing:
    """Runs, the latest last, and why others are not among them."""

    runs: list[PublishedRun] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unknown: dict[str, int] = field(default_factory=dict)


def published(site: Site, trust: Trust, experiment: str | None = None) -> Listing:
    """What was published of an experiment, or of all. Raises RemoteError."""
    listing = Listing()
    if experiment is not None:
        topics = [layout.runs_topic(experiment)]
    else:
        entries = site.backend.list(layout.RUNS)
        topics = sorted({entry.key.rpartition("/")[0] for entry in entries})
    for topic in topics:
        _add_topic(site, trust, topic, listing)
    listing.runs.sort(key=lambda run: (run.experiment, run.body.started))
    return listing


def _add_topic(site: Site, trust: Trust, topic: str, listing: Listing) -> None:
    believed = trust.believed()
    open_to_all = trust.policy(site.id.hex()) == "any"
    heard = read_topic(site, topic, None if open_to_all else believed)
    listing.refused += heard.refused
    for signer, count in heard.unknown.items():
        listing.unknown[signer] = listing.unknown.get(signer, 0) + count
    found: dict[str, PublishedRun] = {}
    for claim in heard.claims:
        try:
            runs = bodies.decode_runs(claim)
        except ClaimRefused as error:
            listing.refused.append(str(error))
            continue
        signer = believed.get(claim.signer, str(claim.signer))
        for run in runs:
            if layout.runs_topic(run.experiment) != topic:
                listing.refused.append(f"{claim.key}: a run stands under another experiment")
            elif run.id not in found:
                found[run.id] = PublishedRun(site.name, run, claim.signer, signer)
    listing.runs += found.values()


def find_published(site: Site, trust: Trust, experiment: str, run_id: str = "") -> PublishedRun:
    """One run by the beginning of its id; the latest without. Raises RunNotFound."""
    listing = published(site, trust, experiment)
    runs = [run for run in listing.runs if run.id.startswith(run_id.lower())]
    if run_id and len(run_id) < _MIN_ID:
        raise InvalidInput(f"give at least {_MIN_ID} digits of a run's id, not {run_id!r}")
    if not runs:
        wanted = f"{experiment}@{run_id}" if run_id else experiment
        why = "; ".join(listing.refused[:3])
        raise RunNotFound(
            f"no run {wanted} by anybody who is trusted here lies on {site.name}"
            + (f" ({why})" if why else "")
            + f"; `druse ls --remote {site.name}` shows what there is"
        )
    if run_id and len(runs) > 1:
        raise AmbiguousPrefix(f"several runs begin with {experiment}@{run_id}: give more digits")
    return runs[-1]


def published_records(
    store: Store, site: Site, trust: Trust, run: PublishedRun
) -> tuple[dict[Digest, Record], set[str]]:
    """The records of a run, by digest, exactly as its owner has them, failed cells' too; and the
    pack indexes that lead to their blobs.

    Those of others that its owner used are among them if their keys are trusted here. They are
    not stored: what a store uses comes by `pull`.
    """
    signers = {*trust.believed(), run.key}
    indexes: set[str] = set()
    wanted = {cell.record for cell in run.cells}
    found: dict[Digest, Record] = {}
    for base in run.body.bases:
        heard = read_topic(site, layout.records_topic(base), signers)
        for claim in heard.claims:
            body = bodies.decode_records(claim)
            indexes.update(body.indexes)
            for packed in body.records:
                digest = Digest.of(packed)
                if digest in wanted:
                    found[digest] = Record.decode(packed, digest)
    for digest in wanted - found.keys():
        record = store.record_by_digest(digest)
        if record is not None:
            found[digest] = record
    return found, indexes
