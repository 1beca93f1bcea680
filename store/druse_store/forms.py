"""Records of the cells of one experiment: what they have in common is prepared once.

A form gives the very record that `Record(...)` would be, byte for byte, for a fraction of the time:
it makes no objects for what only the encoding needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from druse_store import packing, records
from druse_store.digest import Digest
from druse_store.records import JSON, ArtifactRef, Record, follow

_KEPT = 256  # nodes: what comes first is common to many cells, as a rule


class Form:
    """For results of cells with this base signature, from `start` on."""

    __slots__ = ("_base", "_following", "_manifest", "_names", "_start")

    def __init__(self, base: Digest, start: Digest, manifest: Digest) -> None:
        self._base = base
        self._start = start
        self._manifest = manifest
        self._following: dict[tuple[Digest, str, Digest], Digest] = {}
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}

    def fill(
        self,
        replicate: int,
        reads: Mapping[str, Digest],
        metrics: Mapping[str, JSON],
        artifacts: Sequence[ArtifactRef],
        provenance: Mapping[str, JSON],
    ) -> Record:
        """The record of one cell's result. The maps of `provenance` have to be sorted by key, at
        every depth. Raises InvalidRecord."""
        node, following = self._start, self._following
        nodes = [node]
        for name, value in reads.items():
            place = (node, name, value)
            known = following.get(place)
            if known is None:
                known = follow(*place)
                if len(following) < _KEPT:
                    following[place] = known
            node = known
            nodes.append(node)
        metrics = packing.sorted_map(metrics)
        first = packing.pack_any(metrics)
        rest = (tuple(reads.items()), artifacts, None, provenance, self._manifest, ())
        outline = records.outlined(0, 0, replicate, node, self._base, self._start, len(first))
        packed = outline + first + packing.pack_any(rest)
        if len(packed) > packing.MAX_SIZE:
            packing.bounded(packed)
        needs: list[Digest] = []
        for _, _, ref in artifacts:
            needs.append(ref.root.digest)
            if ref.buffers:
                needs += [blob.digest for blob in ref.buffers]
        needs.append(self._manifest)
        names = tuple(reads)
        names = self._names.setdefault(names, names)  # one for all cells that read the same
        return records.made(packed, nodes, names, needs, metrics)
