"""A second process that does things to a store, and may die at any point of them.

`python -m druse_store.testing.crashes` answers one line of JSON with another: each task runs in a
fork of it, which starts within milliseconds. A task can end at its nth step towards the disk
(write, sync, rename, cut, commit) by a kill, after which the kernel still has all that was
written, or by a loss of power, after which only what was synced is there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from druse_store.index.tables import Tables
from druse_store.store import Store
from druse_store.testing.operations import Operation, do


class Helper:
    """The second process."""

    def __init__(self) -> None:
        paths = os.pathsep.join(entry for entry in sys.path if entry)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "druse_store.testing.crashes"],  # this module
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )

    def do(self, path: Path, operations: list[Operation], die_at: int = 0, how: str = "") -> int:
        """Does the operations; returns how many were done, all if none died. Raises RuntimeError.

        `how` is "kill" or "power": the task dies at its step `die_at`, if it comes that far.
        """
        task = {"path": str(path), "operations": operations, "die_at": die_at, "how": how}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        done, status = json.loads(self._process.stdout.readline())
        if status not in (0, -signal.SIGKILL):
            raise RuntimeError(f"a task ended with status {status}")
        return int(done)

    def close(self) -> None:
        """Ends it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)


class _Dying:
    """Counts steps towards the disk, and knows what of each file is durable."""

    def __init__(self, die_at: int, how: str) -> None:
        self._left = die_at
        self._how = how
        self._written: dict[int, int] = {}
        self._durable: dict[int, int] = {}
        self._nameless: set[Path] = set()  # created, and their folders not synced since
        acts: dict[str, Callable[..., None]] = {
            "pwrite": self._pwritten,
            "pwritev": self._pwritten,
            "fdatasync": self._synced,
            "fsync": self._synced,
            "ftruncate": self._cut,
            "open": self._opened,
            "close": self._closed,
        }
        for name, note in acts.items():
            setattr(os, name, self._counted(getattr(os, name), note))
        for name in ("rename", "replace", "link", "unlink"):
            setattr(os, name, self._counted(getattr(os, name), None))
        commit = self._counted(Tables.commit, lambda *_: self._count())  # before it, and behind
        Tables.commit = commit  # type: ignore[method-assign]

    def _counted(
        self, function: Callable[..., Any], note: Callable[..., None] | None
    ) -> Callable[..., Any]:
        def counted(*arguments: Any, **more: Any) -> Any:
            if function.__name__ not in ("open", "close"):
                self._count()
            result = function(*arguments, **more)
            if note is not None:
                note(result, *arguments)
            return result

        return counted

    def _pwritten(self, count: int, fd: int, data: object, offset: int) -> None:
        self._durable.setdefault(fd, offset)  # what was there before is durable
        self._written[fd] = max(self._written.get(fd, 0), offset + count)

    def _synced(self, result: None, fd: int) -> None:
        if fd in self._written:
            self._durable[fd] = self._written[fd]
        else:
            folder = Path(f"/proc/self/fd/{fd}").readlink()
            self._nameless = {path for path in self._nameless if path.parent != folder}

    def _cut(self, result: None, fd: int, end: int) -> None:
        self._written[fd] = end
        self._durable[fd] = min(self._durable.get(fd, end), end)

    def _opened(self, fd: int, path: Any, flags: int, *_: Any) -> None:
        if flags & os.O_EXCL and str(path).endswith((".pack", ".log")):
            self._nameless.add(Path(path))

    def _closed(self, result: None, fd: int) -> None:
        self._written.pop(fd, None)
        self._durable.pop(fd, None)

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            if self._how == "power":
                self._lose()
            os.kill(os.getpid(), signal.SIGKILL)

    def _lose(self) -> None:
        """Takes from packs and log segments what was in memory only: their ends, or the whole."""
        for fd in self._written:
            if Path(f"/proc/self/fd/{fd}").readlink().suffix in (".pack", ".log"):
                os.truncate(f"/proc/self/fd/{fd}", self._durable[fd])
        for path in self._nameless:
            path.unlink(missing_ok=True)


def _task(path: str, operations: list[Operation], die_at: int, how: str, done: int) -> None:
    if how:
        _Dying(die_at, how)
    with Store.open(path) as store:
        for operation in operations:
            do(store, operation)
            os.write(done, b".")


def main() -> None:
    """Forks a child for each task that comes."""
    for line in sys.stdin:
        task = json.loads(line)
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                _task(**task, done=write)
                status = 0
            finally:
                os._exit(status)
        os.close(write)
        count = 0
        while piece := os.read(read, 4096):
            count += len(piece)
        os.close(read)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps([count, status]), flush=True)  # noqa: T201  # how it answers


if __name__ == "__main__":
    main()
