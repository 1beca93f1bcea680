"""Copies packs for a collection, as `python -m druse_store.gc.helper`: see `crew`.

It is told a job at a time on its standard input, and answers each on its standard output.
"""

from __future__ import annotations

import gc
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from druse_store.appender import Appender
from druse_store.gc.crew import copy, receive, send
from druse_store.gc.swaps import Swaps


def _work(
    path: str, file_id: bytes, end: int, size: int, wanted: list[Any], plain: list[Any]
) -> list[Any]:
    """Does one job; the answer is what `Crew` wants to know."""
    swaps = Swaps()
    out = Appender.beside(Path(path), file_id, end)
    try:
        sources, others = (
            [(each[0], Path(each[1]), each[2]) for each in p] for p in (wanted, plain)
        )
        damaged = copy(sources, others, size, out, swaps)
        return [out.end, out.last, out.frames, [bytes(part) for part in swaps.parts], damaged]
    finally:
        out.close()


def main() -> None:
    """Until there is nothing more to do, or nobody who asks."""
    gc.disable()  # of millions of objects none is a cycle
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asks is told, and ends this
    with suppress(EOFError, BrokenPipeError):
        while True:
            send(sys.stdout.buffer, _work(*receive(sys.stdin.buffer)))


if __name__ == "__main__":
    main()
