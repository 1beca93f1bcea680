"""What a server can do, found out by asking it: `druse remote test URL`, and when one is added.

Correctness rests on none of this. A server that overwrites what was to be created only makes
leases less sure; one that lists late makes others see records late.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from druse_store.errors import ObjectExists, ObjectMissing, RemoteError
from druse_store.remote import layout
from druse_store.remote.backend import Backend

_RACERS, _RACES = 8, 4


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a remote honours."""

    writes: bool = False
    create: bool = False
    one_winner: bool = False
    lists_at_once: bool = False

    @classmethod
    def of(cls, values: Any) -> Capabilities:
        """From what was remembered; whatever is not known counts as not honoured."""
        known = values if isinstance(values, dict) else {}
        return cls(**{name: known.get(name) is True for name in cls.__slots__})

    def to_dict(self) -> dict[str, bool]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Check:
    """One question and its answer; `must`: without it, this is no remote to write to."""

    name: str
    passed: bool
    must: bool
    said: str = ""


@dataclass(frozen=True, slots=True)
class Probed:
    checks: tuple[Check, ...]
    capabilities: Capabilities

    @property
    def usable(self) -> bool:
        return all(check.passed for check in self.checks if check.must)


def probe(backend: Backend) -> Probed:
    """Asks a server what it can do, in a folder of its own that is removed again."""
    run = _Probe(backend)
    return run.reading() if backend.read_only else run.writing()


class _Probe:
    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.folder = f"{layout.PROBE}{layout.ulid()}/"
        self.checks: list[Check] = []

    def reading(self) -> Probed:
        self._check("a marker can be read", True, lambda: bool(self.backend.load(layout.MARKER)))
        self._check("objects can be listed", True, lambda: list(self.backend.list("")) is not None)
        return Probed(tuple(self.checks), Capabilities())

    def writing(self) -> Probed:
        try:
            answers = [self._check(name, True, ask) for name, ask in self._musts()]
            found = Capabilities(
                writes=all(answers),
                create=self._check("creating refuses what is there", False, self._creates),
                one_winner=self._check("of many creators one wins", False, self._one_wins),
                lists_at_once=self._check("what is stored is listed at once", False, self._lists),
            )
        finally:
            self._clear()
        return Probed(tuple(self.checks), found)

    def _musts(self) -> list[tuple[str, Callable[[], bool]]]:
        return [
            ("an object comes back as it was stored", self._round_trip),
            ("a part of an object can be read", self._part),
            ("an object of 9 MiB comes back", self._large),
            ("storing again replaces", self._replaces),
            ("a missing object is reported as such", self._missing),
            ("objects are listed", self._lists_in_the_end),
            ("objects can be removed, missing ones too", self._deletes),
        ]

    def _check(self, name: str, must: bool, ask: Callable[[], bool]) -> bool:
        try:
            passed, said = ask(), ""
        except RemoteError as error:
            passed, said = False, str(error)
        self.checks.append(Check(name, passed, must, said))
        return passed

    def _round_trip(self) -> bool:
        self.backend.store(f"{self.folder}a", b"0123456789")
        return self.backend.load(f"{self.folder}a") == b"0123456789"

    def _part(self) -> bool:
        return self.backend.load(f"{self.folder}a", 3, 4) == b"3456"

    def _large(self) -> bool:
        data = bytes(range(256)) * (9 << 12)
        self.backend.store(f"{self.folder}large", data)
        return self.backend.load(f"{self.folder}large") == data

    def _replaces(self) -> bool:
        self.backend.store(f"{self.folder}a", b"second")
        return self.backend.load(f"{self.folder}a") == b"second"

    def _missing(self) -> bool:
        try:
            self.backend.load(f"{self.folder}missing")
        except ObjectMissing:
            return True
        return False

    def _lists(self) -> bool:
        key = f"{self.folder}listed/{layout.ulid()}"
        self.backend.store(key, b"x")
        found = {entry.key: entry.size for entry in self.backend.list(f"{self.folder}listed/")}
        return found == {key: 1}

    def _lists_in_the_end(self) -> bool:
        return self._within(10, lambda: len(list(self.backend.list(self.folder))) >= 2)

    def _deletes(self) -> bool:
        self.backend.delete([f"{self.folder}a", f"{self.folder}never"])
        try:
            self.backend.load(f"{self.folder}a")
        except ObjectMissing:
            return True
        return False

    def _creates(self) -> bool:
        key = f"{self.folder}created"
        self.backend.store(key, b"first", create=True)
        try:
            self.backend.store(key, b"second", create=True)
        except ObjectExists:
            return self.backend.load(key) == b"first"
        return False

    def _one_wins(self) -> bool:
        def race(key: str) -> bool:
            try:
                self.backend.store(key, layout.ulid().encode(), create=True)
            except ObjectExists:
                return False
            return True

        with ThreadPoolExecutor(_RACERS) as threads:
            for number in range(_RACES):
                key = f"{self.folder}raced{number}"
                if sum(threads.map(race, [key] * _RACERS)) != 1:
                    return False
        return True

    def _within(self, seconds: float, ask: Callable[[], bool]) -> bool:
        until = time.monotonic() + seconds
        while not ask():
            if time.monotonic() > until:
                return False
            time.sleep(0.2)
        return True

    def _clear(self) -> None:
        try:
            self.backend.delete([entry.key for entry in self.backend.list(self.folder)])
        except RemoteError:
            return  # the checks have said what is wrong
