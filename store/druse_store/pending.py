"""What has been written to packs, or asked for, and waits for its commit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from druse_store.changes import Change, RecordRows
from druse_store.digest import Digest
from druse_store.errors import StoreError
from druse_store.index.values import BlobEntry, ChunkEntry, FileEntry
from druse_store.records import JSON


@dataclass(slots=True)
class Beginning:
    """A run that is to begin: its version is found inside the transaction."""

    experiment: str
    info: dict[str, JSON]
    started: int
    version: int = -1


@dataclass(slots=True)
class Pending:
    """One commit to be. `relied` are the digests that were found in the index, and left at that."""

    chunks: dict[Digest, ChunkEntry] = field(default_factory=dict)
    blobs: dict[Digest, BlobEntry] = field(default_factory=dict)
    lists: dict[Digest, tuple[tuple[Digest, int], ...]] = field(default_factory=dict)
    relied: set[Digest] = field(default_factory=set)
    rows: RecordRows = field(default_factory=RecordRows.empty)
    needs: dict[Digest, list[Digest]] = field(default_factory=dict)
    beginnings: list[Beginning] = field(default_factory=list)
    cells: dict[tuple[str, int], list[Any]] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    packs: dict[bytes, FileEntry] = field(default_factory=dict)
    gone: set[Digest] = field(default_factory=set)
    operations: int = 0
    bytes: int = 0
    done: bool = False
    error: StoreError | None = None

    def is_empty(self) -> bool:
        return self.operations == 0

    def has_blob(self, digest: Digest) -> bool:
        """Whether this commit will make the blob present, or relies on its being so."""
        return digest in self.chunks or digest in self.blobs or digest in self.relied
