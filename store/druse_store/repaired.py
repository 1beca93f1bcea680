"""What a repair takes and gives: where lost chunks may come from, and what was done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from druse_store.digest import Digest
from druse_store.verify import Finding


class Fetch(Protocol):
    """Where lost chunks may come from, a remote say: digests in; those it has, with bytes, out.

    What it gives is hashed before it is stored. It may raise StoreError, which ends the fetching.
    """

    def __call__(self, wanted: Sequence[Digest], /) -> Iterable[tuple[Digest, bytes]]: ...


@dataclass(slots=True)
class Repaired:
    """What a repair found, and what it did about it."""

    found: list[Finding] = field(default_factory=list)
    healed: int = 0  # chunks of which there was a good copy, or that are good after all
    fetched: int = 0  # chunks that `fetch` gave
    lost: list[Digest] = field(default_factory=list)  # blobs and chunks that are gone
    retired: list[Digest] = field(default_factory=list)  # records whose cells run again
    pins: list[str] = field(default_factory=list)  # that name something lost
    quarantined: list[Path] = field(default_factory=list)
    log_rewritten: bool = False
    left: list[str] = field(default_factory=list)  # what could not be repaired, and why

    @property
    def clean(self) -> bool:
        """Whether there was nothing to repair."""
        return not self.found

    @property
    def mended(self) -> bool:
        """Whether all is well now, and nothing was lost."""
        return not (self.lost or self.left)
