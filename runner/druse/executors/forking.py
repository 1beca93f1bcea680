"""The run's side of the template process: starts it, has workers forked, hears how they ended."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections import deque
from contextlib import suppress
from multiprocessing.connection import Connection

from druse.errors import ExecutorLost
from druse.executors.template import ENDED, MADE, NEWS, kill

_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[2])
from druse.executors import template
template.main(int(sys.argv[1]))
"""
_PATIENCE = 1.0  # seconds for what the template has to say about a worker


class Child:
    """A worker process, as far as the template speaks of it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.pid: int | None = None
        self.status: int | None = None


class Template:
    """One template process. Thread-safe."""

    def __init__(self) -> None:
        own, its = socket.socketpair()
        self._control = own
        with its:
            flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
            program = ["-c", _PROGRAM, str(its.fileno()), json.dumps(sys.path)]
            self._process = subprocess.Popen(  # noqa: S603 - this very interpreter
                [sys.executable, *flags, *program],
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._unborn: deque[Child] = deque()
        self._children: dict[int, Child] = {}
        self._changed = threading.Condition()
        threading.Thread(target=self._listen, name="druse-template", daemon=True).start()

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def fork(self) -> Child:
        """A new worker. Raises ExecutorLost."""
        own, its = socket.socketpair()
        child = Child(Connection(own.detach()))
        with its, self._changed:
            self._unborn.append(child)
            try:
                socket.send_fds(self._control, [b"w"], [its.fileno()])
            except OSError as error:
                self._unborn.remove(child)
                raise ExecutorLost(f"worker processes cannot be started: {error}") from error
        return child

    def _listen(self) -> None:
        rest = b""
        with suppress(OSError):
            while data := self._control.recv(1 << 12):
                rest += data
                while len(rest) >= NEWS.size:
                    self._note(*NEWS.unpack(rest[: NEWS.size]))
                    rest = rest[NEWS.size :]
        with self._changed:
            self._changed.notify_all()

    def _note(self, what: int, pid: int, status: int) -> None:
        with self._changed:
            if what == MADE:
                child = self._children[pid] = self._unborn.popleft()
                child.pid = pid
            elif what == ENDED:
                gone = self._children.pop(pid, None)
                if gone is not None:
                    gone.status = status
            self._changed.notify_all()

    def kill(self, child: Child) -> None:
        """Kills a worker, with what it started."""
        with self._changed:
            self._changed.wait_for(lambda: child.pid is not None, _PATIENCE)
            if child.pid is not None and child.status is None:
                kill(child.pid)

    def how_it_ended(self, child: Child) -> int | None:
        """The exit status of a worker that is gone: negative for a signal; None if unknown."""
        with self._changed:
            self._changed.wait_for(lambda: child.status is not None, _PATIENCE)
            return child.status


_guard = threading.Lock()
_shared: tuple[object, Template] | None = None
_AT_START = ("PYTHON", "LD_", "OMP_", "OPENBLAS_", "MKL_", "MALLOC_", "TMPDIR")


def template(instead_of: Template | None = None) -> Template:
    """The process's template: the one that is there, if nothing that it began with has changed.

    What else it took over, workers get from the run. `instead_of` is one that serves no more.
    """
    global _shared  # noqa: PLW0603 - starting one takes longer than many runs do
    variables = sorted(item for item in os.environ.items() if item[0].startswith(_AT_START))
    key = (os.getpid(), tuple(variables))
    with _guard:
        known, old = _shared or (None, None)
        if old is not None and old is not instead_of and known == key and old.is_alive:
            return old
        # Workers of another run may be children of the old one: it ends when it has none left.
        found = Template()
        _shared = (key, found)
        return found
