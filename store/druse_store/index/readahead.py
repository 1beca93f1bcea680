"""Reading the index into memory in the order of the disk, ahead of a scan in the order of its keys.

Keys are digests, so that neighbours lie anywhere: from a disk, page by page, a scan takes several
times as long as reading all there is. A process of its own does that, since in this one nothing but
lmdb opens files in `index/`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

_WORTH = 32 << 20  # bytes from which on it is
_SHARE = 0.5  # of the machine's memory: more would push out what was read first

_READ = """
import os, sys
file = os.open(sys.argv[1], os.O_RDONLY)
room = bytearray(1 << 20)
while os.readv(file, [room]):
    pass
"""


@contextmanager
def ahead(folder: Path) -> Iterator[None]:
    """Has the index in `folder` read while the block goes on, if that is worth it."""
    path = folder / "data.mdb"
    size = path.stat().st_blocks * 512
    if not _WORTH <= size <= _SHARE * _memory():
        yield
        return
    # -I -S: nothing of the user's is imported, which would take longer than the reading.
    command = [sys.executable, "-I", "-S", "-c", _READ, str(path)]
    quiet = subprocess.DEVNULL
    with ExitStack() as stack:
        with suppress(OSError):  # a program that has Python in it is no interpreter to start
            process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)  # noqa: S603
            stack.enter_context(process)
            stack.callback(process.kill)
        yield


def _memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
