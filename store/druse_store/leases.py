"""Leases: flocked files that name what their process works with, so that no collection takes it.

A lease names records and blobs by digest (a planned hit, an input), or runs that go on. It is
taken under the write lock, and a collection looks for new ones in each of its transactions, under
the same lock: so what a lease found present stays for as long as its process lives, or it ends.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from druse_store import disk, packing
from druse_store.digest import SIZE, Digest, trusted
from druse_store.errors import RecordDamaged
from druse_store.run import RunName

SUFFIX = ".lease"


class Named(NamedTuple):
    """What leases name."""

    digests: set[Digest]
    runs: set[RunName]


class Lease:
    """One lease of this process, until it is closed. `missing` of what it names was not there."""

    def __init__(
        self,
        folder: Path,
        mode: int | None,
        digests: Iterable[Digest] = (),
        runs: Iterable[RunName] = (),
    ) -> None:
        self.missing: frozenset[Digest] = frozenset()
        name = f"{os.getpid()}-{os.urandom(6).hex()}"
        aside = folder / f".{name}.new"
        self.path = folder / f"{name}{SUFFIX}"
        data = packing.pack_any([b"".join(digests), [list(run) for run in runs]])
        with disk.translated("creating", self.path):
            self._fd = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            disk.close_in_child(self)
            try:
                if mode is not None:
                    os.fchmod(self._fd, mode)
                disk.try_lock(self._fd)
                disk.write_all(self._fd, data, 0)
                aside.rename(self.path)  # locked and whole from its first moment
            except BaseException:
                aside.unlink(missing_ok=True)
                self.close()
                raise

    def close(self) -> None:
        """Gives it up."""
        if self._fd >= 0:
            with suppress(OSError):
                self.path.unlink()
        self.leave_to_parent()

    def leave_to_parent(self) -> None:
        """In a forked child: closes its copy of the descriptor, and nothing else."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Leases:
    """The leases of all processes, as a collection follows them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: set[str] = set()

    def fresh(self) -> Named:
        """What leases name that were not there at the last call. Clears away those of the dead."""
        named = Named(set(), set())
        for path in _files(self._folder):
            if path.name not in self._seen:
                self._seen.add(path.name)
                _read(path, named)
        return named


def _files(folder: Path) -> Iterator[Path]:
    with disk.translated("listing", folder):
        yield from [path for path in folder.iterdir() if path.suffix == SUFFIX]


def _read(path: Path, named: Named) -> None:
    with disk.translated("reading", path):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            if disk.try_lock(fd):
                path.unlink(missing_ok=True)  # whoever had it is gone
                return
            with os.fdopen(os.dup(fd), "rb") as file:
                digests, runs = packing.unpack(file.read())
        finally:
            os.close(fd)
        if type(digests) is not bytes or len(digests) % SIZE:
            raise RecordDamaged(f"{path} is no lease: end the process that made it")
        for start in range(0, len(digests), SIZE):
            named.digests.add(trusted(digests[start : start + SIZE]))
        named.runs.update(RunName(*run) for run in runs)
