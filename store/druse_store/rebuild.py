"""Making the index anew from the packs and the log, which hold everything it says.

Every frame is read and checked. What no log frame that counts says is not there afterwards, what
was removed stays removed. The new index is built aside, and takes the old one's place by renames;
the old one goes to `quarantine/`. Nobody else may have the store open.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from druse_store import changes, disk, frames, history, parallel, scan
from druse_store.digest import Digest
from druse_store.errors import FrameDamaged
from druse_store.frames import ChunkList
from druse_store.index import creation
from druse_store.index import environment as environments
from druse_store.index.environment import Environment
from druse_store.index.tables import Tables
from druse_store.index.values import (
    OPEN,
    QUARANTINED,
    SEALED,
    BlobEntry,
    ChunkEntry,
    FileEntry,
    Head,
)
from druse_store.location import Location, find
from druse_store.quarantine import put_away
from druse_store.scan import FrameFile, Gap
from druse_store.users import Users
from druse_store.writelock import WriteLock

T = TypeVar("T")

_BATCH = 20_000  # entries per transaction


@dataclass(slots=True)
class Rebuilt:
    """What a rebuild found. `damage` names every frame and stretch that could not be used."""

    packs: int = 0
    chunks: int = 0
    blobs: int = 0
    changes: int = 0
    damage: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _PackScan:
    """What one pack holds."""

    file_id: bytes
    entry: FileEntry
    chunks: dict[Digest, ChunkEntry]
    lists: dict[Digest, ChunkList]
    damage: list[str]


Progress = Callable[[int, int], None]


def rebuild_index(
    path: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
    any_filesystem: bool = False,
) -> Rebuilt:
    """Replaces the index of the store at `path` by one made from its packs and log.

    Raises StoreBusy if the store is open.

    `progress(done, total)` is called with bytes of packs read.
    """
    location = find(Path(path), create=False, any_filesystem=any_filesystem)
    with Users(location, exclusive=True):
        lock = WriteLock(location.holds / "writer.lock", location.file_mode)
        try:
            return _rebuild(location, lock, progress)
        finally:
            lock.close()


def _rebuild(location: Location, lock: WriteLock, progress: Progress | None) -> Rebuilt:
    aside = location.root / "tmp" / "index.new"
    with disk.translated("making room for a new index in", aside):
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
    creation.prepare(aside, location.tmp, location.file_mode)
    environment = environments.acquire(aside, lock, locking=True, mode=location.file_mode)
    try:
        rebuilt = _fill(location, environment, progress)
    finally:
        environments.release(environment)
    _replace(location, aside)
    return rebuilt


def _fill(location: Location, environment: Environment, progress: Progress | None) -> Rebuilt:
    log_files = _without_empty(location, scan.log_files(location.log))
    past = history.read(log_files)
    last = past.entries[-1] if past.entries else None
    commit = last.link.commit if last is not None else 0
    rebuilt = Rebuilt(damage=list(past.damage))
    lists = _add_packs(location, environment, commit, rebuilt, progress)
    _add_blobs(environment, lists, commit, rebuilt)
    _replay(environment, past, rebuilt)
    with Tables(environment) as tables:
        for file_id, path in log_files:
            tables.put_file(file_id, _file_entry(frames.LOG_SEGMENT, path, past.entries, file_id))
        if last is not None:
            tables.put_head(Head(commit, *last.place))
        tables.commit()
    return rebuilt


# --- packs -------------------------------------------------------------------------------------


def _add_packs(
    location: Location,
    environment: Environment,
    commit: int,
    rebuilt: Rebuilt,
    progress: Progress | None,
) -> dict[Digest, ChunkList]:
    files = _without_empty(location, scan.pack_files(location.packs))
    total = sum(path.stat().st_size for _, path in files)
    done = 0
    lists: dict[Digest, ChunkList] = {}
    # The weight of a pack says nothing about memory here: it is mapped. So few at once will do.
    for found in parallel.ordered(_scan_pack, files, lambda _: parallel.WINDOW // 4):
        with Tables(environment) as tables:
            tables.put_file(found.file_id, found.entry)
            tables.commit()
        for part in _batches(found.chunks.items()):
            with Tables(environment) as tables:
                tables.add_chunks(dict(part), commit)
                tables.commit()
        lists.update(found.lists)
        rebuilt.packs += 1
        rebuilt.damage += found.damage
        done += found.entry.end
        if progress is not None:
            progress(done, total)
    with Tables(environment) as tables:
        rebuilt.chunks = tables.count("chunks")
    return lists


def _without_empty(location: Location, files: list[tuple[bytes, Path]]) -> list[tuple[bytes, Path]]:
    """Files that hold not even a header were left by a crash, before anything rested on them."""
    empty = {i for i, path in files if path.stat().st_size < frames.FILE_HEADER_SIZE}
    put_away(location, [path for i, path in files if i in empty])
    return [(i, path) for i, path in files if i not in empty]


def _scan_pack(named: tuple[bytes, Path]) -> _PackScan:
    file_id, path = named
    chunks: dict[Digest, ChunkEntry] = {}
    lists: dict[Digest, ChunkList] = {}
    damage: list[str] = []
    end, last, sealed, whole = frames.FILE_HEADER_SIZE, 0, False, True
    with FrameFile(path) as file:
        uid = path.stat().st_uid
        try:
            whole = file.header().file_id == file_id
        except FrameDamaged as error:
            whole = False
            damage.append(f"{path}: {error}")
        for frame in file.frames():
            if isinstance(frame, Gap):
                damage.append(f"{path}: bytes {frame.offset} to {frame.end}: {frame.reason}")
                # An end that was torn, or never committed, is cut by whoever takes the pack over.
                whole = whole and frame.end == file.size
                continue
            sealed = sealed or frame.kind == frames.SEAL
            if frame.kind in frames.HOLDING_CHUNKS:
                _add_frame(file, file_id, frame, chunks, lists, damage)
            end, last = frame.end, frame.offset
        if not whole:
            end = file.size
    state = SEALED if sealed or not whole else OPEN
    entry = FileEntry(frames.PACK, state, end, last, uid)
    return _PackScan(file_id, entry, chunks, lists, damage)


def _add_frame(
    file: FrameFile,
    file_id: bytes,
    frame: frames.Frame,
    chunks: dict[Digest, ChunkEntry],
    lists: dict[Digest, ChunkList],
    damage: list[str],
) -> None:
    try:
        found = file.chunks(frame)
    except FrameDamaged as error:
        damage.append(f"{file.path}: {error}")
        return
    for chunk in found:
        if not chunk.checks:
            damage.append(
                f"{file.path}: the chunk {chunk.digest} at byte {chunk.offset} is damaged"
            )
            continue
        chunks[chunk.digest] = ChunkEntry(file_id, *chunk[1:5])
        if frame.kind == frames.LIST:
            try:
                lists[chunk.digest] = ChunkList.decode(file.payload(frame))
            except FrameDamaged as error:
                damage.append(f"{file.path}: {error}")


def _add_blobs(
    environment: Environment, lists: dict[Digest, ChunkList], commit: int, rebuilt: Rebuilt
) -> None:
    """Blobs whose chunks are all there; one without would say "known" for what is not."""
    for part in _batches(lists.items()):
        with Tables(environment) as tables:
            for digest, outline in part:
                if all(tables.chunk(chunk) is not None for chunk, _ in outline.chunks):
                    entry = BlobEntry(digest, outline.size, len(outline.chunks), since=commit)
                    tables.put_blob(outline.blob, entry)
                    rebuilt.blobs += 1
                else:
                    rebuilt.damage.append(f"blob {outline.blob} lacks chunks")
            tables.commit()


# --- the log -----------------------------------------------------------------------------------


def _replay(environment: Environment, past: history.History, rebuilt: Rebuilt) -> None:
    for part in _batches(past.changes(), 200):
        with Tables(environment) as tables:
            for entry, made in part:
                # What a change notes about its commit is as it was when it was made.
                tables.put_head(Head(entry.link.commit - 1))
                tables.tick(entry.link.commit, entry.link.time)
                if made is None:
                    rebuilt.damage.append(
                        f"{entry.path}: the changes of commit {entry.link.commit} are damaged"
                    )
                else:
                    changes.apply_all(tables, made)
                    rebuilt.changes += len(made)
            tables.commit()


def _file_entry(
    kind: int, path: Path, entries: Iterable[history.Entry], file_id: bytes
) -> FileEntry:
    """A segment ends behind its last frame that counts; others are cut when it is continued."""
    counted = [entry.frame for entry in entries if entry.segment == file_id]
    if not counted:
        return FileEntry(kind, QUARANTINED, frames.FILE_HEADER_SIZE, 0, path.stat().st_uid)
    last = max(counted, key=lambda frame: frame.offset)
    with FrameFile(path) as file:
        sealed = any(isinstance(frame, Gap) or frame.kind == frames.SEAL for frame in file.frames())
    state = SEALED if sealed else OPEN
    return FileEntry(kind, state, last.end, last.offset, path.stat().st_uid)


# --- the exchange ------------------------------------------------------------------------------


def _replace(location: Location, aside: Path) -> None:
    old = location.quarantine / f"index-{time.time_ns()}"
    with disk.translated("replacing", location.index):
        location.quarantine.mkdir(exist_ok=True)
        if location.index.exists():
            location.index.rename(old)
        aside.rename(location.index)
        disk.sync_folder(location.root)
        disk.sync_folder(location.quarantine)


def _batches(items: Iterable[T], size: int = _BATCH) -> Iterator[list[T]]:
    part: list[T] = []
    for item in items:
        part.append(item)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
