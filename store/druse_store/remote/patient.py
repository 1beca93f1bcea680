"""A backend that asks again: the same contract around another one.

A server that was restarted, or a network that was gone for a moment, ends no transfer. What is
asked again is safe to repeat: keys are unique and objects immutable. Whoever could do without the
remote gives it little patience.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from druse_store.errors import ObjectExists, RemoteUnavailable
from druse_store.remote.backend import Backend, Entry

if TYPE_CHECKING:
    from typing_extensions import Buffer

T = TypeVar("T")

_FIRST_PAUSE = 0.2  # seconds
_LONGEST_PAUSE = 5.0


class Patient:
    """Repeats what a server did not answer, until it has not answered at all for `patience` s.

    One that never answered yet gets `first` seconds. After `deadline` nothing is asked any more.
    """

    def __init__(self, backend: Backend, patience: float, first: float | None = None) -> None:
        self.backend = backend
        self.patience = patience
        self.first = patience if first is None else min(first, patience)
        self.deadline = float("inf")
        self.url = backend.url
        self.read_only = backend.read_only
        self.requests = 0
        self._guard = threading.Lock()
        self._answered = 0.0

    def load(self, key: str, start: int = 0, size: int | None = None) -> bytes:
        return self._ask(lambda: self.backend.load(key, start, size))

    def store(self, key: str, data: Buffer, *, create: bool = False) -> None:
        try:
            self._ask(lambda: self.backend.store(key, data, create=create))
        except ObjectExists:
            # The answer to a first try may have been lost: then it is ours.
            if self.backend.load(key) != bytes(memoryview(data)):
                raise

    def list(self, prefix: str) -> Iterator[Entry]:
        return iter(self._ask(lambda: list(self.backend.list(prefix))))

    def delete(self, keys: Iterable[str]) -> None:
        found = list(keys)
        if found:
            self._ask(lambda: self.backend.delete(found))

    def close(self) -> None:
        self.backend.close()

    def _ask(self, request: Callable[[], T]) -> T:
        began = time.monotonic()
        pause = _FIRST_PAUSE
        while True:
            if time.monotonic() > self.deadline:
                raise RemoteUnavailable(f"{self.url} took longer than it may: it was given up")
            with self._guard:
                self.requests += 1
            try:
                answer = request()
            except RemoteUnavailable:
                patience = self.patience if self._answered else self.first
                if time.monotonic() + pause > max(began, self._answered) + patience:
                    raise
            else:
                self._answered = time.monotonic()
                return answer
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads the crowd
            pause = min(2 * pause, _LONGEST_PAUSE)
