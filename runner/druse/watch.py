"""What a cell opens, lists and unpickles, seen by the interpreter's audit events.

One hook for the process, set when the first cell is executed; it does nothing outside of cells.
What C libraries open by themselves raises no event: that is a blind spot. So is what programs,
databases and connections give: that these were used is noted (`unseen`).
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from druse import globs, underway, unseen
from druse.forked import Forked, may_be_told, told_by
from druse.keeping import Seen, is_anything_kept, keep, keeper, kept
from druse.places import Files, State, is_temporary, within
from druse.reads import INSIDE, WHOLE, Reads
from druse.underway import UnderWay
from druse_store import Digest

if TYPE_CHECKING:
    from druse.context import FrozenContext

_IMPORTING = (
    "<frozen importlib",
    "<frozen zipimport",
    os.path.dirname(importlib.__file__) + os.sep,  # importlib.metadata lists what is installed
)
_DRUSE = os.path.dirname(__file__) + os.sep
_UNSEEN = "unseen:"
_TICK = 50_000_000  # ns: what is changed twice within a tick of the kernel's clock shows no change
_SHOWING_SOURCE = frozenset(
    {"linecache.py", "tokenize.py", "inspect.py", "traceback.py", "pkgutil.py"}
)


class Watch(UnderWay):
    """The files that one cell opened for reading, the folders that it listed, what it unpickled.

    As a context: within the block, it sees what this thread does, and the threads that it starts.
    `code` names the functions and classes that the cell's key covers; None: any may be used.
    `reads` are the cell's. `place` is that of the step at hand.
    """

    def __init__(
        self,
        files: Files,
        code: frozenset[str] | None = None,
        reads: Reads | None = None,
        ctx: FrozenContext | None = None,
    ) -> None:
        super().__init__(ctx)
        self.watch = self
        self._files = files
        self._reads = reads
        self._code = code
        self.is_unused = True
        self._began = time.time_ns()
        self._stats: dict[str, tuple[str, State | None]] = {}
        self._names: dict[str, str | None] = {}
        self._written: set[str] = set()
        self._differed: list[str] = []
        self._frames: list[Seen] = []
        self._here = _pid
        self._forked: Forked | None = None
        self.made: set[str] = set()
        self.found: Seen = {}
        self.unseen: unseen.Unseen = {}
        self.place = 0

    def begin(self, reads: Reads, ctx: FrozenContext) -> Watch:
        """Another cell begins, after one of which there was nothing to note."""
        self.ctx = ctx
        self._reads, self._began, self._here = reads, time.time_ns(), _pid
        return self

    def __enter__(self) -> None:
        if not _is_installed:
            _install()
        self._token = underway.here.set(self)
        _active.append(self)

    def __exit__(self, *_: object) -> None:
        _active.remove(self)
        underway.here.reset(self._token)
        self.close()

    @property
    def forked(self) -> Forked:
        """What processes see that the cell forks; made before the first one is, if not earlier."""
        if self._forked is None:
            self._forked = Forked(self._here)
        return self._forked

    def in_child(self) -> None:
        """This is a copy, in a process that the cell has forked: what it reads there is told."""
        if self._reads is not None and self._forked is not None:
            tell, mine = self._forked.tell, self._mark
            self._reads.tell(lambda kind, *read: tell([kind, mine, read[0], read[1].hex()]))

    @property
    def _mark(self) -> str:
        """Tells this cell's forked processes from those that earlier ones have left."""
        return f"{id(self)} {self._began}"

    def opened(self, path: str, mode: str | None, flags: int, frame: Any) -> None:
        """A file is about to be opened."""
        if path.endswith((".py", ".pyc")) and _is_source(frame):
            return
        real = os.path.realpath(path)
        if not _reads(mode, flags):
            self._write(real)
            if mode is not None and "a" in mode and "+" in mode:
                self.note_unseen(f"read {path}, which it opened to append to it", frame)
        elif real not in self._written:
            self._note_file(path, frame, by_flags=mode is None)

    def _write(self, real: str) -> None:
        self._written.add(real)
        if self.forked.is_child:
            self.forked.tell(["written", real])

    def _note_file(self, path: str, frame: Any, *, by_flags: bool) -> None:
        absolute = os.path.abspath(path)
        if absolute not in self._names:
            self._names[absolute] = self._file_name(path, frame, by_flags=by_flags)
        name = self._names[absolute]
        if name is None:
            return
        if name not in self.found:
            self._stats[name] = (absolute, self._files.stat(absolute))
            self.found[name] = self._files.digest(absolute, alone=self.forked.is_child)
        self._add(name, self.found[name], frame)

    def _file_name(self, path: str, frame: Any, *, by_flags: bool) -> str | None:
        name = self._files.name(path)
        if name is None or os.path.isdir(path) or self._is_passing(path):
            return None
        sentence = unseen.of_path(path, by_flags=by_flags)
        if sentence is not None:
            self.note_unseen(sentence, frame)
            if os.path.exists(path):
                return None  # a pipe, say: reading from it would take away what the step is to read
        return f"file:{name}"

    def _is_passing(self, path: str) -> bool:
        """A temporary file that came to be while the cell ran is the cell's own."""
        if not is_temporary(path) or self._files.is_own(path):
            return False
        real = os.path.realpath(path)
        if within(real, self.made) or within(real, _made_here):
            return True
        try:
            return os.stat(path).st_ctime_ns >= self._began
        except OSError:
            return False

    def listed(self, path: str, frame: Any) -> None:
        """The names in a folder are about to be read."""
        if _is_source(frame):
            return
        name = self._files.name(path)
        if name is not None and not self._is_passing(path):
            self._add(f"dir:{name}", self._files.listing_digest(path), frame)

    def asked(self, folder: str, pattern: str, frame: Any) -> None:
        """It is about to be found out which paths a pattern finds below a folder."""
        name = self._files.name(folder)
        if name is not None and not self._is_passing(folder):
            digest = self._files.found_digest(name, pattern)
            self._add(f"glob:{name}{globs.BETWEEN}{pattern}", digest, frame)

    def unpickled(self, module: str, name: str, frame: Any) -> None:
        """A class or function is about to be looked up for a pickle."""
        self._add(f"class:{module}:{name}", None, frame)

    def note_unseen(self, sentence: str, frame: Any) -> None:
        """Something from which results may come in ways that nothing here can see."""
        self._add(f"{_UNSEEN}{sentence}", None, frame)

    def _add(self, name: str, digest: Digest | None, frame: Any) -> None:
        if self.forked.is_child:
            path, state = self._stats.get(name, ("", None))
            self.forked.tell(["seen", name, digest and digest.hex(), path, state])
        self._note(name, digest)
        keeping = keeper(frame, _DRUSE)
        if keeping is not None:
            keep(keeping, name, digest)

    def _note(self, name: str, digest: Digest | None) -> None:
        self.is_unused = False
        if name.startswith(_UNSEEN):
            self.unseen.setdefault((self.place, name.removeprefix(_UNSEEN)))
            return
        for seen in (self.found, *self._frames):
            seen.setdefault(name, digest)

    def _gather(self, *, at_end: bool = False) -> None:
        """Takes over what forked processes have seen."""
        for kind, *told in told_by(self._forked, at_end=at_end):
            if kind == "written":
                self._written.add(told[0])
            elif kind in (WHOLE, INSIDE):
                if told[0] == self._mark and self._reads is not None:
                    self._reads.take_over(kind, told[1], Digest.fromhex(told[2]))
            else:
                self._take_over(*told)

    def _take_over(self, name: str, text: str | None, path: str, state: list[int] | None) -> None:
        if path and os.path.realpath(path) in self._written:
            return
        digest = None if text is None else Digest.fromhex(text)
        if path:
            self._stats.setdefault(name, (path, tuple(state) if state else None))  # type: ignore[arg-type]
        if self.found.get(name, digest) != digest:
            self._differed.append(path or name)
        self._note(name, digest)

    @contextmanager
    def recording(self) -> Iterator[Seen]:
        """Collects what is seen meanwhile, in a dict of its own as well."""
        frame: Seen = {}
        self._frames.append(frame)
        try:
            yield frame
            self._gather()
            self._add_kept(frame)
        finally:
            self._frames.remove(frame)

    def repeat(self, seen: Seen) -> bool:
        """Whether the same files hold the same today; if so, they were read again."""
        for name, digest in seen.items():
            if digest is not None and self._files.current(name) != digest:
                return False
        for name, digest in seen.items():
            self._note(name, digest)
        return True

    def close(self) -> None:
        """The cell is over: what others made, and it may have used, counts for it too."""
        if self.is_unused and not is_anything_kept() and not may_be_told():
            return
        if self._forked is not None and self._forked.is_child:
            return
        self._gather(at_end=True)
        if self.made:
            _made_here.update(path for path in self.made if os.path.lexists(path))
        self._add_kept(self.found)
        if not self._written:
            return
        for name in [each for each in self.found if each.startswith(("dir:", "glob:"))]:
            folder = self._files.path(name.partition(":")[2].partition(globs.BETWEEN)[0])
            folder = os.path.realpath(folder) + os.sep
            if any(path.startswith(folder) for path in self._written):
                del self.found[name]  # a place that it writes to

    def _add_kept(self, seen: Seen) -> None:
        for name, digest in kept(self._code):
            if name.startswith(_UNSEEN):
                self._note(name, None)
            else:
                self.is_unused = False
                seen.setdefault(name, digest)

    def changed(self) -> list[str]:
        """The input files that hold something else than when they were opened."""
        if not self._stats:
            return self._differed
        return self._differed + [
            path
            for name, (path, before) in self._stats.items()
            if self._may_have_changed(path, before) and self._files.digest(path) != self.found[name]
        ]

    def _may_have_changed(self, path: str, before: State | None) -> bool:
        if self._files.stat(path) != before:
            return True
        return before is not None and max(before[3], before[4]) > self._began - _TICK

    @property
    def written(self) -> tuple[str, ...]:
        """The real paths of the files that were opened for writing, where others may read them."""
        if not self._written:
            return ()
        return tuple(path for path in self._written if not self._files.is_left_out(path))


