"""Files by names that mean the same on another machine, and their content's digests.

A file below the project's root is `@/x.csv`, one below the working directory of the run `./x.csv`,
any other one has its whole path.
"""

from __future__ import annotations

import errno
import os
import re
import site
import stat
import sys
import tempfile
import time
from collections.abc import Set
from functools import cache
from pathlib import Path

from blake3 import blake3

from druse.fingerprint.packages import paths_of_python
from druse.globs import BETWEEN, found
from druse.reads import ABSENT
from druse_store import Digest

_MARKS = (".git", "pyproject.toml", "druse.yaml", ".druse", "setup.py", "setup.cfg")
_VERSION = re.compile(r"v\d+")
_SHARED_PREFIXES = ("/", "/usr", "/usr/local")  # of a Python that shares them with other things
_OF_PREFIX = ("bin", "sbin", "include", "lib", "lib32", "lib64", "libexec", "share")
_SYSTEM = (
    *("/proc/", "/sys/", "/etc/", "/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/"),
    *(f"/usr/{name}/" for name in _OF_PREFIX),
)
_CACHES = ("matplotlib", "fontconfig", "pip", "uv", "mesa_shader_cache", "nvidia")


def project_root(start: Path) -> Path:
    """The nearest folder upward that looks like a project's; `start` itself where none does."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if folder.parent != folder and any((folder / mark).exists() for mark in _MARKS):
            return folder
    return start


class Files:
    """Names and digests of files and folders, for one run.

    Names are of the paths as they were used: where a symbolic link leads is part of the content.
    A digest is kept while the file's stat is.
    """

    def __init__(self, root: Path, leave_out: list[Path]) -> None:
        self.root = os.path.realpath(root)
        self._here = os.path.realpath(os.curdir)  # a step may go elsewhere
        own = {self.root + os.sep, self._here + os.sep}
        self._own = tuple(sorted(own, key=len, reverse=True))  # the innermost first
        self._left_out: tuple[str, ...] = ()
        self._left_out_within: dict[str, tuple[str, ...]] = dict.fromkeys(self._own, ())
        self._leave_out((*_ignored(), *(os.path.realpath(path) + os.sep for path in leave_out)))
        self._known: dict[State, Digest] = {}
        self._folders: dict[str, str | None] = {}

    def leave_out(self, folder: Path) -> None:
        """Files below this folder are no inputs."""
        self._leave_out((os.path.realpath(folder) + os.sep,))

    def _leave_out(self, prefixes: tuple[str, ...]) -> None:
        self._left_out += prefixes
        # A project may lie in a folder like /usr: then only what is left out within it counts.
        for own in self._own:
            self._left_out_within[own] += tuple(p for p in prefixes if p.startswith(own))

    def is_own(self, path: str) -> bool:
        """Whether a path lies in the project, or below the working directory."""
        return (os.path.realpath(path) + os.sep).startswith(self._own)

    def is_left_out(self, real: str) -> bool:
        """Whether a path is part of no experiment: the interpreter's, the store's, a view's..."""
        if f"{os.sep}__pycache__{os.sep}" in real or _is_device(real):
            return True
        within = next((own for own in self._own if (real + os.sep).startswith(own)), None)
        prefixes = self._left_out if within is None else self._left_out_within[within]
        return real.startswith(prefixes) or _is_view(real)

    def name(self, path: str) -> str | None:
        """The name of an input; None for what is left out."""
        absolute = os.path.abspath(path)
        if self.is_left_out(os.path.realpath(absolute)):
            return None
        folder, _, last = absolute.rpartition(os.sep)
        if ".." in path.split(os.sep):  # which symbolic links make lead elsewhere
            folder = os.path.realpath(os.path.dirname(path))
        known = self._folders.get(folder)
        if known is None:
            known = self._folders[folder] = self._folder_name(folder)
        return f"{known}/{last}"

    def _folder_name(self, folder: str) -> str:
        """A folder by its place below the root or the working directory, else by its whole path."""
        for mark, own in (("@", self.root), (".", self._here)):
            upper, rest = folder, ""
            while len(upper) > 1:
                if os.path.realpath(upper) == own:
                    return mark + rest
                upper, _, last = upper.rpartition(os.sep)
                rest = f"/{last}{rest}"
        return folder

    def path(self, name: str) -> str:
        """Where a named file lies here."""
        if name.startswith("@/"):
            return os.path.join(self.root, name[2:])
        return os.path.join(self._here, name)

    def digest(self, path: str, *, alone: bool = False) -> Digest:
        """The digest of a file's content, ABSENT where there is none to read.

        `alone`: by this thread; in a forked process there are no others.
        """
        try:
            with open(path, "rb", opener=_open_now) as file:
                before = state(os.fstat(file.fileno()))
                known = self._known.get(before)
                if known is not None:
                    return known
                hasher = blake3(max_threads=1 if alone else blake3.AUTO)
                while block := file.read(4 << 20):
                    hasher.update(block)
                digest = Digest(hasher.digest())
                if state(os.fstat(file.fileno())) == before and is_settled(before):
                    self._known[before] = digest
                return digest
        except OSError:
            return ABSENT

    def tree_digest(self, path: str) -> Digest:
        """The digest of a file, or of all that a folder holds: names and contents."""
        if not os.path.isdir(path):
            return self.digest(path)
        parts = []
        for folder, folders, files in os.walk(path, followlinks=True):
            here = os.path.realpath(folder) + os.sep
            inner = [each for each in folders if each not in _NO_INPUTS]
            upward = [e for e in inner if here.startswith(os.path.realpath(here + e) + os.sep)]
            folders[:] = sorted(set(inner) - set(upward))
            for name in sorted(files + upward):
                file = os.path.join(folder, name)
                parts += [os.fsencode(os.path.relpath(file, path)), self.digest(file)]
        return Digest.of(b"".join(len(part).to_bytes(4, "little") + part for part in parts))

    def listing_digest(self, path: str) -> Digest:
        """The digest of which names a folder holds, ABSENT where there is none."""
        try:
            names = sorted(os.listdir(path))
        except OSError:
            return ABSENT
        real = os.path.realpath(path)
        kept = [n for n in names if n not in _NO_INPUTS and not self._is_ours(real, n)]
        return Digest.of(b"\0".join(os.fsencode(name) for name in kept))

    def found_digest(self, name: str, pattern: str) -> Digest:
        """The digest of which paths a pattern finds below a named folder."""
        folder = self.path(name)
        parts = []
        for path in found(folder, pattern):
            inner = os.path.relpath(path, folder)
            if _NO_INPUTS.isdisjoint(inner.split(os.sep)) and not self.is_left_out(
                os.path.realpath(path)
            ):
                parts.append(os.fsencode(inner))
        return Digest.of(b"\0".join(parts))

    def _is_ours(self, folder: str, name: str) -> bool:
        """Whether a name stands for the store, or for views."""
        inner = os.path.join(folder, name)
        if self.is_left_out(inner) or self.is_left_out(inner + os.sep):
            return True
        ledgers = (os.path.join(inner, VIEWS), os.path.join(folder, VIEWS, f"{name}.json"))
        return any(os.path.exists(ledger) for ledger in ledgers)

    def current(self, read: str) -> Digest:
        """What `file:...`, `dir:...` or `glob:...` would give now."""
        kind, _, name = read.partition(":")
        path = self.path(name)
        if kind == "glob":
            return self.found_digest(*name.split(BETWEEN, 1))
        return self.listing_digest(path) if kind == "dir" else self.digest(path)

    def stat(self, path: str) -> State | None:
        """What changes when a file's content does; None where there is no file."""
        try:
            return state(os.stat(path))
        except OSError:
            return None


