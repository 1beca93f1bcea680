"""What a cell opens and unpickles, seen by the interpreter's audit events.

One hook for the process, set when the first cell is executed; it does nothing outside of cells.
What C libraries open by themselves raises no event: that is a blind spot.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from druse.places import Files, is_temporary
from druse_store import Digest

_IMPORTING = ("<frozen importlib", "<frozen zipimport")
_SHOWING_SOURCE = frozenset({"linecache.py", "tokenize.py", "inspect.py", "traceback.py"})


class Watch:
    """The files that one cell opened for reading, and the classes that it unpickled."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._began = time.time_ns()
        self._stats: dict[str, tuple[int, int, int, int] | None] = {}
        self._names: dict[str, str] = {}
        self._written: set[str] = set()
        self._frames: list[dict[str, Digest | None]] = []
        self._busy = False
        self.found: dict[str, Digest | None] = {}

    def opened(self, path: str, mode: str | None, flags: int, frame: Any) -> None:
        """A file is about to be opened."""
        if self._busy or (path.endswith((".py", ".pyc")) and _is_source(frame)):
            return
        self._busy = True
        try:
            self._note(path, reading=_reads(mode, flags))
        finally:
            self._busy = False

    def _note(self, path: str, *, reading: bool) -> None:
        real = os.path.realpath(path)
        if not reading:
            self._written.add(real)
            return
        if real in self._written:
            return
        known = self._names.get(real)
        if known is None:
            name = self._files.name(real)
            if name is None or os.path.isdir(real) or self._is_passing(real):
                return
            known = self._names[real] = f"file:{name}"
            self._stats[real] = self._files.stat(real)
            self.found[known] = self._files.digest(real)
        for frame in self._frames:
            frame.setdefault(known, self.found[known])

    def _is_passing(self, real: str) -> bool:
        """A temporary file that came to be while the cell ran is the cell's own."""
        if not is_temporary(real):
            return False
        try:
            return os.stat(real).st_ctime_ns >= self._began
        except OSError:
            return True

    def unpickled(self, module: str, name: str) -> None:
        """A class or function is about to be looked up for a pickle."""
        if not self._busy:
            for frame in (self.found, *self._frames):
                frame.setdefault(f"class:{module}:{name}", None)

    @contextmanager
    def recording(self) -> Iterator[dict[str, Digest | None]]:
        """Collects what is seen meanwhile, in a dict of its own as well."""
        frame: dict[str, Digest | None] = {}
        self._frames.append(frame)
        try:
            yield frame
        finally:
            self._frames.remove(frame)

    def changed(self) -> list[str]:
        """The input files that are not as they were when they were opened."""
        return [p for p, stat in self._stats.items() if self._files.stat(p) != stat]


def _reads(mode: str | None, flags: int) -> bool:
    if mode is None:
        return flags & os.O_ACCMODE == os.O_RDONLY
    return "r" in mode and "+" not in mode


def _is_source(frame: Any) -> bool:
    """Whether a module is being imported, or source looked up for a message."""
    for _ in range(4):
        if frame is None:
            return False
        file = frame.f_code.co_filename
        if file.startswith(_IMPORTING) or os.path.basename(file) in _SHOWING_SOURCE:
            return True
        frame = frame.f_back
    return False


_EVENTS = frozenset({"open", "pickle.find_class"})
_current: ContextVar[Watch | None] = ContextVar("druse.watch", default=None)
_active: list[Watch] = []
_installed = threading.Lock()
_is_installed = False


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Within the block, `watch` sees what this thread opens (and others, if it is alone)."""
    _install()
    token = _current.set(watch)
    _active.append(watch)
    try:
        yield
    finally:
        _active.remove(watch)
        _current.reset(token)


def current() -> Watch | None:
    """The watch over what this thread does."""
    return _current.get()


@contextmanager
def unwatched() -> Iterator[None]:
    """Within the block, the runner's own reads are seen by nobody."""
    watch = _current.get()
    if watch is None or watch._busy:
        yield
        return
    watch._busy = True
    try:
        yield
    finally:
        watch._busy = False


def _install() -> None:
    global _is_installed  # noqa: PLW0603 - an audit hook can be added to a process, not removed
    with _installed:
        if not _is_installed:
            sys.addaudithook(_hook)
            _is_installed = True


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if not _active or event not in _EVENTS:
        return
    watch = _current.get()
    if watch is None:
        # A thread that a step started: it belongs to the one cell that runs, if it is one.
        if len(_active) != 1:
            return
        watch = _active[0]
    if event == "open":
        path, mode, flags = args
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if isinstance(path, str):
            watch.opened(path, mode, flags or 0, sys._getframe(1))
    else:
        watch.unpickled(str(args[0]), str(args[1]))
