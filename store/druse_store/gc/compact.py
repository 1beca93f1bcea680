"""Packs that go, and packs that are written anew: copied, made durable, swapped, then unlinked.

An entry is swapped only if it still names the place that was copied. A pack with damage stays, for
`repair`. Unsealed packs are touched under their lock only, so that nobody appends to them.
"""

from __future__ import annotations

import shutil
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import compress
from operator import is_
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from druse_store import disk, frames, parallel
from druse_store.appender import Appender
from druse_store.changes import Change
from druse_store.digest import SIZE
from druse_store.frames import HEADER_SIZE
from druse_store.gc.buckets import COUNT
from druse_store.gc.crew import Crew, Job
from druse_store.gc.packs import Group
from druse_store.gc.swaps import Swap, Swaps
from druse_store.gc.sweep import Sweeper
from druse_store.index.bulk import Bulk, Row, Scan
from druse_store.index.environment import Environment
from druse_store.index.values import CHUNKS, QUARANTINED, SEALED
from druse_store.location import Location

if TYPE_CHECKING:
    from concurrent.futures import Future

_WAVE = 550_000  # chunks whose rows are in memory at once
_PACKS = 200  # that are written at once: each is an open file

Advance = Callable[[str, int, int], None]
Step = Callable[[str], None]


@dataclass(slots=True)
class Compacted:
    """What became of the packs."""

    removed: int = 0
    written: int = 0
    freed: int = 0
    damaged: list[str] = field(default_factory=list)


