"""A content-addressed artifact store: packs of zstd frames named by BLAKE3, indexed by LMDB.

Names are imported when they are first used, so that importing the package costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from druse_store.digest import Digest
    from druse_store.errors import BlobVanished, ReadOnlyStore, StoreError
    from druse_store.rebuild import Rebuilt, rebuild_index
    from druse_store.records import ArtifactRef, BlobRef, ObjectRef, Read, Record, extend
    from druse_store.repaired import Fetch, Repaired
    from druse_store.run import Cell, Run, RunName
    from druse_store.runwriter import RunWriter
    from druse_store.stats import Stats
    from druse_store.store import Store
    from druse_store.usage import (
        ArtifactUsage,
        ExperimentUsage,
        SpaceUsed,
        Usage,
        VersionUsage,
    )
    from druse_store.verify import Finding, Progress, Report
    from druse_store.view import View

__all__ = [
    "ArtifactRef",
    "ArtifactUsage",
    "BlobRef",
    "BlobVanished",
    "Cell",
    "Digest",
    "ExperimentUsage",
    "Fetch",
    "Finding",
    "ObjectRef",
    "Progress",
    "Read",
    "ReadOnlyStore",
    "Rebuilt",
    "Record",
    "Repaired",
    "Report",
    "Run",
    "RunName",
    "RunWriter",
    "SpaceUsed",
    "Stats",
    "Store",
    "StoreError",
    "Usage",
    "VersionUsage",
    "View",
    "extend",
    "rebuild_index",
]

_HOMES = {
    "digest": ("Digest",),
    "errors": ("BlobVanished", "ReadOnlyStore", "StoreError"),
    "rebuild": ("Rebuilt", "rebuild_index"),
    "records": ("ArtifactRef", "BlobRef", "ObjectRef", "Read", "Record", "extend"),
    "repaired": ("Fetch", "Repaired"),
    "run": ("Cell", "Run", "RunName"),
    "runwriter": ("RunWriter",),
    "stats": ("Stats",),
    "store": ("Store",),
    "usage": ("ArtifactUsage", "ExperimentUsage", "SpaceUsed", "Usage", "VersionUsage"),
    "verify": ("Finding", "Progress", "Report"),
    "view": ("View",),
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
