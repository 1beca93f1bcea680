"""Work on all cores, in order, with bounded memory.

Chunking, hashing and compression release the interpreter lock, so threads do. The pool belongs to
the process, and is made anew in a forked child.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

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


def submit(work: Callable[..., Result], *args: Any) -> Future[Result]:
    """Has a thread of this process do it: the calling one, where no others are to be had, as at the
    end of the interpreter."""
    try:
        return pool().submit(work, *args)
    except RuntimeError:
        from concurrent.futures import Future

    done: Future[Result] = Future()
    try:
        done.set_result(work(*args))
    except BaseException as error:
        done.set_exception(error)
    return done


def ordered(
    work: Callable[[Item], Result], items: Iterable[Item], weigh: Callable[[Item], int]
) -> Iterator[Result]:
    """`work(item)` for each item, in their order; `weigh` says how many bytes an item holds.

    Items are drawn, and results handed out, in the calling thread.
    """
    waiting: deque[tuple[int, Item, Future[Result]]] = deque()
    flying = 0
    try:
        for item in items:
            weight = weigh(item)
            while waiting and (flying + weight > WINDOW or waiting[0][2].done()):
                done, first, future = waiting.popleft()
                flying -= done
                yield _outcome(work, first, future)
            waiting.append((weight, item, submit(work, item)))
            flying += weight
        while waiting:
            yield _outcome(work, *waiting.popleft()[1:])
    finally:
        for *_, future in waiting:
            future.cancel()
        for *_, future in waiting:
            if not future.cancelled():
                future.exception()


def _outcome(work: Callable[[Item], Result], item: Item, future: Future[Result]) -> Result:
    # If it has not begun, whoever should do it may be waiting for the caller: not vice versa.
    return work(item) if future.cancel() else future.result()


def spread(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`work(item)` for each item; the results in their order, the work in about that.

    Whoever has nothing to do draws the next item, the calling thread among them: none waits for
    another but while that draws. There is one thread more than there are cores, for their sake.
    """
    drawn = iter(items)
    first = list(islice(drawn, 2))
    if len(first) < 2:  # not worth waking anybody
        return [work(item) for item in first]
    crew = _Crew(work, chain(first, drawn))
    helpers = [submit(crew.run) for _ in range(cores())]
    try:
        crew.run()
    finally:
        crew.stop()
        for helper in helpers:
            helper.cancel()
        errors = [helper.exception() for helper in helpers if not helper.cancelled()]
    for error in errors:
        if error is not None:
            raise error
    return crew.results


class _Crew(Generic[Item, Result]):
    """Threads that draw from the same items."""

    def __init__(self, work: Callable[[Item], Result], items: Iterator[Item]) -> None:
        self._work = work
        self._items = items
        self._drawing = threading.Lock()
        self._is_over = False
        self._done: dict[int, Result] = {}
        self._count = 0

    @property
    def results(self) -> list[Result]:
        return [self._done[number] for number in range(self._count)]

    def run(self) -> None:
        """Works until there is nothing left, or somebody fails."""
        try:
            while (drawn := self._draw()) is not None:
                number, item = drawn
                self._done[number] = self._work(item)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Lets nobody draw any more."""
        self._is_over = True

    def _draw(self) -> tuple[int, Item] | None:
        with self._drawing:
            if self._is_over:
                return None
            for item in self._items:
                self._count += 1
                return self._count - 1, item
            self._is_over = True
            return None


def _forget() -> None:
    global _pool, _guard  # the threads, and who holds the lock, are not here
    _pool, _guard = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)
