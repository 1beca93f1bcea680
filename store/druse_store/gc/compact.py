"""Packs that go, and packs that are written anew: copied, made durable, swapped, then unlinked.

An entry is swapped only if it still names the place that was copied. A pack with damage stays, for
`repair`. Unsealed packs are touched under their lock only, so that nobody appends to them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from druse_store import disk, frames, parallel
from druse_store.appender import Appender
from druse_store.changes import Change
from druse_store.frames import HEADER_SIZE
from druse_store.gc import copying
from druse_store.gc.copying import Source
from druse_store.gc.packs import Group
from druse_store.gc.swaps import Swap, Swaps
from druse_store.gc.sweep import Sweeper
from druse_store.index.bulk import Bulk, Scan
from druse_store.index.environment import Environment
from druse_store.index.values import CHUNKS, QUARANTINED, SEALED
from druse_store.location import Location

if TYPE_CHECKING:
    from concurrent.futures import Future

_WAVE = 500_000  # chunks whose rows are in memory at once

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
        self.done = Compacted()

    def run(self, dead: list[bytes], groups: list[Group]) -> None:
        """Wholly dead packs first, which needs no room; then groups, as the plan has them."""
        try:
            dead = [pack for pack in dead if self._may_touch(pack)]
            still = self._rows(dead)
            self._remove([pack for pack in dead if not still[pack]])
            self.finish()
            self._groups(groups)
        finally:
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

    def _rows(self, wanted: Iterable[bytes]) -> dict[bytes, bytearray]:
        """The rows of all chunks in these packs, keys and values side by side."""
        found = {pack: bytearray() for pack in wanted}
        if not found:
            return found
        with Scan(self._environment) as scan:
            for head, rows in scan.slices(CHUNKS):
                self._advance("look into packs", head, 256)
                for key, value in rows:
                    into = found.get(value[:8])
                    if into is not None:
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
            self._unlink(self._location.pack(pack))
        for pack in self._locked.keys() & gone:
            self.finish()  # before somebody else may lock it
            self._locked.pop(pack).close()

    def _unlink(self, path: Path) -> None:
        """Begins to: to give up the memory that holds a file takes the system a while."""
        with disk.translated("removing", path), suppress(FileNotFoundError):
            self.done.freed += path.stat().st_size
            self.done.removed += 1
            self._leaving.append(parallel.pool().submit(self._take_away, path))

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
                self._unlink(appender.path)
                self.finish()
            appender.close()

    # --- writing anew --------------------------------------------------------------------------

    def _groups(self, groups: list[Group]) -> None:
        total = sum(group.size for group in groups)
        done = 0
        for wave in _waves(groups, self._chunk_size(), self._room):
            self.finish()
            # First nobody can append to them any more, then their chunks are looked up.
            free = [[pack for pack in group.packs if self._may_touch(pack)] for group in wave]
            rows = self._rows({pack for packs in free for pack in packs})
            with _Wave() as written:
                for group, packs in zip(wave, free, strict=True):
                    self._advance("write packs anew", done, total)
                    sources = [Source.open(self._location, p, rows.pop(p)) for p in packs]
                    self._copy(sources, written)
                    done += group.size
                self._swap(written)

    def _chunk_size(self) -> float:
        """The bytes that a chunk takes, on average."""
        with Scan(self._environment) as scan:
            sizes = [entry.end for _, entry in scan.files() if entry.kind == frames.PACK]
            return max(sum(sizes) / max(scan.count(CHUNKS), 1), HEADER_SIZE)

    def _room(self) -> int:
        """The bytes that may be written before others are given free for them."""
        return shutil.disk_usage(self._location.packs).free // 4

    def _copy(self, sources: list[Source], written: _Wave) -> None:
        """Copies what some packs still have into a new one."""
        if any(source.extents or source.frames for source in sources):
            out = written.begin(Appender.create(self._location, frames.PACK))
            for source in sources:
                copying.copy_extents(source, out, written.swaps)
            for source in sources:
                copying.copy_frames(source, out, written.swaps)
            out.seal()
            out.start_sync()
            self._step("copy packs")
        for source in sources:
            self.done.damaged += source.damaged
            if not source.damaged:
                written.over.append(source.file_id)
            source.data = memoryview(b"")

    def _swap(self, written: _Wave) -> None:
        """Points entries at their new places, once these are durable; then the old packs go."""
        for out in written.packs:
            out.sync()
            self.done.written += 1
            self.done.freed -= out.end

        def name(tables: Bulk) -> list[Change]:
            for out in written.packs:
                tables.put_file(out.file_id, out.entry())
            return []

        if written.packs:
            self._sweeper.transact("name packs", name)
        for part in written.swaps.slices(self._sweeper.slice):

            def move(tables: Bulk, part: list[Swap] = part) -> list[Change]:
                tables.move_chunks(part)
                return []

            self._sweeper.transact("swap places", move)
        self._remove(written.over)


class _Wave:
    """What is written before entries are pointed at it."""

    def __init__(self) -> None:
        self.packs: list[Appender] = []
        self.swaps = Swaps()
        self.over: list[bytes] = []  # packs of which all was copied

    def begin(self, out: Appender) -> Appender:
        self.packs.append(out)
        return out

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for out in self.packs:
            out.close()


def _waves(groups: list[Group], chunk: float, room: Callable[[], int]) -> Iterator[list[Group]]:
    """Groups, so many at a time that the rows of their chunks fit into memory (a `chunk` takes so
    many bytes), and their bytes into the room that there is: at least one."""
    wave: list[Group] = []
    size, limit = 0, room()
    for group in groups:
        if wave and (size + group.size > limit or (size + group.size) / chunk > _WAVE):
            yield wave
            wave, size, limit = [], 0, room()
        wave.append(group)
        size += group.size
    if wave:
        yield wave
