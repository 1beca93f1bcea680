"""Objects of a remote that were read once, kept beside the store: they never change.

Nothing here is believed: whoever reads a claim or pack index from it checks it as if it had just
come. So nothing needs to be made durable, and everything may be removed at any time.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from druse_store import disk


class Cache:
    """A folder of files by name."""

    def __init__(self, folder: Path, mode: int | None) -> None:
        self.folder = folder
        self._mode = mode

    def path(self, name: str) -> Path:
        return self.folder / name

    def load(self, name: str) -> bytes | None:
        try:
            return self.path(name).read_bytes()
        except OSError:
            return None

    def store(self, name: str, data: bytes) -> None:
        """Keeps an object. A full disk, or a folder that cannot be written, only costs time."""
        aside = self.path(f".{name}.{os.getpid()}.{os.urandom(4).hex()}")
        try:
            self._make_folder()
            fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            try:
                if self._mode is not None:
                    os.fchmod(fd, self._mode)
                disk.write_all(fd, data, 0)
            finally:
                os.close(fd)
            aside.replace(self.path(name))
        except OSError:
            with suppress(OSError):
                aside.unlink()

    def names(self) -> set[str]:
        try:
            found = [path.name for path in self.folder.iterdir()]
        except OSError:
            return set()
        return {name for name in found if not name.startswith(".")}

    def remove(self, name: str) -> None:
        with suppress(OSError):
            self.path(name).unlink()

    def _make_folder(self) -> None:
        if self.folder.is_dir():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._mode is not None:
            for folder in (self.folder, *self.folder.parents[:2]):
                with suppress(OSError):
                    folder.chmod(0o2770)
