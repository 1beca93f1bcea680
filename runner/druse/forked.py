"""What processes read that a step forks: workers that load data, say.

They have the step's audit hook, and a memory of their own: so they write down what they see, into
a file without a name that was opened before they were forked. Programs that are started anew have
no hook: these are blind spots.
"""

from __future__ import annotations

import json
import os
import select
import tempfile
import threading
from typing import Any, BinaryIO, Final

Told = list[Any]
"""One thing that was seen, as it goes through JSON."""


class Forked:
    """What one cell's forked processes see. Belongs to the process that the cell began in, whose
    number is `here`."""

    __slots__ = ("_alive", "_file", "_here", "_identity", "_read", "_rest")

    def __init__(self, here: int) -> None:
        self._here = here
        self._file: BinaryIO | None = None
        self._identity: tuple[int, int] | None = None
        self._alive: tuple[int, int] | None = None
        self._read = 0
        self._rest = b""

    @property
    def is_unused(self) -> bool:
        """Whether no process was about to be forked."""
        return self._file is None

    @property
    def is_child(self) -> bool:
        """Whether this is not the process that the cell began in."""
        return os.getpid() != self._here

    def prepare(self) -> None:
        """A process is about to be forked."""
        if self._file is None and not self.is_child:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - for as long as it lives
            self._identity = _identity(self._file.fileno())
            self._alive = os.pipe()

    def tell(self, told: Told) -> None:
        """In a forked process: writes something down, by one call, beside what others write."""
        if self._file is None or _identity(self._file.fileno()) != self._identity:
            return  # it was forked by other means, or has closed what it inherited
        os.write(self._file.fileno(), json.dumps(told).encode() + b"\n")

    def told(self) -> list[Told]:
        """In the cell's own process: what was written down since the last time."""
        if self._file is None or self.is_child:
            return []
        text = os.pread(self._file.fileno(), _size(self._file) - self._read, self._read)
        self._read += len(text)
        lines = (self._rest + text).split(b"\n")
        self._rest = lines.pop()
        return [json.loads(line) for line in lines]

    def again(self) -> None:
        """From now on `told` gives everything once more."""
        self._read, self._rest = 0, b""

    def is_over(self) -> bool:
        """Whether no forked process is left. Closes what told so."""
        if self._alive is None or self.is_child:
            return True
        reading, writing = self._alive
        if writing >= 0:
            os.close(writing)
            self._alive = reading, -1
        if not select.select([reading], [], [], 0)[0]:
            return False
        os.close(reading)
        self._alive = None
        return True

    def close(self) -> None:
        if self._file is not None and not self.is_child:
            self._file.close()
            self._file = None


_outliving: Final[list[Forked]] = []
_lock = threading.Lock()  # cells in threads: each reads from the start what all others read, too


def _unlock() -> None:
    global _lock  # noqa: PLW0603 - of a forked child, in which no other thread gives it back
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_unlock)


def may_be_told() -> bool:
    """Whether processes that earlier cells have forked go on."""
    return bool(_outliving)


def told_by(forked: Forked | None, *, at_end: bool) -> list[Told]:
    """What a cell's processes have seen; at its end, also what those of earlier cells have.

    A process that goes on, of a pool that is kept, may give what it read to every later cell.
    """
    if (forked is None or forked.is_unused) and not _outliving:
        return []
    with _lock:
        return _all_told_by(forked, at_end=at_end)


def _all_told_by(forked: Forked | None, *, at_end: bool) -> list[Told]:
    found = [] if forked is None else forked.told()
    if at_end:
        for each in list(_outliving):
            each.again()
            found += each.told()
            if each.is_over():
                _outliving.remove(each)
                each.close()
        if forked is None:
            return found
        if forked.is_over():
            forked.close()
        else:
            _outliving.append(forked)
    return found


def _identity(fd: int) -> tuple[int, int] | None:
    try:
        stat = os.fstat(fd)
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size
