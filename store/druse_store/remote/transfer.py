"""Many requests at once, few bytes in memory; and how far along they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

WAYS = 16
WINDOW = 128 << 20  # bytes in flight


@dataclass(frozen=True, slots=True)
class Transferred:
    """How far a transfer is, in bytes and objects."""

    what: str
    done: int
    total: int
    objects: int
    seconds: float

    @property
    def eta(self) -> float | None:
        """Seconds that it will still take, as fast as it went so far."""
        if not self.done or self.seconds < 0.5:
            return None
        return self.seconds * (self.total - self.done) / self.done


Show = Callable[[Transferred], None]


@dataclass(slots=True)
class Meter:
    """Counts what was moved, and shows it."""

    what: str
    total: int
    show: Show | None = None
    done: int = 0
    objects: int = 0
    began: float = field(default_factory=time.monotonic)

    def moved(self, size: int) -> None:
        self.done += size
        self.objects += 1
        if self.show is not None:
            seconds = time.monotonic() - self.began
            total = max(self.total, self.done)
            self.show(Transferred(self.what, self.done, total, self.objects, seconds))


def all_at_once(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    weigh: Callable[[Item], int] = lambda _: 0,
) -> Iterator[Result]:
    """`work(item)` for each item, as they get done; `weigh` says how many bytes one holds.

    Items are drawn, and results handed out, in the calling thread. The first error ends it, once
    what is under way has ended too.
    """
    items = iter(items)
    ahead = list(islice(items, 2))
    if len(ahead) < 2:  # not worth a thread
        yield from map(work, ahead)
        return
    items = chain(ahead, items)
    flying: dict[Future[Result], int] = {}
    with ThreadPoolExecutor(WAYS, thread_name_prefix="druse-remote") as threads:
        try:
            for item in items:
                weight = weigh(item)
                while flying and (len(flying) >= WAYS or sum(flying.values()) + weight > WINDOW):
                    yield from _done(flying)
                flying[threads.submit(work, item)] = weight
            while flying:
                yield from _done(flying)
        finally:
            for future in flying:
                future.cancel()


def _done(flying: dict[Future[Result], int]) -> Iterator[Result]:
    found, _ = wait(flying, return_when=FIRST_COMPLETED)
    for future in found:
        del flying[future]
    for future in found:
        yield future.result()
