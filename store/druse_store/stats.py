"""How much is in a store: counts, and bytes on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from druse_store import frames
from druse_store.index import values

if TYPE_CHECKING:
    from druse_store.session import Session


class Stats(NamedTuple):
    """Counts, and bytes. `pack_bytes` are those of committed frames, compressed."""

    chunks: int
    blobs: int
    records: int
    runs: int
    pins: int
    packs: int
    pack_bytes: int
    log_bytes: int
    index_bytes: int


def gather(session: Session) -> Stats:
    """Reads the counts from the index; costs no more for many blobs than for few."""
    with session.snapshot() as snapshot:
        files = [entry for _, entry in snapshot.files()]
        counts = {name: snapshot.count(name) for name in values.TABLES}
    packs = [entry.end for entry in files if entry.kind == frames.PACK]
    # A blob of several chunks has a chunk list, which is a chunk of its own.
    data = session.location.index / "data.mdb"
    return Stats(
        chunks=counts[values.CHUNKS] - counts[values.BLOBS],
        blobs=counts[values.BLOBS],
        records=counts[values.RECORDS],
        runs=counts[values.RUNS],
        pins=counts[values.PINS],
        packs=len(packs),
        pack_bytes=sum(packs),
        log_bytes=sum(entry.end for entry in files if entry.kind == frames.LOG_SEGMENT),
        index_bytes=data.stat().st_blocks * 512,
    )
