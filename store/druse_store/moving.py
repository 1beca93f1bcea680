"""Moving chunks into new packs: copied, made durable, then swapped in the index one by one.

An entry moves only if it still is where it was when it was read: somebody else may have moved or
removed it meanwhile. Until the swap is durable the old place counts, and afterwards the new one.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from druse_store import frames
from druse_store.appender import Appender
from druse_store.digest import Digest
from druse_store.index.environment import Environment
from druse_store.index.tables import Tables
from druse_store.index.values import LIVE, SUSPECT, ChunkEntry
from druse_store.location import Location
from druse_store.writelock import WriteLock
from druse_store.writer import PACK_SIZE

if TYPE_CHECKING:
    from typing_extensions import Buffer

_SLICE = 8_000  # entries per transaction: keeps it below 50 ms


class Mover:
    """Fills packs of its own with chunks that move there. `finish` or `abandon` it."""

    def __init__(self, location: Location, environment: Environment, lock: WriteLock) -> None:
        self._location = location
        self._environment = environment
        self._lock = lock
        self._pack: Appender | None = None
        self._moves: dict[Digest, tuple[ChunkEntry, ChunkEntry]] = {}
        self.moved = 0

    def add_chunk(
        self, kind: int, digest: Digest, code: int, stored: Buffer, old: ChunkEntry
    ) -> None:
        """A chunk that is at `old`; `stored` are its bytes, encoded by the codec `code`."""
        length = memoryview(stored).nbytes
        pack = self._open_pack()
        head = frames.header(kind, code, digest, old.size, length)
        place = pack.append(head, stored) + frames.HEADER_SIZE
        new = ChunkEntry(pack.file_id, place, length, old.size, code)
        self._moves[digest] = (old, new)
        self._appended(pack)

    def add_extent(self, chunks: list[tuple[Digest, ChunkEntry]], data: memoryview) -> None:
        """Chunks that lie raw and side by side, and do so afterwards."""
        sizes = [(digest, old.size) for digest, old in chunks]
        table = frames.table(sizes)
        pack = self._open_pack()
        pad = frames.padding(pack.end + frames.HEADER_SIZE + len(table))
        head = frames.header(
            frames.EXTENT, frames.RAW, Digest.of(table), len(data), len(data), len(chunks), pad
        )
        place = pack.append(head, table, bytes(pad), data) + frames.HEADER_SIZE + len(table) + pad
        for digest, old in chunks:
            self._moves[digest] = (old, old._replace(pack=pack.file_id, offset=place))
            place += old.size
        self._appended(pack)

    def finish(self) -> int:
        """Makes all moves durable; returns how many entries moved."""
        pack, self._pack = self._pack, None
        moves, self._moves = self._moves, {}
        if pack is None:
            return self.moved
        try:
            pack.seal()
            pack.sync()
            with self._lock.held(), Tables(self._environment) as tables:
                tables.put_file(pack.file_id, pack.entry())
                tables.commit()
        finally:
            pack.close()
        remaining = iter(moves.items())
        while part := list(islice(remaining, _SLICE)):
            with self._lock.held(), Tables(self._environment) as tables:
                self.moved += sum(_swap(tables, digest, *places) for digest, places in part)
                tables.commit()
        return self.moved

    def abandon(self) -> None:
        """Gives up what is not finished. Its pack, which the index never named, is removed."""
        pack, self._pack = self._pack, None
        self._moves = {}
        if pack is not None:
            pack.path.unlink(missing_ok=True)
            pack.close()

    def _open_pack(self) -> Appender:
        if self._pack is None:
            self._pack = Appender.create(self._location, frames.PACK)
        return self._pack

    def _appended(self, pack: Appender) -> None:
        if pack.end >= PACK_SIZE:
            self.finish()


def _swap(tables: Tables, digest: Digest, old: ChunkEntry, new: ChunkEntry) -> bool:
    now = tables.chunk(digest)
    if now is None or now[:2] != old[:2]:
        return False
    state = LIVE if now.state == SUSPECT else now.state
    tables.put_chunk(digest, new._replace(state=state, since=now.since))
    return True
