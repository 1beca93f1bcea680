"""What has been written to packs, or asked for, and waits for its commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from druse_store.changes import Change, RecordRows
from druse_store.digest import Digest
from druse_store.errors import StoreError
from druse_store.index.values import BlobEntry, ChunkEntry, FileEntry, Origin
from druse_store.records import JSON, Record


class Beginning:
    """A run that is to begin: its version is found inside the transaction.

    It is the one that is `wanted`, if no run has it; else the next one, and not below `least`.
    """

    __slots__ = ("experiment", "info", "least", "started", "version", "wanted")

    def __init__(
        self,
        experiment: str,
        info: dict[str, JSON],
        started: int,
        *,
        least: int = 0,
        wanted: int | None = None,
    ) -> None:
        self.experiment = experiment
        self.info = info
        self.started = started
        self.least = least
        self.wanted = wanted
        self.version = -1


class Pending:
    """One commit to be. `relied` are the digests that were found in the index, and left at that;
    `gone` those that were not there any more, when it came to it; `gaps` tells how many cells of
    which runs were left out. `small` are blobs of one chunk of which it has yet to be found out
    whether the index has them, or that are being encoded."""

    def __init__(self) -> None:
        self.chunks: dict[Digest, ChunkEntry] = {}
        self.blobs: dict[Digest, BlobEntry] = {}
        self.small: set[Digest] = set()
        self.lists: dict[Digest, tuple[tuple[Digest, int], ...]] = {}
        self.relied: set[Digest] = set()
        self.gone: set[Digest] = set()
        self.gaps: dict[tuple[str, int], int] = {}
        self.rows = RecordRows()
        self.adoptions: dict[Digest, tuple[Record, list[Digest], Origin]] = {}
        self.beginnings: list[Beginning] = []
        self.cells: dict[tuple[str, int], list[tuple[Any, ...]]] = {}
        self.changes: list[Change] = []
        self.used: set[Digest] = set()
        self.packs: dict[bytes, FileEntry] = {}
        self.operations = 0
        self.bytes = 0
        self.done = False
        self.error: StoreError | None = None

    def is_empty(self) -> bool:
        return self.operations == 0

    def has_blob(self, digest: Digest) -> bool:
        """Whether this commit will make the blob present, or relies on its being so."""
        # In this order: what is small is put where it belongs before it is taken out here.
        return (
            digest in self.small
            or digest in self.chunks
            or digest in self.blobs
            or digest in self.relied
        )

    def lacks(self, digests: Sequence[Digest]) -> list[Digest]:
        """Those of which `has_blob` would say no, asked in one go."""
        # In that order, for each of them.
        small, chunks, blobs, relied = self.small, self.chunks, self.blobs, self.relied
        lacking = []
        for digest in digests:
            if digest in small or digest in chunks or digest in blobs or digest in relied:
                continue
            lacking.append(digest)
        return lacking
