"""Choosing what to evict: pure. The least seconds of computing for each byte that really leaves.

Chunks that the same records share form a share; removing all of these records frees it, and every
share of some of them. So what ten versions have in common is weighed once, against all ten. After
each choice the rest is weighed anew. Among about equals, what was not used for longest goes first.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

Share = frozenset[int]


class Candidate(NamedTuple):
    """A record that may lose its artifacts: what it took to compute, and when it was last used."""

    digest: bytes
    seconds: float
    used: int


class Choice(NamedTuple):
    """Places of candidates, and the bytes that leave with them."""

    chosen: list[int]
    freed: int


def choose(candidates: Sequence[Candidate], shares: dict[Share, int], need: int) -> Choice:
    """Which candidates go, until `need` bytes are free, or nothing is left to free.

    `shares`: the bytes of chunks that exactly these candidates, and nobody else, hold.
    """
    weighing = _Weighing(candidates, shares)
    chosen: list[int] = []
    freed = 0
    while freed < need:
        share = weighing.cheapest()
        if share is None:
            break
        chosen += sorted(share)
        freed += weighing.take(share)
    return Choice(chosen, freed)


class _Weighing:
    """The shares that are left, the cheapest on top of a heap (of which older entries are void)."""

    def __init__(self, candidates: Sequence[Candidate], shares: dict[Share, int]) -> None:
        self._candidates = candidates
        self._bytes = {share: size for share, size in shares.items() if size > 0}
        self._by_record: dict[int, set[Share]] = defaultdict(set)
        self._heap: list[tuple[int, int, list[int], Share]] = []
        for share in self._bytes:
            for place in share:
                self._by_record[place].add(share)
        for share in self._bytes:
            self._push(share)

    def cheapest(self) -> Share | None:
        while self._heap:
            value, used, places, share = heapq.heappop(self._heap)
            if share in self._bytes and self._key(share) == (value, used, places):
                return share
        return None

    def take(self, share: Share) -> int:
        """Removes these records; returns what that frees."""
        freed = 0
        affected: set[Share] = set()
        for place in share:
            affected |= self._by_record.pop(place)
        smaller: set[Share] = set()
        for old in affected:
            size = self._bytes.pop(old)
            rest = old - share
            for place in rest:
                self._by_record[place].discard(old)
            if not rest:
                freed += size
                continue
            self._bytes[rest] = self._bytes.get(rest, 0) + size
            for place in rest:
                self._by_record[place].add(rest)
            smaller.add(rest)
        self._weigh_again(smaller)
        return freed

    def _weigh_again(self, changed: Iterable[Share]) -> None:
        """What contains a share that changed is worth something else now."""
        touched: set[Share] = set()
        for share in changed:
            touched.add(share)
            touched.update(other for other in self._by_record[next(iter(share))] if share <= other)
        for share in touched:
            self._push(share)

    def _push(self, share: Share) -> None:
        heapq.heappush(self._heap, (*self._key(share), share))

    def _key(self, share: Share) -> tuple[int, int, list[int]]:
        inside = {part for place in share for part in self._by_record[place] if part <= share}
        size = sum(self._bytes[part] for part in inside)
        seconds = sum(self._candidates[place].seconds for place in share)
        used = max(self._candidates[place].used for place in share)
        return _worth(seconds / size), used, sorted(share)


def _worth(value: float) -> int:
    """A value per byte, in steps of a tenth: what is about equal is told apart by its last use."""
    return round(7 * math.log2(value)) if value > 0 else -100_000


def shares_of(owners: dict[bytes, list[int]], sizes: dict[bytes, int]) -> dict[Share, int]:
    """The shares of chunks, of which `owners` names the places of the candidates."""
    found: dict[tuple[int, ...], int] = defaultdict(int)
    for chunk, places in owners.items():
        found[tuple(places)] += sizes.get(chunk, 0)
    shares: dict[Share, int] = defaultdict(int)
    for places_of, size in found.items():
        shares[frozenset(places_of)] += size
    return dict(shares)