def _reads(mode: str | None, flags: int) -> bool:
    """Whether a file's content is asked for: not where it is made, or cut to nothing."""
    if mode is not None:
        return "r" in mode
    if flags & (os.O_TRUNC | os.O_EXCL):
        return False
    return flags & os.O_ACCMODE in (os.O_RDONLY, os.O_RDWR)


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


_STARTS = frozenset({"_thread.start_new_thread", "_thread.start_joinable_thread"})
_FORKS = frozenset({"os.fork", "os.forkpty"})
_MAKES = frozenset({"tempfile.mkstemp", "tempfile.mkdtemp"})
_OPENS = frozenset({"open", "os.listdir", "os.scandir"})
_EVENTS = _STARTS | _FORKS | _MAKES | _OPENS | globs.EVENTS | unseen.EVENTS | {"pickle.find_class"}
_active: list[Watch] = []
_threads: WeakKeyDictionary[threading.Thread, Watch] = WeakKeyDictionary()
_own = threading.local()
_made_here: set[str] = set()  # temporary, and left by cells of this process
_pid = os.getpid()  # asking for it is a system call, and every cell needs it
_installed = threading.Lock()
_is_installed = False


def _note_pid() -> None:
    global _pid  # noqa: PLW0603 - of a forked child
    _pid = os.getpid()
    for watch in _active:
        watch.in_child()


