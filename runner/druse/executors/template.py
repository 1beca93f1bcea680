"""The process from which workers are forked: it has imported what they need, and done nothing else.

It has no threads, no store and nothing of the user's, so that forking it is safe; a worker begins
within milliseconds. It is told by a socket: each byte with a descriptor is a worker to be made. It
says who was made, and who ended how. When the socket closes, it kills its workers and ends.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import socket
import struct
import sys
import warnings
from contextlib import suppress

import druse
from druse.numpys import load

MADE, ENDED = 1, 2
NEWS = struct.Struct("<Bii")
_IDLE = 300.0  # seconds without a worker after which it ends by itself


def main(descriptor: int) -> None:
    """Serves until the socket is closed."""
    _preload()
    control = socket.socket(fileno=descriptor)
    wakeup, signalled = os.pipe()
    for end in (wakeup, signalled):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
    _Template(control, wakeup).serve()


_NEEDED = (
    *("druse.executors.worker", "druse.stepcache", "druse.fingerprint.session"),
    *("druse.fingerprint.kinds", "druse_store", "cloudpickle"),
    *("druse_store.session", "druse_store.writer", "druse_store.ingest"),
    "druse.api",
)


def _preload() -> None:
    """What workers would import one by one, users' modules ask for, and seeding."""
    for name in _NEEDED:
        importlib.import_module(name)
    for name in druse.__all__:
        getattr(druse, name)
    if load() is not None:
        importlib.import_module("numpy.random")
    gc.collect()
    gc.freeze()  # so that collections in workers leave these pages shared


class _Template:
    def __init__(self, control: socket.socket, wakeup: int) -> None:
        self._control = control
        self._wakeup = wakeup
        self._workers: set[int] = set()

    def serve(self) -> None:
        while True:
            wait = None if self._workers else _IDLE
            sources: list[socket.socket | int] = [self._control, self._wakeup]
            ready, _, _ = select.select(sources, [], [], wait)
            if not ready:
                return
            if self._wakeup in ready:
                self._reap()
            if self._control in ready and not self._take_order():
                self._kill_all()
                return

    def _take_order(self) -> bool:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)
        except OSError:
            return False
        for descriptor in descriptors:
            self._fork(descriptor)
        return bool(data)

    def _fork(self, descriptor: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of numpy's idle threads
            pid = os.fork()
        if pid == 0:
            self._become_worker(descriptor)
        os.close(descriptor)
        self._workers.add(pid)
        self._say(MADE, pid, 0)

    def _become_worker(self, descriptor: int) -> None:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._control.close()
            os.setsid()  # with what its cells start, so that all of it can be killed
            from druse.executors import worker

            worker.main(descriptor)
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wakeup, 512)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._workers.discard(pid)
            self._say(ENDED, pid, os.waitstatus_to_exitcode(status))

    def _say(self, what: int, pid: int, status: int) -> None:
        with suppress(OSError):
            self._control.sendall(NEWS.pack(what, pid, status))

    def _kill_all(self) -> None:
        for pid in self._workers:
            kill(pid)


def kill(pid: int) -> None:
    """Kills a worker, with the processes that its cells started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
