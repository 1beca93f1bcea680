"""Which packs go, which are written anew, and what that frees to the byte. Pure.

A pack that is written anew gets, behind its header, first the raw chunks that lie side by side, as
extents, and large raw chunks, as extents of their own, so that they can be mapped; then the frames
of all others; then its seal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress, count
from operator import add, eq
from typing import NamedTuple

from druse_store.frames import ENTRY_SIZE, FILE_HEADER_SIZE, HEADER_SIZE, padding

SEAL_SIZE = HEADER_SIZE
_SIZE = (1 << 32) - 1
MAPPED = 64 << 10  # bytes from which on a single raw chunk is worth aligning


class Extent(NamedTuple):
    """Raw chunks side by side: places in a sorted list, and their bytes."""

    first: int
    last: int
    size: int


class Use(NamedTuple):
    """What of a pack stays: the bytes of chunks, each with a frame header, and the extents that
    those of them make which are raw."""

    kept: int
    extents: list[Extent]


class Group(NamedTuple):
    """Packs that are written anew as one, and how long that one will be."""

    packs: list[bytes]
    size: int


@dataclass(slots=True)
class PackPlan:
    """What happens to the packs."""

    dead: list[bytes] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    freed: int = 0
    rewritten: int = 0  # bytes that are written
    left: int = 0  # bytes of garbage in packs that are not worth it yet


def extents(raw: Sequence[int]) -> Iterator[Extent]:
    """The extents that sorted raw chunks (offset << 32 | size) make: see above."""
    offsets = [chunk >> 32 for chunk in raw]
    sizes = [chunk & _SIZE for chunk in raw]
    ends = list(map(add, offsets, sizes))
    # Hardly any: small objects have frames of their own. No step in Python for each of them.
    follows = set(compress(count(1), map(eq, ends, offsets[1:])))
    starts = set(compress(count(), map(MAPPED.__le__, sizes)))
    starts |= {place - 1 for place in follows}
    for first in sorted(starts - follows):
        last = first + 1
        while last in follows:
            last += 1
        yield Extent(first, last, ends[last - 1] - offsets[first])


def layout(uses: Iterable[Use]) -> int:
    """The size of the pack that holds what these keep; 0 if that is nothing."""
    end = FILE_HEADER_SIZE
    rest = 0
    for use in uses:
        rest += use.kept
        for first, last, size in use.extents:
            chunks = last - first
            rest -= size + chunks * HEADER_SIZE
            table = end + HEADER_SIZE + chunks * ENTRY_SIZE
            end = table + padding(table) + size
    if rest == 0 and end == FILE_HEADER_SIZE:
        return 0
    return end + rest + SEAL_SIZE


def choose(
    sizes: Mapping[bytes, int],
    uses: Mapping[bytes, Use],
    waste: float,
    pack_size: int,
    need: int = 0,
) -> PackPlan:
    """What to do with these packs: `sizes` are their bytes, `waste` the share of dead ones from
    which on a pack is worth writing anew, or less, as long as `need` bytes are not found."""
    plan = PackPlan()
    wasteful: list[tuple[float, bytes, int]] = []
    for pack, size in sizes.items():
        alone = layout([uses[pack]]) if pack in uses else 0
        if alone == 0:
            plan.dead.append(pack)
            plan.freed += size
        elif size > alone:
            wasteful.append(((size - alone) / size, pack, alone))
    wasteful.sort(key=lambda found: (-found[0], found[1]))
    group: list[bytes] = []
    total = 0
    found = plan.freed
    for share, pack, alone in wasteful:
        if share < waste and found >= need:
            plan.left += sizes[pack] - alone
            continue
        found += sizes[pack] - alone
        if group and total + alone > pack_size:
            _close(plan, group, sizes, uses)
            group, total = [], 0
        group.append(pack)
        total += alone
    if group:
        _close(plan, group, sizes, uses)
    return plan


def _close(
    plan: PackPlan, packs: list[bytes], sizes: Mapping[bytes, int], uses: Mapping[bytes, Use]
) -> None:
    size = layout(uses[pack] for pack in packs)
    plan.groups.append(Group(packs, size))
    plan.rewritten += size
    plan.freed += sum(sizes[pack] for pack in packs) - size
