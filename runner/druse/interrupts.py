"""Ctrl-C during a run: once, what has finished is committed and the run stops; twice, at once.

The first one raises KeyboardInterrupt where that does no harm: in a user's code, or where the run
waits. In the middle of the store's work it only is noted, and raised afterwards.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, TypeVar

import druse_store

STATUS = 130
_STORE = str(Path(druse_store.__file__).parent) + os.sep


class Interrupts:
    """Takes SIGINT over for as long as the block is open, in the main thread, if nobody else has.

    `at_once` is called before the process ends on the second one.
    """

    def __init__(self, at_once: Callable[[], None] = lambda: None) -> None:
        self._at_once = at_once
        self._before: Any = None
        self._is_mine = False
        self.came = False

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.getsignal(signal.SIGINT)
            if self._before is signal.default_int_handler:
                signal.signal(signal.SIGINT, self._handle)
                self._is_mine = True
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.came:
            self._at_once()
            sys.stderr.write("\ninterrupted twice: ended at once\n")
            sys.stderr.flush()
            os._exit(STATUS)
        self.came = True
        if not _is_in_store(frame):
            raise KeyboardInterrupt

    def check(self) -> None:
        """Raises KeyboardInterrupt if one came and could not be raised then, or was swallowed."""
        if self.came:
            raise KeyboardInterrupt

    def stop(self) -> None:
        """As a Ctrl-C, from another thread: noted, and raised at the next check."""
        self.came = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_mine:
            signal.signal(signal.SIGINT, self._before)


Given = TypeVar("Given")


def uninterrupted(act: Callable[..., Given], *args: Any) -> Given:
    """What is called from here is not torn by a Ctrl-C, which is noted and raised afterwards."""
    return act(*args)


def _is_in_store(frame: FrameType | None) -> bool:
    """Whether the store is at work, or the run is about to hand something to it."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_STORE) or frame.f_code.co_name == "uninterrupted":
            return True
        frame = frame.f_back
    return False