State = tuple[int, int, int, int, int]
VIEWS = ".views"  # the folder in which exported views are remembered
_NO_INPUTS = frozenset({"__pycache__", ".druse", ".git", VIEWS})
_SETTLED = 50_000_000  # ns; two changes within a tick of the kernel's clock have the same time


def _open_now(path: str, flags: int) -> int:
    """Opens a file, and nothing that is none: a pipe would have to be waited for."""
    fd = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "no file")
    return fd


def state(found: os.stat_result) -> State:
    """Device, inode, size and times of the last changes: a memo, never what counts."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def is_settled(known: State) -> bool:
    """Whether a file's state was last changed so long ago that another change would show in it."""
    return time.time_ns() - max(known[3], known[4]) > _SETTLED


def is_temporary(path: str) -> bool:
    """Whether a file lies where programs keep what they need for a moment."""
    return os.path.realpath(path).startswith(_temporary())


def within(path: str, folders: Set[str]) -> bool:
    """Whether a path is one of these, or lies in one."""
    while len(path) > 1:
        if path in folders:
            return True
        path = os.path.dirname(path)
    return False


def comes_with_python(file: str) -> bool:
    """Whether a source file is the standard library's, or of an installed package."""
    return os.path.realpath(file).startswith(_of_python())


@cache
def _of_python() -> tuple[str, ...]:
    paths = paths_of_python()
    folders = (paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    return tuple(os.path.realpath(folder) + os.sep for folder in folders)


@cache
def _temporary() -> str:
    return os.path.realpath(tempfile.gettempdir()) + os.sep


def _is_device(real: str) -> bool:
    return real.startswith("/dev/") and not real.startswith("/dev/shm/")  # noqa: S108 - may be data


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
    """Folders whose files are part of no experiment: they come with the machine, or with Python."""
    paths = paths_of_python()
    folders = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")]
    folders.append(site.getusersitepackages())
    for prefix in {sys.prefix, sys.base_prefix}:
        inner = _OF_PREFIX if os.path.realpath(prefix) in _SHARED_PREFIXES else ("",)
        folders += [os.path.join(prefix, name) for name in inner]
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folders += [os.path.join(cache, name) for name in _CACHES]
    folders.append(os.environ.get("MPLCONFIGDIR", ""))
    real = {os.path.realpath(folder) + os.sep for folder in folders if folder}
    return (*_SYSTEM, *(folder for folder in real if folder != os.sep))
