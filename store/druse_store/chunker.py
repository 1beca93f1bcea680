"""Content-defined cut points: an edit moves the cuts near it and leaves all others where they were.

FastCDC with the parameters below, which are part of format version 1: another choice would cut the
same bytes elsewhere, and nothing stored before would be found again. A large minimum costs little
of what is found again (one chunk in ten would have ended before it), and is passed over unseen.
This is the only importer of pyfastcdc, and only of its compiled module: the fallback in Python is
hundreds of times slower.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, Final

from druse_store.errors import EngineMissing, InvalidInput

if TYPE_CHECKING:
    from pyfastcdc.cy import FastCDC

MIN: Final = 256 * 1024  # bytes; a blob of at most this size is one chunk
AVG: Final = 512 * 1024
MAX: Final = 1024 * 1024
_NORMALIZATION: Final = 2  # keeps sizes near the average, which makes fewer chunks for the same AVG
_SEGMENT: Final = 8 * MAX  # bytes read at a time from a stream

_spare: deque[bytearray] = deque(maxlen=3)  # segments that other streams have left


def split(data: memoryview) -> list[int]:
    """Where the chunks of `data` (one byte an element) end, ascending; the last is its length.

    No bytes, no chunks: the list is then empty.
    """
    if len(data) <= MIN:
        return [len(data)] if len(data) else []
    end = 0
    return [end := end + chunk.length for chunk in _cutter().cut_buf(data)]


def cuts(data: memoryview) -> Iterator[memoryview]:
    """The chunks of `data`, cut where `split` cuts them, one after the other as they are found."""
    start = 0
    cutter = _cutter()
    while len(data) - start > MIN:
        # From one chunk to the next only MAX bytes count, and no cut depends on what was before.
        size = next(iter(cutter.cut_buf(data[start : start + MAX]))).length
        yield data[start : start + size]
        start += size
    if start < len(data):
        yield data[start:]


def chunks(reader: BinaryIO) -> Iterator[memoryview]:
    """The chunks of a stream, cut exactly where `split` cuts the same bytes.

    Holds a segment of 8 MiB, or a few, if chunks are referenced: for as long as they are, they stay
    valid, and the memory of their segment is not used again.
    """
    cutter = _cutter()
    rest = memoryview(b"")
    segments: list[bytearray] = []
    try:
        while True:
            segment, ended = _fill(reader, rest, _unused(segments))
            start = 0
            # A cut depends on the MAX bytes from its start on: nearer to the end, read more.
            while len(segment) - start > (0 if ended else MAX):
                size = next(iter(cutter.cut_buf(segment[start:]))).length
                yield segment[start : start + size]
                start += size
            if ended:
                return
            rest = segment[start:]
    finally:
        _spare.extend(segments)


def _unused(segments: list[bytearray]) -> bytearray:
    """One that nobody refers to, new if need be: fresh memory costs as much as reading into it."""
    for segment in segments:
        if _is_free(segment):
            return segment
    try:
        segments.append(_spare.popleft())
    except IndexError:
        segments.append(bytearray(_SEGMENT))
    return segments[-1] if _is_free(segments[-1]) else _unused(segments)


def _is_free(segment: bytearray) -> bool:
    try:
        segment.pop()  # impossible while there is a view of it
    except BufferError:
        return False
    segment.append(0)
    return True


def _fill(reader: BinaryIO, rest: memoryview, room: bytearray) -> tuple[memoryview, bool]:
    """A segment that begins with `rest`, and whether the stream ended with it."""
    segment = memoryview(room)
    segment[: len(rest)] = rest
    filled = len(rest)
    while filled < len(segment):
        count = _read_into(reader, segment[filled:])
        if count == 0:
            return segment[:filled].toreadonly(), True
        filled += count
    return segment.toreadonly(), False


def _read_into(reader: BinaryIO, room: memoryview) -> int:
    """Fill the start of `room`; files do so without a copy, other readers need only `read`."""
    count: int | None
    if hasattr(reader, "readinto"):
        count = reader.readinto(room)
    else:
        piece = reader.read(len(room))
        if isinstance(piece, str):
            raise InvalidInput(f"{type(reader).__name__} reads text: open the file in binary mode")
        count = None if piece is None else len(piece)
        room[:count] = piece or b""
    if count is None:
        raise InvalidInput("a file that does not block had nothing to read: have it block")
    return count


def _cutter() -> FastCDC:
    """A cutter of one's own: it costs a microsecond, and two threads must not share one."""
    try:
        from pyfastcdc.cy import FastCDC
    except ImportError as error:
        raise EngineMissing(
            "pyfastcdc has no compiled module here, and its fallback in Python is too slow to "
            "store anything with; install a wheel of pyfastcdc for this platform, or a C compiler "
            "and reinstall it"
        ) from error
    return FastCDC(AVG, min_size=MIN, max_size=MAX, normalized_chunking=_NORMALIZATION)
