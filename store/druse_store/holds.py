"""Holds: flocked files which say that a writer or reader that started at a commit is alive.

Every process that has the store open keeps one file in `holds/`, locked for as long as it lives.
Its content is the oldest commit at which something that is still going on began, or IDLE. A sweep
leaves alone what was tombstoned at or after the oldest live hold: whatever its owner saw as known
stays. A process that was stopped keeps its hold; one that died lost it. No clock is involved.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from zlib import crc32

from druse_store import disk

IDLE = 2**64 - 1
_HOLD = struct.Struct("<QI")
SUFFIX = ".hold"


class Holds:
    """This process's file of holds. Thread-safe."""

    def __init__(self, folder: Path, mode: int | None) -> None:
        self.path = folder / f"{os.getpid()}-{os.urandom(6).hex()}{SUFFIX}"
        self._starts: dict[int, int] = {}
        self._next = 0
        self._shown = IDLE
        self._lock = threading.Lock()
        with disk.translated("creating", self.path):
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        disk.close_in_child(self)
        try:
            with disk.translated("creating", self.path):
                if mode is not None:
                    os.fchmod(self._fd, mode)
                disk.try_lock(self._fd)
            self._show(IDLE)
        except BaseException:
            self.close()  # locked and cut short it would count as the oldest hold
            raise

    def take(self, commit: int) -> int:
        """Says that something begins which saw the index as of `commit`. Returns its token.

        Look at the index again after this: what was seen before may be gone.
        """
        with self._lock:
            if commit < self._shown:
                self._show(commit)
            token = self._next
            self._next += 1
            self._starts[token] = commit
            return token

    def give_back(self, token: int) -> None:
        """Says that it has ended."""
        with self._lock:
            start = self._starts.pop(token, None)
            if start is not None and start == self._shown:
                self._show(min(self._starts.values(), default=IDLE))

    def close(self) -> None:
        """Gives up everything."""
        if self._fd >= 0:
            with suppress(OSError):
                self.path.unlink()
        self.leave_to_parent()

    def leave_to_parent(self) -> None:
        """In a forked child: closes its copy of the descriptor, and nothing else."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _show(self, commit: int) -> None:
        if self._fd < 0:
            return
        packed = commit.to_bytes(8, "little")
        with disk.translated("writing", self.path):
            os.pwrite(self._fd, packed + crc32(packed).to_bytes(4, "little"), 0)
        self._shown = commit


def oldest(folder: Path) -> int:
    """The oldest live hold, or IDLE. Clears away the files of processes that died.

    A hold that cannot be read counts as the oldest possible one.
    """
    found = IDLE
    for path in _files(folder):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        except OSError:
            return 0
        try:
            if disk.try_lock(fd):
                path.unlink(missing_ok=True)
                continue
            found = min(found, _read(os.pread(fd, _HOLD.size, 0)))
        finally:
            os.close(fd)
    return found


def _read(data: bytes) -> int:
    if len(data) != _HOLD.size:
        return 0
    commit, check = _HOLD.unpack(data)
    return int(commit) if crc32(data[:8]) == check else 0


def _files(folder: Path) -> Iterator[Path]:
    with disk.translated("listing", folder):
        yield from (path for path in folder.iterdir() if path.suffix == SUFFIX)