os.register_at_fork(after_in_child=_note_pid)


@contextmanager
def unwatched() -> Iterator[None]:
    """Within the block, the runner's own reads in this thread are seen by nobody."""
    before = getattr(_own, "is_quiet", False)
    _own.is_quiet = True
    try:
        yield
    finally:
        _own.is_quiet = before


def _install() -> None:
    global _is_installed  # noqa: PLW0603 - an audit hook can be added to a process, not removed
    with _installed:
        if not _is_installed:
            sys.addaudithook(_hook)
            _is_installed = True


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if not _active or event not in _EVENTS or getattr(_own, "is_quiet", False):
        return
    with unwatched():
        for watch in _watches():
            _tell(watch, event, args, sys._getframe(1))


def _watches() -> list[Watch]:
    """Whose cell this thread works for; where that cannot be known, all of them."""
    watch = underway.watch()
    if watch is not None:
        return [watch]
    thread = threading.current_thread()
    watch = _threads.get(thread)
    if watch is not None and watch in _active:
        return [watch]
    if thread is threading.main_thread() or thread.name.startswith("druse"):
        return []  # the run's own work, beside the cells: what it sends to a remote, say
    return list(_active)


def _tell(watch: Watch, event: str, args: tuple[Any, ...], frame: Any) -> None:
    watch.is_unused = False
    if event in _STARTS:
        thread = getattr(args[0], "__self__", None)
        if isinstance(thread, threading.Thread):
            _threads[thread] = watch
        return
    if event in _OPENS:
        _tell_of_path(watch, event, args, frame)
    elif event in globs.EVENTS:
        asked = globs.asked(event, args)
        if asked is not None:
            watch.asked(*asked, frame)
    elif event == "pickle.find_class":
        watch.unpickled(str(args[0]), str(args[1]), frame)
    elif event in _FORKS:
        watch.forked.prepare()
    elif event in _MAKES:
        watch.made.add(os.path.realpath(os.fsdecode(args[0])))
    else:
        sentence = unseen.sentence(event, args)
        if sentence is not None:
            watch.note_unseen(sentence, frame)


def _path_of(fd: int) -> str | None:
    """The folder that is open as a number, where the system tells."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return None


def _tell_of_path(watch: Watch, event: str, args: tuple[Any, ...], frame: Any) -> None:
    path = "." if args[0] is None else args[0]
    if isinstance(path, int) and event != "open":
        path = _path_of(path)
        if path is None:
            return
    if isinstance(path, int):
        sentence = unseen.started_anew(frame.f_code.co_filename)
        if sentence is not None:
            watch.note_unseen(sentence, frame)
        return
    path = os.fsdecode(path)
    if event == "open":
        watch.opened(path, args[1], args[2] or 0, frame)
    else:
        watch.listed(path, frame)
