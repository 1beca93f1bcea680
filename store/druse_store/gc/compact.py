"""Packs that go, and packs that are written anew: copied, made durable, swapped, then unlinked.

An entry is swapped only if it still names the place that was copied. A pack with damage stays, for
`repair`. Unsealed packs are touched under their lock only, so that nobody appends to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from druse_store import disk, frames
from druse_store.appender import Appender
from druse_store.changes import Change
from druse_store.frames import HEADER_SIZE
from druse_store.gc import copying
from druse_store.gc.copying import PLACE, Source, Swap
from druse_store.gc.packs import Group
from druse_store.gc.sweep import SLICE, Sweeper
from druse_store.index import values
from druse_store.index.bulk import Bulk, Scan
from druse_store.index.environment import Environment
from druse_store.index.values import CHUNKS, QUARANTINED, SEALED
from druse_store.location import Location

_WAVE = 1_000_000  # chunks whose rows are in memory at once

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
        self.done = Compacted()

    def run(self, dead: list[bytes], groups: list[Group]) -> None:
        """Wholly dead packs first, which needs no room; then groups, as the plan has them."""
        try:
            dead = [pack for pack in dead if self._may_touch(pack)]
            still = self._rows(dead)
            self._remove([pack for pack in dead if not still[pack]])
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

    def _remove(self, gone: list[bytes], others: Callable[[Bulk], None] | None = None) -> None:
        """Takes packs out of the index, and then off the disk."""

        def work(tables: Bulk) -> list[Change]:
            if others is not None:
                others(tables)
            for pack in gone:
                entry = tables.file(pack)
                if entry is not None:
                    tables.drop_file(pack, entry)
            return []

        if gone or others is not None:
            self._sweeper.transact("forget packs", work)
        for pack in gone:
            self._unlink(self._location.pack(pack))
            if pack in self._locked:
                self._locked.pop(pack).close()

    def _unlink(self, path: Path) -> None:
        with disk.translated("removing", path), suppress(FileNotFoundError):
            size = path.stat().st_size
            path.unlink()
            self.done.removed += 1
            self.done.freed += size
        self._step("unlink a pack")

    def orphans(self, found: list[bytes]) -> None:
        """Removes packs that the index does not name, and nobody is making."""
        for pack in found:
            appender = Appender.adopt(self._location, pack, frames.PACK)
            if appender is None:
                continue
            with Scan(self._environment) as scan:
                known = scan.file(pack) is not None
            if not known:
                self._unlink(appender.path)
            appender.close()

    # --- writing anew --------------------------------------------------------------------------

    def _groups(self, groups: list[Group]) -> None:
        total = sum(group.size for group in groups)
        done = 0
        for wave in _waves(groups, self._chunk_size()):
            # First nobody can append to them any more, then their chunks are looked up.
            free = [[pack for pack in group.packs if self._may_touch(pack)] for group in wave]
            rows = self._rows({pack for packs in free for pack in packs})
            for group, packs in zip(wave, free, strict=True):
                self._advance("write packs anew", done, total)
                self._group([Source.open(self._location, p, rows.pop(p)) for p in packs])
                done += group.size

    def _chunk_size(self) -> float:
        """The bytes that a chunk takes, on average."""
        with Scan(self._environment) as scan:
            sizes = [entry.end for _, entry in scan.files() if entry.kind == frames.PACK]
            return max(sum(sizes) / max(scan.count(CHUNKS), 1), HEADER_SIZE)

    def _group(self, sources: list[Source]) -> None:
        if not any(source.extents or source.frames for source in sources):
            self._finish(sources)
            return
        out = Appender.create(self._location, frames.PACK)
        try:
            swaps = [swap for s in sources for swap in copying.copy_extents(s, out)]
            swaps += [swap for s in sources for swap in copying.copy_frames(s, out)]
            out.seal()
            out.sync()
            self._step("copy packs")
            self._swap(swaps, out, sources)
            self.done.written += 1
            self.done.freed -= out.end
        finally:
            out.close()

    def _swap(self, swaps: list[Swap], out: Appender, sources: list[Source]) -> None:
        """Points entries at their new places; the old packs go with the last of them."""
        swaps.sort()
        parts = [swaps[at : at + SLICE] for at in range(0, len(swaps), SLICE)] or [[]]
        for part in parts[:-1]:

            def work(tables: Bulk, part: list[Swap] = part) -> list[Change]:
                _move(tables, part, out)
                return []

            self._sweeper.transact("swap places", work)
        self._finish(sources, lambda tables: _move(tables, parts[-1], out))

    def _finish(self, sources: list[Source], others: Callable[[Bulk], None] | None = None) -> None:
        for source in sources:
            self.done.damaged += source.damaged
        self._remove([source.file_id for source in sources if not source.damaged], others)


def _move(tables: Bulk, swaps: list[Swap], out: Appender) -> None:
    tables.put_file(out.file_id, out.entry())
    by_key = {swap.key: swap for swap in swaps}
    rows = []
    for key, value in tables.rows(CHUNKS, list(by_key)):
        swap = by_key[key]
        if value[:PLACE] == swap.old:
            body = values.body(CHUNKS, key, value)
            rows.append((key, values.seal(CHUNKS, key, swap.new + body[PLACE:])))
    tables.put_rows(CHUNKS, rows)


def _waves(groups: list[Group], chunk: float) -> Iterator[list[Group]]:
    """Groups, so many at a time that the rows of their chunks fit into memory: a `chunk` takes so
    many bytes."""
    wave: list[Group] = []
    chunks = 0.0
    for group in groups:
        count = group.size / chunk
        if wave and chunks + count > _WAVE:
            yield wave
            wave, chunks = [], 0.0
        wave.append(group)
        chunks += count
    if wave:
        yield wave