class Compactor:
    """Removes packs and writes others anew, with the transactions of a collection."""

    def __init__(
        self,
        location: Location,
        environment: Environment,
        sweeper: Sweeper,
        advance: Advance,
        step: Step,
    ) -> None:
        self._location = location
        self._environment = environment
        self._sweeper = sweeper
        self._advance = advance
        self._step = step
        self._locked: dict[bytes, Appender] = {}
        self._leaving: list[Future[None]] = []
        self._groups: list[list[Group]] = []  # that are still to be begun, a wave each
        self._begun: _Wave | None = None
        self._places: dict[bytes, bytearray] = {}
        self.done = Compacted()

    def remove(self, dead: list[bytes]) -> None:
        """Removes packs in which nothing lives, which needs no room."""
        dead = [pack for pack in dead if self._may_touch(pack)]
        still = self._rows(dead)
        self._remove([pack for pack in dead if not still[pack]])

    def close(self) -> None:
        """Ends it, done or not."""
        if self._begun is not None:
            with self._begun:
                self._begun = None
        self.finish()
        for appender in self._locked.values():
            appender.close()
        self._locked.clear()

    # --- which ---------------------------------------------------------------------------------

    def _may_touch(self, pack: bytes) -> bool:
        """Whether nobody appends to a pack; from here on nobody can."""
        with Scan(self._environment) as scan:
            entry = scan.file(pack)
        if entry is None or entry.state == QUARANTINED:
            return False
        if entry.state == SEALED or pack in self._locked:
            return True
        appender = Appender.adopt(self._location, pack, frames.PACK)
        if appender is None:
            return False
        self._locked[pack] = appender
        self._sweeper.catch_up()
        with Scan(self._environment) as scan:  # again, now that it is locked
            return scan.file(pack) == entry

    def _rows(
        self, wanted: Iterable[bytes], doomed: Sequence[bytearray] = ()
    ) -> dict[bytes, bytearray]:
        """The rows of all chunks in these packs but the doomed, keys and values side by side."""
        found = {pack: bytearray() for pack in wanted}
        if not found:
            return found
        with Scan(self._environment) as scan:
            for head, rows in scan.slices(CHUNKS):
                self._advance("look into packs", head, 256)
                gone = {key for keys in doomed for key in _under(keys, head)}
                for key, value in rows:
                    into = found.get(value[:8])
                    if into is not None and key not in gone:
                        into += key
                        into += value
        return found

    # --- removal -------------------------------------------------------------------------------

    def _remove(self, gone: list[bytes]) -> None:
        """Takes packs out of the index, and then off the disk."""

        def work(tables: Bulk) -> list[Change]:
            for pack in gone:
                entry = tables.file(pack)
                if entry is not None:
                    tables.drop_file(pack, entry)
            return []

        if gone:
            self._sweeper.transact("forget packs", work)
        for pack in gone:
            self._unlink(self._location.pack(pack), at_once=pack in self._locked)
            if pack in self._locked:
                self._locked.pop(pack).close()

    def _unlink(self, path: Path, *, at_once: bool) -> None:
        """Or begins to: to give up the memory that holds a file takes the system a while."""
        with disk.translated("removing", path), suppress(FileNotFoundError):
            self.done.freed += path.stat().st_size
            self.done.removed += 1
            if at_once:
                self._take_away(path)
            else:
                self._leaving.append(parallel.submit(self._take_away, path))

    def _take_away(self, path: Path) -> None:
        with disk.translated("removing", path):
            path.unlink(missing_ok=True)
        self._step("unlink a pack")

    def finish(self) -> None:
        """Waits until all that is to go is gone."""
        leaving, self._leaving = self._leaving, []
        for each in leaving:
            each.result()

    def orphans(self, found: list[bytes]) -> None:
        """Removes packs that the index does not name, and nobody is making."""
        for pack in found:
            appender = Appender.adopt(self._location, pack, frames.PACK)
            if appender is None:
                continue
            self._sweeper.catch_up()
            with Scan(self._environment) as scan:
                known = scan.file(pack) is not None
            if not known:
                self._unlink(appender.path, at_once=True)
            appender.close()

    # --- writing anew --------------------------------------------------------------------------

    def start(
        self, groups: list[Group], doomed: Sequence[bytearray], places: dict[bytes, bytearray]
    ) -> None:
        """Begins to copy, beside the sweep, what there is room for before anything is removed.
        `doomed`: keys, in order, of the chunks that are going to be swept. `places`: of what stays
        in some of the packs."""
        self._places = places
        self._groups = list(_waves(groups, self._chunk_size(), self._room()))
        if self._groups and sum(group.size for group in self._groups[0]) <= self._room():
            self._begun = self._begin(self._groups.pop(0), doomed)

    def write_anew(self) -> None:
        """Completes what was begun, and does what was not."""
        done, total = 0, len(self._groups) + 1
        while self._begun is not None or self._groups:
            self.finish()
            self._advance("write packs anew", done, total)
            wave, self._begun = self._begun or self._begin(self._groups.pop(0), ()), None
            with wave:
                self._complete(wave)
            done += 1

    def _begin(self, groups: list[Group], doomed: Sequence[bytearray]) -> _Wave:
        # First nobody can append to them any more, then their chunks are looked up. (What came to
        # one since the plan is found when it is to be removed.)
        free = [[pack for pack in group.packs if self._may_touch(pack)] for group in groups]
        rows = self._rows({p for packs in free for p in packs} - self._places.keys(), doomed)
        wave = _Wave(self._location, self._step)
        for group, packs in zip(groups, free, strict=True):
            wanted = [(pack, rows.pop(pack)) for pack in packs if pack in rows]
            plain = [(p, self._places.pop(p)) for p in packs if p in self._places]
            wave.add(wanted, plain, group.size)
        wave.crew.start()
        return wave

    def _complete(self, wave: _Wave) -> None:
        """Points entries at their new places, once these are durable; then the old packs go."""
        wave.crew.finish(lambda done, total: self._advance("write packs anew", done, total))
        self.done.damaged += wave.damaged
        self._name(wave.packs)
        if self._sweeper.may_write_anew(CHUNKS, wave.swaps.count):
            rows = self._swap_anew(wave)
        else:
            self._swap(wave.swaps)
            rows = self._rows(wave.over)
        self._remove([pack for pack in wave.over if not rows[pack]])
        back = [(pack, chunks) for pack, chunks in rows.items() if chunks]
        if back:  # what was doomed, and came back to life
            with _Wave(self._location, self._step) as more:
                more.add(back, [], 0)
                self._complete(more)

    def _swap(self, swaps: Swaps) -> None:
        """Gives entries the places that they get, a part of them after the other."""
        for part in swaps.slices(self._sweeper.slice):

            def move(tables: Bulk, part: list[Swap] = part) -> list[Change]:
                tables.move_chunks(part)
                return []

            self._sweeper.transact("swap places", move)

    def _swap_anew(self, wave: _Wave) -> dict[bytes, bytearray]:
        """Gives entries the places that they get, all at once. Returns what `_rows` finds then."""
        left = {pack: bytearray() for pack in wave.over}

        def change(head: int, rows: list[Row]) -> list[Row]:
            self._advance("swap places", head, COUNT)
            found = wave.swaps.applied(head, rows)
            for key, value in compress(found, map(is_, found, rows)):
                into = left.get(value[:8])
                if into is not None:
                    into += key
                    into += value
            return found

        def work(tables: Bulk) -> list[Change]:
            tables.write_anew(CHUNKS, change)
            return []

        self._sweeper.transact("swap places", work)
        return left

    def _name(self, packs: list[Appender]) -> None:
        for out in packs:
            out.sync()
            self.done.written += 1
            self.done.freed -= out.end

        def name(tables: Bulk) -> list[Change]:
            for out in packs:
                tables.put_file(out.file_id, out.entry())
            return []

        if packs:
            self._sweeper.transact("name packs", name)

    def _chunk_size(self) -> float:
        """The bytes that a chunk takes, on average."""
        with Scan(self._environment) as scan:
            sizes = [entry.end for _, entry in scan.files() if entry.kind == frames.PACK]
            return max(sum(sizes) / max(scan.count(CHUNKS), 1), HEADER_SIZE)

    def _room(self) -> int:
        """The bytes that may be written before others are given free for them."""
        return shutil.disk_usage(self._location.packs).free // 4


