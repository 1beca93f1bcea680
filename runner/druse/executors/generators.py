"""Generators of random numbers that the cells of one process share: random's, numpy's, torch's.

Cells of different threads may run together as long as none of them draws from these. That is seen
by their state: it is set when the first of such cells begins, and must be the same when each one
ends. Where it is not, the cells that ran are executed again, alone and seeded; and so is every
other cell of an experiment that drew when it was alone. What a cell gives is then what it gives
anywhere else. A cacheable step's result is kept only if nobody had drawn when it was there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from druse import numpys, seeds
from druse.seeds import Seeding, never, state

if TYPE_CHECKING:
    from druse.prepared import Prepared
    from druse.task import Outcome

Seed = Callable[[int], None]
Execute = Callable[["Seeding"], "Outcome"]

_NOBODY_DRAWS = 0x5EED


def _leave(seed: int) -> None:
    """Seeds nothing."""


class _Probe:
    """Seeds, and sees whether anything was drawn after that."""

    def __init__(self, seed: Seed) -> None:
        self._seed = seed
        self._after: tuple[Any, ...] | None = None
        self._drew = False

    def __call__(self, seed: int) -> None:
        self._look()
        self._seed(seed)
        self._after = state()

    def _look(self) -> None:
        self._drew = self._drew or (self._after is not None and state() != self._after)

    @property
    def drew(self) -> bool:
        self._look()
        return self._drew


class Sharing:
    """Lets cells run together, or one of them alone. Thread-safe.

    A token stands for one execution; whoever gives one up (a cell that took too long) says so.
    `probes_first`: the first cell of an experiment is executed alone, so that none has to be
    executed again.
    """

    def __init__(self, warn: Callable[[str], None], *, probes_first: bool = False) -> None:
        numpys.load()  # a cell that loaded it would seem to draw
        self._warn = warn
        self._probes_first = probes_first
        self._changed = threading.Condition()
        self._together: set[object] = set()
        self._alone: object | None = None
        self._want_alone = 0
        self._begin: tuple[Any, ...] = ()
        self._is_spoiled = False
        self._episodes = 0
        self._draws: dict[str, bool] = {}
        self._probed: dict[str, int] = {}

    def run(self, prepared: Prepared, token: object, execute: Execute) -> Outcome:
        """Executes a cell, together with others where that is right."""
        name, own = prepared.name, prepared.seed.seed_fn
        if own is not None:
            self._note(name, draws=True, why="its seed_fn sets a generator that threads share")
        if self._probes_first and name not in self._draws:
            with self.being_alone(token):
                if name not in self._draws:
                    return self._run_alone(name, seeds.seed_generators, execute)
        while not self._draws.get(name):
            outcome, spoiled = self._run_together(token, execute)
            if not spoiled:
                return outcome
            with self.being_alone(token):
                if self._probed.get(name, 0) < spoiled or self._draws[name]:
                    return self._run_alone(name, own or seeds.seed_generators, execute)
        with self.being_alone(token):
            return execute(Seeding(own or seeds.seed_generators))

    def _run_together(self, token: object, execute: Execute) -> tuple[Outcome, int]:
        """The outcome, and 0; or the number of the episode in which somebody drew meanwhile."""
        with self._changed:
            self._changed.wait_for(self._may_join)
            if not self._together:
                seeds.seed_generators(_NOBODY_DRAWS)
                self._begin, self._is_spoiled = state(), False
            self._together.add(token)
        try:
            outcome = execute(Seeding(_leave, lambda: self._has_drawn(token)))
        finally:
            with self._changed:
                self._has_drawn(token)
                spoiled = self._episodes if self._is_spoiled else 0
                self.give_up(token)
        return outcome, spoiled

    def _has_drawn(self, token: object) -> bool:
        """Whether a cell that runs with others, or one of them, may have drawn."""
        with self._changed:
            if token not in self._together:
                return True
            if not self._is_spoiled and state() != self._begin:
                self._is_spoiled = True
                self._episodes += 1
            return self._is_spoiled

    def _may_join(self) -> bool:
        if self._alone is not None or self._want_alone:
            return False
        return not (self._together and self._is_spoiled)

    def _run_alone(self, name: str, seed: Seed, execute: Execute) -> Outcome:
        probe = _Probe(seed)
        outcome = execute(Seeding(probe))
        self._probed[name] = self._episodes
        self._note(name, draws=probe.drew, why="they draw from generators that threads share")
        return outcome

    def _note(self, name: str, *, draws: bool, why: str) -> None:
        if draws and not self._draws.get(name):
            self._warn(
                f"{name}: its cells are executed one at a time, since {why} "
                "(executor_type='thread'); executor_type='process' runs them side by side"
            )
        self._draws[name] = draws

    @contextmanager
    def being_alone(self, token: object, unless: Callable[[], bool] = never) -> Iterator[bool]:
        """Within the block no other cell runs; or `unless` came to hold, then it gives False."""
        with self._changed:
            self._want_alone += 1
            try:
                self._changed.wait_for(
                    lambda: unless() or (self._alone is None and not self._together)
                )
            finally:
                self._want_alone -= 1
            is_alone = not unless()
            if is_alone:
                self._alone = token
            else:
                self._changed.notify_all()  # who waits to join need not wait for this one
        try:
            yield is_alone
        finally:
            if is_alone:
                self.give_up(token)

    def give_up(self, token: object) -> None:
        """An execution is over, or nobody waits for it any more."""
        with self._changed:
            self._together.discard(token)
            if self._alone is token:
                self._alone = None
            self._changed.notify_all()
