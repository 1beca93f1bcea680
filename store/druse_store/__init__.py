"""A content-addressed artifact store: packs of zstd frames named by BLAKE3, indexed by LMDB."""

from druse_store.digest import Digest
from druse_store.errors import StoreError
from druse_store.records import ArtifactRef, BlobRef, ObjectRef, Read, Record, extend
from druse_store.run import Cell, Run, RunName
from druse_store.runwriter import RunWriter
from druse_store.stats import Stats
from druse_store.store import Store
from druse_store.view import View

__all__ = [
    "ArtifactRef",
    "BlobRef",
    "Cell",
    "Digest",
    "ObjectRef",
    "Read",
    "Record",
    "Run",
    "RunName",
    "RunWriter",
    "Stats",
    "Store",
    "StoreError",
    "View",
    "extend",
]
