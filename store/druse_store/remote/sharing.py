"""What a person does with remotes: add one, test one, push, pull, see what others published."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from druse_store.digest import Digest
from druse_store.errors import InvalidInput, RemoteError, RemoteNotFound, RunNotFound
from druse_store.records import BlobRef
from druse_store.remote import layout
from druse_store.remote.config import KnownRemote, Remotes, looks_like_url
from druse_store.remote.fetch import Fetched, Fetcher
from druse_store.remote.opening import REQUEST_TIMEOUT, check_url, open_backend
from druse_store.remote.patient import Patient
from druse_store.remote.probe import Capabilities, Probed, probe
from druse_store.remote.pull import Brought, bring_records
from druse_store.remote.push import Push, gather
from druse_store.remote.site import Site, create, read_id
from druse_store.remote.transfer import Show
from druse_store.run import Run
from druse_store.trust import Signer, Trust

if TYPE_CHECKING:
    from druse_store.store import Store


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `request`: for one answer; `patience`: how long a server that was there may be
    gone; `first`: how long one may be that was not heard of yet; `total`: for one operation of a
    run (people's own push and pull have no such limit)."""

    request: float = REQUEST_TIMEOUT
    patience: float = 60.0
    first: float = 5.0
    total: float | None = None


def remotes_of(store: Store) -> Remotes:
    """The remotes that were added to a store."""
    return Remotes(store._session.location)


def probe_url(url: str, timeouts: Timeouts | None = None) -> Probed:
    """Asks a server what it can do."""
    backend = open_backend(url, timeout=(timeouts or Timeouts()).request)
    try:
        return probe(backend)
    finally:
        backend.close()


def add_remote(store: Store, name: str, url: str, timeouts: Timeouts | None = None) -> KnownRemote:
    """Adds a remote; an empty place becomes one. Raises RemoteError where it is not usable."""
    url = check_url(url)
    backend = open_backend(url, timeout=(timeouts or Timeouts()).request)
    try:
        if backend.read_only:
            return remotes_of(store).add(name, url, read_id(backend), Capabilities())
        found = probe(backend)
        if not found.usable:
            wrong = next(check for check in found.checks if check.must and not check.passed)
            raise RemoteError(f"{url} cannot be used: not true that {wrong.name}. {wrong.said}")
        remote_id = create(backend, one_winner=found.capabilities.one_winner)
        return remotes_of(store).add(name, url, remote_id, found.capabilities)
    finally:
        backend.close()


def open_site(store: Store, which: str | None = None, timeouts: Timeouts | None = None) -> Site:
    """A remote by name or address; the default one without. Raises RemoteNotFound, RemoteError.

    An address that is used for the first time is pinned: its remote has to be there already.
    """
    limits = timeouts or Timeouts()
    remotes = remotes_of(store)
    known = remotes.default() if which is None else remotes.find(which)
    if known is None and which is not None and looks_like_url(which):
        url = check_url(which)
        backend = open_backend(url, timeout=limits.request)
        patient = Patient(backend, limits.patience, limits.first)
        known = remotes.add(url, url, read_id(patient), Capabilities())
    elif known is None:
        what = "no remote was added" if which is None else f"there is no remote {which!r}"
        raise RemoteNotFound(f"{what}: `druse remote add NAME URL`, or name an address")
    else:
        backend = open_backend(known.url, timeout=limits.request)
        patient = Patient(backend, limits.patience, limits.first)
    return Site.of(store._session.location, known.name, patient, known.id, known.capabilities)


def choose_runs(store: Store, names: Sequence[str]) -> list[Run]:
    """`EXP` or `EXP/vN`; without names the latest run of every experiment. Raises RunNotFound."""
    if not names:
        latest = (store.run(experiment) for experiment in store.experiments())
        return [run for run in latest if run is not None]
    return [_named(store, name) for name in names]


def _named(store: Store, name: str) -> Run:
    experiment, slash, version = name.rpartition("/v")
    if not slash or not version.isdecimal():
        experiment, version = name, ""
    run = store.run(experiment, int(version) if version else None)
    if run is None:
        there = ", ".join(store.experiments()[:10]) or "none"
        raise RunNotFound(f"there is no run {name!r} in this store (experiments: {there})")
    return run


def prepare_push(
    store: Store,
    site: Site,
    signer: Signer,
    runs: Sequence[Run],
    *,
    everything: bool = False,
    show: Show | None = None,
) -> Push:
    """A push of these runs, or of all records and runs: `.plan()` it, or `.execute()` it."""
    session = store._session
    if everything:
        runs = list(store.runs())
        digests = session.record_digests()
    else:
        digests = list(dict.fromkeys(cell.record for run in runs for cell in run.cells))
    found = [store.record_by_digest(digest) for digest in digests]
    records = {record.digest: record for record in found if record is not None}
    bases = {base for run in runs for base in _bases(run)}
    for base in sorted(bases):
        for record in store.records_of_base(base):
            records.setdefault(record.digest, record)
    return Push(session, site, signer, gather(session, records.values(), runs), show)


def _bases(run: Run) -> list[Digest]:
    """The base signatures that a run says it used, steps' and sources' among them."""
    named = run.info.get("bases")
    texts = [text for text in named if isinstance(text, str)] if isinstance(named, list) else []
    return [Digest.from_hex(text) for text in texts]


def pull(
    store: Store,
    site: Site,
    trust: Trust,
    experiments: Sequence[str] = (),
    *,
    blobs: bool = False,
    show: Show | None = None,
) -> tuple[Brought, Fetched | None]:
    """Brings the records of these experiments, or everything; with `blobs`, their bytes too."""
    from druse_store.remote.published import published

    if experiments:
        runs = [run for name in experiments for run in published(site, trust, name).runs]
        bases = {base for run in runs for base in run.body.bases}
        bases |= {Digest.from_hex(text) for run in runs for text in run.named_bases()}
        if not runs:
            raise RunNotFound(
                f"nobody whose key is trusted here has published {', '.join(experiments)} on "
                f"{site.name}; `druse ls --remote {site.name}` shows what there is"
            )
    else:
        bases = all_bases(site)
    brought = bring_records(store._session, site, trust, sorted(bases))
    if not blobs:
        return brought, None
    wanted: list[BlobRef | Digest] = []
    for base in sorted(bases):
        for record in store.records_of_base(base):
            wanted += record.refs()
            wanted += record.blobs()
    return brought, Fetcher(store._session, site).fetch(wanted, brought.indexes, show)


def all_bases(site: Site) -> set[Digest]:
    """Every base signature that there are records of."""
    found = set()
    for entry in site.backend.list(layout.RECORDS):
        text = entry.key.split("/")[1]
        if len(text) == 64 and layout.parse_signed(entry.key):
            try:
                found.add(Digest.from_hex(text))
            except InvalidInput:
                continue
    return found


def fetch_blobs(
    store: Store, site: Site, wanted: Iterable[BlobRef | Digest], hints: Iterable[str] = ()
) -> Fetched:
    """Brings blobs that are not here; `hints` are the pack indexes that lead to them."""
    return Fetcher(store._session, site).fetch(wanted, hints)
