"""A content-addressed artifact store: packs of zstd frames named by BLAKE3, indexed by LMDB.

Names are imported when they are first used, so that importing the package costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from druse_store.digest import Digest
    from druse_store.errors import BlobVanished, KeyMissing, StoreError, StoreNotFound, TrustError
    from druse_store.forms import Form
    from druse_store.gc.plan import GcPlan, GcProgress
    from druse_store.gc.report import Counts, Freed, GcReport
    from druse_store.gc.roots import LevelChange
    from druse_store.gc.undo import Undone
    from druse_store.index.values import Origin
    from druse_store.leases import Lease
    from druse_store.neighbours import Neighbours
    from druse_store.policy import Policy
    from druse_store.rebuild import Rebuilt, rebuild_index
    from druse_store.records import ArtifactRef, BlobRef, ObjectRef, Read, Record, extend
    from druse_store.remote.bodies import RunBody
    from druse_store.remote.collect import RemoteGc, RemoteGcPlan
    from druse_store.remote.config import KnownRemote, Remotes
    from druse_store.remote.fetch import Fetched
    from druse_store.remote.flight import Flight, Look
    from druse_store.remote.healing import lost_chunks
    from druse_store.remote.lease import LeaseKey
    from druse_store.remote.probe import Capabilities, Probed
    from druse_store.remote.publish import Publisher
    from druse_store.remote.published import (
        Listing,
        PublishedRun,
        find_published,
        published,
        published_records,
    )
    from druse_store.remote.pull import Brought
    from druse_store.remote.push import Push, Pushed, PushPlan
    from druse_store.remote.revocation import Resting, enforce_trust, resting_on
    from druse_store.remote.sharing import (
        Timeouts,
        add_remote,
        choose_runs,
        fetch_blobs,
        open_site,
        prepare_push,
        probe_url,
        pull,
        remotes_of,
    )
    from druse_store.remote.site import Site
    from druse_store.remote.tier import RUN_TIMEOUTS, Tier, Traffic
    from druse_store.remote.transfer import Transferred
    from druse_store.repaired import Fetch, Repaired
    from druse_store.run import Cell, Run, RunName
    from druse_store.runwriter import RunWriter
    from druse_store.sizes import shown_size
    from druse_store.stats import Stats
    from druse_store.store import Store
    from druse_store.trust import PublicKey, Signer, Trust
    from druse_store.usage import (
        ArtifactUsage,
        ExperimentUsage,
        SpaceUsed,
        Usage,
        VersionUsage,
    )
    from druse_store.verify import Finding, Progress, Report
    from druse_store.view import View
    from druse_store.writes import Writes

__all__ = [
    "RUN_TIMEOUTS",
    "ArtifactRef",
    "ArtifactUsage",
    "BlobRef",
    "BlobVanished",
    "Brought",
    "Capabilities",
    "Cell",
    "Counts",
    "Digest",
    "ExperimentUsage",
    "Fetch",
    "Fetched",
    "Finding",
    "Flight",
    "Form",
    "Freed",
    "GcPlan",
    "GcProgress",
    "GcReport",
    "KeyMissing",
    "KnownRemote",
    "Lease",
    "LeaseKey",
    "LevelChange",
    "Listing",
    "Look",
    "Neighbours",
    "ObjectRef",
    "Origin",
    "Policy",
    "Probed",
    "Progress",
    "PublicKey",
    "PublishedRun",
    "Publisher",
    "Push",
    "PushPlan",
    "Pushed",
    "Read",
    "Rebuilt",
    "Record",
    "RemoteGc",
    "RemoteGcPlan",
    "Remotes",
    "Repaired",
    "Report",
    "Resting",
    "Run",
    "RunBody",
    "RunName",
    "RunWriter",
    "Signer",
    "Site",
    "SpaceUsed",
    "Stats",
    "Store",
    "StoreError",
    "StoreNotFound",
    "Tier",
    "Timeouts",
    "Traffic",
    "Transferred",
    "Trust",
    "TrustError",
    "Undone",
    "Usage",
    "VersionUsage",
    "View",
    "Writes",
    "add_remote",
    "choose_runs",
    "enforce_trust",
    "extend",
    "fetch_blobs",
    "find_published",
    "lost_chunks",
    "open_site",
    "prepare_push",
    "probe_url",
    "published",
    "published_records",
    "pull",
    "rebuild_index",
    "remotes_of",
    "resting_on",
    "shown_size",
]

_HOMES = {
    "digest": ("Digest",),
    "errors": ("BlobVanished", "KeyMissing", "StoreError", "StoreNotFound", "TrustError"),
    "gc.plan": ("GcPlan", "GcProgress"),
    "gc.report": ("Counts", "Freed", "GcReport"),
    "gc.roots": ("LevelChange",),
    "gc.undo": ("Undone",),
    "forms": ("Form",),
    "leases": ("Lease",),
    "neighbours": ("Neighbours",),
    "policy": ("Policy",),
    "rebuild": ("Rebuilt", "rebuild_index"),
    "records": ("ArtifactRef", "BlobRef", "ObjectRef", "Read", "Record", "extend"),
    "repaired": ("Fetch", "Repaired"),
    "run": ("Cell", "Run", "RunName"),
    "runwriter": ("RunWriter",),
    "sizes": ("shown_size",),
    "stats": ("Stats",),
    "store": ("Store",),
    "usage": ("ArtifactUsage", "ExperimentUsage", "SpaceUsed", "Usage", "VersionUsage"),
    "verify": ("Finding", "Progress", "Report"),
    "view": ("View",),
    "writes": ("Writes",),
    "index.values": ("Origin",),
    "remote.bodies": ("RunBody",),
    "remote.collect": ("RemoteGc", "RemoteGcPlan"),
    "remote.config": ("KnownRemote", "Remotes"),
    "remote.fetch": ("Fetched",),
    "remote.flight": ("Flight", "Look"),
    "remote.healing": ("lost_chunks",),
    "remote.lease": ("LeaseKey",),
    "remote.probe": ("Capabilities", "Probed"),
    "remote.publish": ("Publisher",),
    "remote.published": (
        "Listing",
        "PublishedRun",
        "find_published",
        "published",
        "published_records",
    ),
    "remote.pull": ("Brought",),
    "remote.push": ("Push", "PushPlan", "Pushed"),
    "remote.revocation": ("Resting", "enforce_trust", "resting_on"),
    "remote.sharing": (
        "Timeouts",
        "add_remote",
        "choose_runs",
        "fetch_blobs",
        "open_site",
        "prepare_push",
        "probe_url",
        "pull",
        "remotes_of",
    ),
    "remote.site": ("Site",),
    "remote.tier": ("RUN_TIMEOUTS", "Tier", "Traffic"),
    "remote.transfer": ("Transferred",),
    "trust": ("PublicKey", "Signer", "Trust"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
