"""What claims say, as bytes: records of one base signature, or runs of one experiment.

Records: length 4 | msgpack {indexes, retracted} | (length 4 | record)*. Runs: msgpack. Both are
decoded only once the claim's signature was verified.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from druse_store import packing
from druse_store.digest import Digest
from druse_store.errors import ClaimRefused, StoreError
from druse_store.remote.claims import Claim
from druse_store.run import HOWS, Cell

_LENGTH = struct.Struct("<I")


class RecordsBody(NamedTuple):
    """Encoded records; the names of the pack indexes that lead to their blobs; the digests of
    records that are taken back."""

    records: list[bytes]
    indexes: Sequence[str] = ()
    retracted: Sequence[Digest] = ()

    def encode(self) -> bytes:
        head = packing.pack({"indexes": list(self.indexes), "retracted": list(self.retracted)})
        parts = [_LENGTH.pack(len(head)), head]
        for record in self.records:
            parts += (_LENGTH.pack(len(record)), record)
        return b"".join(parts)


def decode_records(claim: Claim) -> RecordsBody:
    """Raises ClaimRefused where the body has another outline."""
    data = claim.body
    try:
        pieces = _pieces(data)
        head = packing.unpack(pieces[0])
        indexes = [str(name) for name in head["indexes"]]
        retracted = [Digest(digest) for digest in head["retracted"]]
    except (struct.error, StoreError, KeyError, TypeError, IndexError) as error:
        raise ClaimRefused(f"{claim.key}: what it says cannot be decoded") from error
    return RecordsBody(pieces[1:], indexes, retracted)


def _pieces(data: bytes) -> list[bytes]:
    found = []
    at = 0
    unpack = _LENGTH.unpack_from
    while at < len(data):
        (length,) = unpack(data, at)
        end = at + 4 + length
        if end > len(data):
            raise IndexError("cut off")
        found.append(data[at + 4 : end])
        at = end
    return found


class RunBody(NamedTuple):
    """A run as its owner published it."""

    experiment: str
    version: int
    info: dict[str, Any]
    started: int
    finished: int
    complete: bool
    bases: tuple[Digest, ...]
    cells: tuple[Cell, ...]

    def encode(self) -> bytes:
        """The canonical bytes; a run's id is the beginning of their digest."""
        return packing.pack_any(
            [
                *self[:2],
                packing.sorted_map(self.info),
                *self[3:6],
                list(self.bases),
                [list(cell) for cell in self.cells],
            ]
        )

    @property
    def id(self) -> str:
        return Digest.of(self.encode()).hex()[:12]


def encode_runs(runs: Iterable[RunBody]) -> bytes:
    return packing.pack_any([run.encode() for run in runs])


def decode_runs(claim: Claim) -> list[RunBody]:
    """Raises ClaimRefused where the body has another outline."""
    try:
        return [_run(packing.unpack(packed)) for packed in packing.unpack(claim.body)]
    except (StoreError, TypeError, ValueError) as error:
        raise ClaimRefused(f"{claim.key}: what it says cannot be decoded") from error


def _run(values: Any) -> RunBody:
    experiment, version, info, started, finished, complete, bases, cells = values
    if type(experiment) is not str or type(version) is not int or type(info) is not dict:
        raise ValueError("not a run")
    if type(started) is not int or type(finished) is not int:
        raise ValueError("not times")
    return RunBody(
        experiment,
        version,
        info,
        started,
        finished,
        complete is True,
        tuple(map(Digest, bases)),
        tuple(map(_cell, cells)),
    )


def _cell(values: Any) -> Cell:
    condition, replicate, record, how = values
    if type(condition) is not str or type(replicate) is not int or how not in HOWS:
        raise ValueError("not a cell")
    return Cell(condition, replicate, Digest(record), how)
