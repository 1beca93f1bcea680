"""Files by names that mean the same on another machine, and their content's digests.

A file below the project's root is `@/x.csv`, one below the working directory `./x.csv`, any other
one has its whole path.
"""

from __future__ import annotations

import os
import re
import site
import sys
import sysconfig
import tempfile
from functools import cache
from pathlib import Path

from blake3 import blake3

from druse.reads import ABSENT
from druse_store import Digest

_MARKS = (".git", "pyproject.toml", "druse.yaml", ".druse", "setup.py", "setup.cfg")
_VERSION = re.compile(r"v\d+")
_SYSTEM = ("/proc/", "/sys/", "/dev/", "/usr/", "/etc/", "/lib/", "/lib64/", "/bin/", "/run/")


def project_root(start: Path) -> Path:
    """The nearest folder upward that looks like a project's; `start` itself where none does."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if folder.parent != folder and any((folder / mark).exists() for mark in _MARKS):
            return folder
    return start


class Files:
    """Names and digests of files, for one run. A digest is kept while the file's stat is."""

    def __init__(self, root: Path, leave_out: list[Path]) -> None:
        self.root = os.path.realpath(root)
        self._left_out = (*_ignored(), *(os.path.realpath(p) + os.sep for p in leave_out))
        self._known: dict[tuple[int, int, int, int], Digest] = {}

    def leave_out(self, folder: Path) -> None:
        """Files below this folder are no inputs."""
        self._left_out = (*self._left_out, os.path.realpath(folder) + os.sep)

    def name(self, path: str) -> str | None:
        """The name of an input file; None for one of the interpreter, the store, the views…"""
        real = os.path.realpath(path)
        if real.startswith(self._left_out) or _is_view(real):
            return None
        for mark, folder in (("@", self.root), (".", os.path.realpath(os.curdir))):
            if real.startswith(folder + os.sep):
                return mark + real[len(folder) :]
        return real

    def path(self, name: str) -> str:
        """Where a named file lies here."""
        if name.startswith("@/"):
            return os.path.join(self.root, name[2:])
        return os.path.join(os.path.realpath(os.curdir), name)

    def digest(self, path: str) -> Digest:
        """The digest of a file's content, ABSENT where there is none to read."""
        try:
            with open(path, "rb") as file:
                before = state(os.fstat(file.fileno()))
                known = self._known.get(before)
                if known is not None:
                    return known
                hasher = blake3(max_threads=blake3.AUTO)
                while block := file.read(4 << 20):
                    hasher.update(block)
                digest = Digest(hasher.digest())
                if state(os.fstat(file.fileno())) == before:
                    self._known[before] = digest
                return digest
        except OSError:
            return ABSENT

    def stat(self, path: str) -> tuple[int, int, int, int] | None:
        """What changes when a file's content does; None where there is no file."""
        try:
            return state(os.stat(path))
        except OSError:
            return None


def state(stat: os.stat_result) -> tuple[int, int, int, int]:
    """Device, inode, size and time of the last change: a memo, never what counts."""
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def is_temporary(path: str) -> bool:
    """Whether a file lies where programs keep what they need for a moment."""
    return os.path.realpath(path).startswith(_temporary())


@cache
def _temporary() -> str:
    return os.path.realpath(tempfile.gettempdir()) + os.sep


def _is_view(real: str) -> bool:
    """Whether a file lies in a run's exported folder: `<experiment>/v3/...`, with its metadata."""
    parts = real.split(os.sep)
    for place in range(len(parts) - 1, 1, -1):
        if _VERSION.fullmatch(parts[place]):
            folder = os.sep.join(parts[: place + 1])
            return os.path.exists(os.path.join(folder, "_manifest.json"))
    return False


@cache
def _ignored() -> tuple[str, ...]:
    """Folders whose files are part of no experiment: they come with the machine."""
    paths = sysconfig.get_paths()
    folders = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")]
    folders += [sys.prefix, sys.base_prefix, site.getusersitepackages()]
    home = os.path.expanduser("~")
    for variable, usual in (("XDG_CACHE_HOME", ".cache"), ("XDG_CONFIG_HOME", ".config")):
        folders.append(os.environ.get(variable) or os.path.join(home, usual))
    if "MPLCONFIGDIR" in os.environ:
        folders.append(os.environ["MPLCONFIGDIR"])
    real = {os.path.realpath(folder) + os.sep for folder in folders if folder}
    return (*_SYSTEM, *(folder for folder in real if folder != os.sep))
