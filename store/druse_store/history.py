"""The log as one history: the chain of its frames, from the first to the last commit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from druse_store import changes, frames
from druse_store.changes import Change
from druse_store.errors import FrameDamaged, RecordDamaged, StoreError
from druse_store.frames import Frame, Link
from druse_store.scan import FrameFile, Gap

START = (bytes(8), 0)


class Entry(NamedTuple):
    """A log frame in its place."""

    segment: bytes
    path: Path
    frame: Frame
    link: Link

    @property
    def place(self) -> tuple[bytes, int]:
        return self.segment, self.frame.offset

    @property
    def previous(self) -> tuple[bytes, int]:
        return self.link.segment, self.link.offset


class History(NamedTuple):
    """The frames of the log in the order of their commits, and what is wrong with it."""

    entries: tuple[Entry, ...]
    damage: tuple[str, ...]

    def changes(self) -> Iterator[tuple[Entry, list[Change] | None]]:
        """The changes of each frame; None for a frame that does not check."""
        for entry in self.entries:
            with FrameFile(entry.path) as file:
                try:
                    yield entry, changes.decode(file.payload(entry.frame))
                except (FrameDamaged, RecordDamaged, StoreError):
                    yield entry, None


def read(
    files: Sequence[tuple[bytes, Path]],
    head: tuple[bytes, int] | None = None,
    ends: Mapping[bytes, int] | None = None,
) -> History:
    """The history in these segments, up to the frame at `head`, or to the latest there is.

    `ends` are the committed ends of the segments, where they are known. A frame counts if it is
    on the way from the head back to the start. One that was written by a process that died
    before its commit is on nobody's way.
    """
    damage: list[str] = []
    found: dict[tuple[bytes, int], Entry] = {}
    for segment, path in files:
        for entry in _entries(segment, path, ends.get(segment) if ends else None, damage):
            found[entry.place] = entry
    order = sorted(found.values(), key=lambda e: (e.link.commit, e.link.time), reverse=True)
    chain: list[Entry] = []
    at = found.get(head) if head is not None else None
    if head is not None and at is None and head != START:
        damage.append(f"the last log frame, in segment {head[0].hex()}, is not there")
    if at is None and head != START:
        at = _complete_head(order, found)
    while at is not None:
        chain.append(at)
        at = _before(at, found, order, damage)
    chain.reverse()
    return History(tuple(chain), tuple(damage))


def _entries(segment: bytes, path: Path, end: int | None, damage: list[str]) -> Iterator[Entry]:
    with FrameFile(path, end) as file:
        try:
            file.header()
        except FrameDamaged as error:
            damage.append(f"{path}: {error}")
        for frame in file.frames():
            if isinstance(frame, Gap):
                damage.append(f"{path}: bytes {frame.offset} to {frame.end}: {frame.reason}")
            elif frame.kind == frames.LOG:
                yield Entry(segment, path, frame, Link.decode(file.table(frame)))


def _complete_head(order: list[Entry], found: dict[tuple[bytes, int], Entry]) -> Entry | None:
    """The latest frame that is whole. The very last may have been torn by a crash."""
    for entry in order:
        with FrameFile(entry.path) as file:
            try:
                file.payload(entry.frame)
            except StoreError:
                continue
        return entry
    return None


def _before(
    entry: Entry,
    found: dict[tuple[bytes, int], Entry],
    order: list[Entry],
    damage: list[str],
) -> Entry | None:
    """The frame that a frame follows; behind damage, the latest older one."""
    if entry.previous == START:
        return None
    before = found.get(entry.previous)
    if before is not None and before.link.commit < entry.link.commit:
        return before
    damage.append(f"the log frames before commit {entry.link.commit} are damaged or missing")
    for older in order:
        if older.link.commit < entry.link.commit:
            return older
    return None
