"""Packs that go, and packs that are written anew: copied, made durable, swapped, then unlinked.

An entry is swapped only if it still names the place that was copied. A pack with damage stays, for
`repair`. Unsealed packs are touched under their lock only, so that nobody appends to them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from druse_store import disk, frames, parallel
from druse_store.appender import Appender
from druse_store.changes import Change
from druse_store.errors import DiskFull, StoreError
from druse_store.frames import HEADER_SIZE
from druse_store.gc.anew import Anew
from druse_store.gc.buckets import under
from druse_store.gc.packs import Group
from druse_store.gc.swaps import Swap, Swaps
from druse_store.gc.sweep import Sweeper
from druse_store.gc.wave import Wave, waves
from druse_store.index.bulk import Bulk, Scan
from druse_store.index.environment import Environment
from druse_store.index.values import CHUNKS, QUARANTINED, SEALED
from druse_store.location import Location

if TYPE_CHECKING:
    from concurrent.futures import Future

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
        self._begun: Wave | None = None
        self._places: dict[bytes, bytearray] = {}
        self.done = Compacted()

    def sweep(self, doomed: Sequence[bytearray], limit: int, dead: list[bytes]) -> None:
        """Sweeps chunks in one go with the places that others get, and removes packs in which
        nothing lives any more. If the copies fail, as on a full disk, that is done without them.
        Raises DiskFull also where there is no room for the table: then nothing was done."""
        dead = [pack for pack in dead if self._may_touch(pack)]
        wave, self._begun = self._begun or Wave(self._location, self._step), None
        failure: StoreError | None = None
        full: DiskFull | None = None
        with wave:
            try:
                self._finish_copies(wave)
            except StoreError as error:
                failure = error
                wave.give_up()
            else:
                try:
                    back = self._write_chunks_anew(wave, [*dead, *wave.over], doomed, limit)
                except DiskFull as error:
                    full = error
        if full is not None:
            self.orphans([out.file_id for out in wave.packs])
            raise full
        if failure is not None:
            with Wave(self._location, self._step) as nothing:
                self._write_chunks_anew(nothing, dead, doomed, limit)
            raise failure
        self._copy_rest({pack: back[pack] for pack in wave.over if pack in back})

    def remove(self, dead: list[bytes]) -> None:
        """Removes packs in which nothing lives, which needs no room."""
        dead = [pack for pack in dead if self._may_touch(pack)]
        still = self._rows(dead)
        self._remove([pack for pack in dead if not still[pack]])

    def close(self) -> None:
        """Ends it, done or not."""
        locked, self._locked = self._locked, {}
        begun, self._begun = self._begun, None
        with ExitStack() as stack:
            for appender in locked.values():
                stack.callback(appender.close)
            stack.callback(self.finish)
            if begun is not None:
                stack.enter_context(begun)

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
                gone = {key for keys in doomed for key in under(keys, head)}
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
            _forget(tables, gone)
            return []

        if gone:
            self._sweeper.transact("forget packs", work)
        self._unlink_all(gone)

    def _unlink_all(self, gone: list[bytes]) -> None:
        """Takes packs off the disk that the index does not name any more."""
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
        errors = [each.exception() for each in leaving]  # first of all: it waits
        for error in errors:
            if error is not None:
                raise error

    def orphans(self, found: list[bytes]) -> None:
        """Removes packs that the index does not name, and nobody is making."""
        for pack in found:
            appender = Appender.adopt(self._location, pack, frames.PACK)
            if appender is None:
                continue
            with closing(appender):
                self._sweeper.catch_up()
                with Scan(self._environment) as scan:
                    known = scan.file(pack) is not None
                if not known:
                    self._unlink(appender.path, at_once=True)

    # --- writing anew --------------------------------------------------------------------------

    def start(
        self, groups: list[Group], doomed: Sequence[bytearray], places: dict[bytes, bytearray]
    ) -> None:
        """Begins to copy, beside the sweep, what there is room for before anything is removed.
        `doomed`: keys, in order, of the chunks that are going to be swept. `places`: of what stays
        in some of the packs."""
        self._places = places
        self._groups = list(waves(groups, self._chunk_size(), self._room()))
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

    def _begin(self, groups: list[Group], doomed: Sequence[bytearray]) -> Wave:
        # First nobody can append to them any more, then their chunks are looked up. (What came to
        # one since the plan is found when it is to be removed.)
        free = [[pack for pack in group.packs if self._may_touch(pack)] for group in groups]
        rows = self._rows({p for packs in free for p in packs} - self._places.keys(), doomed)
        wave = Wave(self._location, self._step)
        for group, packs in zip(groups, free, strict=True):
            wanted = [(pack, rows.pop(pack)) for pack in packs if pack in rows]
            plain = [(p, self._places.pop(p)) for p in packs if p in self._places]
            wave.add(wanted, plain, group.size)
        wave.crew.start()
        return wave

    def _complete(self, wave: Wave) -> None:
        """Points entries at their new places, once these are durable; then the old packs go."""
        self._finish_copies(wave)
        if self._sweeper.may_write_anew(moving=wave.swaps.count):
            back = self._write_chunks_anew(wave, wave.over, (), 0)
        else:
            self._name(wave.packs)
            self._swap(wave.swaps)
            back = self._rows(wave.over)
            self._remove([pack for pack in wave.over if not back[pack]])
        self._copy_rest(back)

    def _copy_rest(self, rows: dict[bytes, bytearray]) -> None:
        """Copies what was doomed, and came back to life, from packs of which all else was."""
        back = [(pack, chunks) for pack, chunks in rows.items() if chunks]
        if back:
            with Wave(self._location, self._step) as more:
                more.add(back, [], 0)
                self._complete(more)

    def _finish_copies(self, wave: Wave) -> None:
        wave.crew.finish(lambda done, total: self._advance("write packs anew", done, total))
        self.done.damaged += wave.damaged
        for out in wave.packs:
            out.sync()

    def _swap(self, swaps: Swaps) -> None:
        """Gives entries the places that they get, a part of them after the other."""
        for part in swaps.slices(self._sweeper.slice):

            def move(tables: Bulk, part: list[Swap] = part) -> list[Change]:
                tables.move_chunks(part)
                return []

            self._sweeper.transact("swap places", move)

    def _write_chunks_anew(
        self, wave: Wave, over: list[bytes], doomed: Sequence[bytearray], limit: int
    ) -> dict[bytes, bytearray]:
        """In one transaction: new packs are named, chunks swept, others given their new places,
        and packs that are over forgotten, unless something lies in them still. Returns the rows of
        these chunks by pack."""
        anew = Anew(
            self._sweeper,
            doomed,
            limit,
            wave.swaps,
            lambda done, total: self._advance("write chunks anew", done, total),
        )
        gone: list[bytes] = []

        def work(tables: Bulk) -> list[Change]:
            _name(tables, wave.packs)
            anew.run(tables)
            gone[:] = [pack for pack in over if pack not in anew.named]
            _forget(tables, gone)
            return []

        self._sweeper.transact("write chunks anew", work)
        self._count_written(wave.packs)
        self._unlink_all(gone)
        self._sweeper.revive_comeback()
        return self._rows(set(over) - set(gone))

    def _name(self, packs: list[Appender]) -> None:
        def name(tables: Bulk) -> list[Change]:
            _name(tables, packs)
            return []

        if packs:
            self._sweeper.transact("name packs", name)
            self._count_written(packs)

    def _count_written(self, packs: list[Appender]) -> None:
        for out in packs:
            self.done.written += 1
            self.done.freed -= out.end

    def _chunk_size(self) -> float:
        """The bytes that a chunk takes, on average."""
        with Scan(self._environment) as scan:
            sizes = [entry.end for _, entry in scan.files() if entry.kind == frames.PACK]
            return max(sum(sizes) / max(scan.count(CHUNKS), 1), HEADER_SIZE)

    def _room(self) -> int:
        """The bytes that may be written before others are given free for them."""
        return shutil.disk_usage(self._location.packs).free // 4


def _name(tables: Bulk, packs: list[Appender]) -> None:
    for out in packs:
        tables.put_file(out.file_id, out.entry())


def _forget(tables: Bulk, packs: list[bytes]) -> None:
    for pack in packs:
        entry = tables.file(pack)
        if entry is not None:
            tables.drop_file(pack, entry)
