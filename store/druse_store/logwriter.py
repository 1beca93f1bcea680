"""Appending to the log: this process's own segment, and what dead ones left behind.

A log frame becomes durable inside the write transaction that gave it its commit number. If that
transaction does not happen, the frame is cut off again: by its writer, or, if that died, by the
next holder of the write lock, before it gives the same number to another frame.
"""

from __future__ import annotations

from contextlib import suppress

from druse_store import changes, disk, frames
from druse_store.appender import Appender
from druse_store.changes import Change
from druse_store.codec import encode_quickly
from druse_store.digest import Digest
from druse_store.errors import FrameDamaged
from druse_store.frames import Link
from druse_store.index.tables import Tables
from druse_store.index.values import OPEN, QUARANTINED
from druse_store.location import Location

SEGMENT_SIZE = 16 << 20


def append_frame(appender: Appender, link: Link, made: list[Change]) -> int:
    """Appends a log frame; returns its offset."""
    payload = changes.encode(made)
    codec, stored = encode_quickly(payload)  # records: text, and digests that repeat
    table = link.encode()
    digest, length = Digest.of(table + payload), memoryview(stored).nbytes
    head = frames.header(frames.LOG, int(codec), digest, len(payload), length, count=len(made))
    return appender.append(head, table, stored)


class LogWriter:
    """The log segment of this process. Used only by the holder of the write lock."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._appender: Appender | None = None

    def prepare(self, tables: Tables) -> Appender:
        """The segment to append to; takes over one that was left, or makes a new one."""
        appender = self._appender
        if appender is not None and (appender.failed or appender.sealed):
            appender.close()
            appender = None
        if appender is None:
            appender = self._adopt(tables) or Appender.create(self._location, frames.LOG_SEGMENT)
            self._appender = appender
        return appender

    def append(self, appender: Appender, link: Link, made: list[Change]) -> int:
        """Appends a frame and makes it durable; returns its offset."""
        offset = append_frame(appender, link, made)
        if appender.end >= SEGMENT_SIZE:
            appender.seal()
        appender.sync()
        return offset

    def _adopt(self, tables: Tables) -> Appender | None:
        """Cuts the uncommitted ends of all segments whose writers are gone; keeps one of them."""
        mine: Appender | None = None
        known = tables.open_files(frames.LOG_SEGMENT)
        for file_id in known:
            found = self.take_over(tables, file_id)
            if found is not None and mine is None:
                mine = found
            elif found is not None:
                found.close()
        self._clear_orphans(tables)
        return mine

    def take_over(self, tables: Tables, file_id: bytes) -> Appender | None:
        """One segment, cut at its committed end, if its writer is gone."""
        appender = Appender.adopt(self._location, file_id, frames.LOG_SEGMENT)
        if appender is None:
            return None
        entry = tables.file(file_id)
        if entry is None:
            # Never committed: the frame in it must not be found by a rebuild.
            with suppress(OSError):
                appender.path.unlink()
            appender.close()
            return None
        if entry.state != OPEN:
            appender.close()
            return None
        try:
            appender.resume(entry)
        except FrameDamaged:
            tables.put_file(file_id, entry._replace(state=QUARANTINED))
            appender.close()
            return None
        return appender

    def _clear_orphans(self, tables: Tables) -> None:
        with disk.translated("listing", self._location.log):
            names = [path.name for path in self._location.log.iterdir()]
        for name in names:
            stem, _, suffix = name.partition(".")
            try:
                file_id = bytes.fromhex(stem)
            except ValueError:
                continue
            if suffix == "log" and len(file_id) == 8 and tables.file(file_id) is None:
                self.take_over(tables, file_id)

    def settle(self, tables: Tables, file_id: bytes) -> None:
        """Cuts what a writer that died while it held the lock left in its segment."""
        found = self.take_over(tables, file_id)
        if found is not None:
            found.close()

    def close(self) -> None:
        if self._appender is not None:
            self._appender.close()
            self._appender = None
