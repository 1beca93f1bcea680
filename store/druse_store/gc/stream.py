"""The end of a pack, written in large pieces, past the memory of the system where that can be.

What a collection copies is not what will be read next, so that it need not push other things out of
memory; and to find fresh memory for it takes longer than to write it. Pieces are written by another
thread, while the next one is made. The file counts as written once the stream has been closed.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeAlias

from druse_store import disk, memory
from druse_store.appender import Appender

if TYPE_CHECKING:
    from typing_extensions import Buffer

_ROOM = 2 << 20  # bytes that are written at once
_ROOMS = 3
_BLOCK = 4096  # what pieces begin and end at: no disk wants more
_WORTH = 8 << 20  # bytes in all, from which on it is worth asking for

_Piece: TypeAlias = "tuple[memoryview, int, int]"  # of which so many bytes go there


class Stream:
    """Frames that are appended to a pack: `with Stream(out, size) as stream: stream.append(…)`."""

    def __init__(self, out: Appender, size: int) -> None:
        """`size`: about how many bytes that will be."""
        self._out = out
        self.file_id = out.file_id
        self.end = out.end
        self._last, self._frames = out.last, 0
        self._direct = _open_past_memory(out) if size >= _WORTH else -1
        self._rooms = [memory.take(_ROOM) for _ in range(_ROOMS)]
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        for room in self._rooms[1:]:
            self._free.put(room)
        self._todo: SimpleQueue[_Piece | None] = SimpleQueue()
        self._error: OSError | None = None
        self._room = self._rooms[0]
        self._lent: memoryview | None = None
        self._begin_anew()
        self._thread = threading.Thread(target=self._work, name="druse-writes", daemon=True)
        self._thread.start()

    def _begin_anew(self) -> None:
        """With the block that the file ends in, as far as that is written."""
        self._out.write_out()
        self._filled = self.end % _BLOCK
        self._begin = self.end - self._filled
        with disk.translated("reading", self._out.path):
            disk.read_into(self._out.fd, self._room[: self._filled], self._begin)

    # --- appending -----------------------------------------------------------------------------

    def append(self, head: bytes, *parts: Buffer) -> int:
        """Appends a frame; returns the offset of its header."""
        offset = self._last = self.end
        self._pour((head, *parts))
        self._frames += 1
        return offset

    def append_frames(self, pieces: Sequence[Buffer], count: int) -> None:
        """Appends `count` whole frames, whose bytes these pieces are."""
        self._pour(pieces)
        self._frames += count

    def space(self, size: int) -> memoryview:
        """Memory for so many bytes that may be appended next: if it is, nothing is copied."""
        if size > _ROOM - _BLOCK:
            return memory.reserve(size)
        if self._filled + size > _ROOM:
            self._write_room()
        self._lent = self._room[self._filled : self._filled + size]
        return self._lent

    def _pour(self, pieces: Sequence[Buffer]) -> None:
        for piece in pieces:
            view = memoryview(piece).cast("B")
            self.end += len(view)
            if piece is self._lent:
                self._filled += len(view)
                view = view[:0]
            self._lent = None
            while len(view):
                count = min(len(view), _ROOM - self._filled)
                self._room[self._filled : self._filled + count] = view[:count]
                self._filled += count
                view = view[count:]
                if self._filled == _ROOM:
                    self._write_room()

    def _write_room(self) -> None:
        """Hands the blocks that are full over to the other thread."""
        size = self._filled - self._filled % _BLOCK
        room, rest = self._room, self._room[size : self._filled]
        self._lent = None
        self._room = self._free.get()
        self._room[: len(rest)] = rest
        self._todo.put((room, size, self._begin))
        self._begin += size
        self._filled = len(rest)

    # --- the other thread ----------------------------------------------------------------------

    def _work(self) -> None:
        while (piece := self._todo.get()) is not None:
            room, size, at = piece
            try:
                if self._error is None:
                    self._write(room[:size], at)
            except OSError as error:
                self._error = error
            self._free.put(room)

    def _write(self, data: memoryview, at: int) -> None:
        done = 0
        if self._direct >= 0:
            try:
                done = os.pwrite(self._direct, data, at)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                    raise
                self._shut()  # it is not possible here
        disk.write_all(self._out.fd, data[done:], at + done)

    def _shut(self) -> None:
        fd, self._direct = self._direct, -1
        if fd >= 0:
            os.close(fd)

    # --- the end -------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Raises StoreError where something could not be written."""
        if self._filled >= _BLOCK:
            self._write_room()
        self._todo.put(None)
        self._thread.join()
        self._shut()
        try:
            with self._out.writing():
                if self._error is not None:
                    raise self._error
                disk.write_all(self._out.fd, self._room[: self._filled], self._begin)
            self._out.take_on(self.end, self._last, self._frames)
        finally:
            for room in self._rooms:
                memory.give_back(room)


def _open_past_memory(out: Appender) -> int:
    """Another descriptor of a pack, whose writes go to the disk at once; -1 where there is none."""
    with suppress(OSError, AttributeError):
        return os.open(out.path, os.O_WRONLY | os.O_CLOEXEC | os.O_DIRECT)
    return -1
