"""Work on all cores, in order, with bounded memory.

Chunking, hashing and compression release the interpreter lock, so threads do. The pool belongs to
the process, and is made anew in a forked child.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

Item = TypeVar("Item")
Result = TypeVar("Result")

WINDOW = 12 << 20  # bytes in flight

_pool: ThreadPoolExecutor | None = None
_guard = threading.Lock()


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pool() -> ThreadPoolExecutor:
    """The threads of this process."""
    global _pool  # noqa: PLW0603
    with _guard:
        if _pool is None:
            from concurrent.futures import ThreadPoolExecutor

            _pool = ThreadPoolExecutor(cores(), thread_name_prefix="druse-store")
        return _pool


def ordered(
    work: Callable[[Item], Result], items: Iterable[Item], weigh: Callable[[Item], int]
) -> Iterator[Result]:
    """`work(item)` for each item, in their order; `weigh` says how many bytes an item holds.

    Items are drawn, and results handed out, in the calling thread.
    """
    threads = pool()
    waiting: deque[tuple[int, Future[Result]]] = deque()
    flying = 0
    try:
        for item in items:
            weight = weigh(item)
            while waiting and (flying + weight > WINDOW or waiting[0][1].done()):
                done, future = waiting.popleft()
                flying -= done
                yield future.result()
            waiting.append((weight, threads.submit(work, item)))
            flying += weight
        while waiting:
            yield waiting.popleft()[1].result()
    finally:
        for _, future in waiting:
            future.cancel()
        for _, future in waiting:
            if not future.cancelled():
                future.exception()


def _forget() -> None:
    global _pool, _guard  # the threads, and who holds the lock, are not here
    _pool, _guard = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)