class _Wave:
    """What is written before entries are pointed at it."""

    def __init__(self, location: Location, step: Step) -> None:
        self._location = location
        self._step = step
        self.swaps = Swaps()
        self.crew = Crew(location, self.swaps, self._copied)
        self.packs: list[Appender] = []
        self.over: list[bytes] = []  # packs of which all was copied
        self.damaged: list[str] = []

    def add(
        self,
        wanted: list[tuple[bytes, bytearray]],
        plain: list[tuple[bytes, bytearray]],
        size: int,
    ) -> None:
        """Packs, with the rows of their chunks or their places: about so many bytes, that become
        one pack."""
        if plain or any(rows for _, rows in wanted):
            out = Appender.create(self._location, frames.PACK)
            self.crew.add(Job(wanted, plain, size, out))
        else:
            self.over += [pack for pack, _ in wanted]

    def _copied(self, job: Job) -> None:
        self.over += job.copied
        self.damaged += job.damaged
        if not job.out.frames:  # all of it was damaged
            job.give_up()
            return
        job.out.seal()
        job.out.start_sync()
        self.packs.append(job.out)
        self._step("copy packs")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.crew.close()
        for out in self.packs:
            out.close()


def _waves(groups: list[Group], chunk: float, room: int) -> Iterator[list[Group]]:
    """Groups, so many at a time that the rows of their chunks fit into memory (a `chunk` takes so
    many bytes), and their bytes into the room that there is: at least one."""
    wave: list[Group] = []
    size = 0
    for group in groups:
        total = size + group.size
        if wave and (total > room or total / chunk > _WAVE or len(wave) == _PACKS):
            yield wave
            wave, total = [], group.size
        wave.append(group)
        size = total
    if wave:
        yield wave


def _under(keys: bytearray, head: int) -> Iterator[bytes]:
    """Those of keys, side by side and in order, that begin with this byte."""
    places = range(0, len(keys), SIZE)
    first = bisect_left(places, head, key=keys.__getitem__)
    for place in places[first : bisect_right(places, head, key=keys.__getitem__)]:
        yield bytes(keys[place : place + SIZE])
