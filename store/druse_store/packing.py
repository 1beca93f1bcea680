"""Plain data as bytes: canonical msgpack, the one importer of it.

Maps are sorted by key at every depth; integers beyond 64 bits travel as an extension; text may
hold lone surrogates (file names do). Decoding is bounded by the bytes given and makes nothing but
None, bool, int, float, str, bytes, list and dict.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgpack

from druse_store.errors import InvalidRecord, RecordDamaged

MAX_DEPTH = 64
MAX_SIZE = 16 << 20
_BIG_INT = 1
_SCALARS = frozenset((str, int, float, bool, type(None), bytes))


class _PerThread(threading.local):
    """A packer is worth keeping, and not safe to share."""

    def __init__(self) -> None:
        self.packer = msgpack.Packer(default=_beyond)
        self.pack = self.packer.pack


def pack_any(value: Any) -> bytes:
    """The bytes of `value`, whose maps are already sorted, of any size. Raises InvalidRecord."""
    try:
        packed: bytes = _mine.pack(value)
    except UnicodeEncodeError:
        return _with_surrogates(value)
    except (TypeError, ValueError, OverflowError) as error:
        _mine.packer.reset()
        raise _not_plain(error) from error
    return packed


def _with_surrogates(value: Any) -> bytes:
    """As `pack_any`. Whoever looks for lone surrogates takes half as long again, and most have
    none; then the bytes are the same."""
    _mine.packer.reset()
    packer = msgpack.Packer(default=_beyond, unicode_errors="surrogatepass")
    try:
        packed: bytes = packer.pack(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise _not_plain(error) from error
    return packed


def _not_plain(error: Exception) -> InvalidRecord:
    return InvalidRecord(f"not plain data, so it cannot be stored: {error}")


def pack(value: Any) -> bytes:
    """As `pack_any`, for what may have at most MAX_SIZE bytes. Raises InvalidRecord."""
    return bounded(pack_any(value))


def bounded(packed: bytes) -> bytes:
    """What was packed, unless it has more than MAX_SIZE bytes. Raises InvalidRecord."""
    if len(packed) > MAX_SIZE:
        raise InvalidRecord(
            f"{len(packed)} bytes of metadata are more than the {MAX_SIZE} that a record may have: "
            "put the large values as artifacts"
        )
    return packed


def unpack(packed: bytes | memoryview) -> Any:
    """The value that `pack` was given (tuples come back as lists). Raises RecordDamaged."""
    try:
        return msgpack.unpackb(
            packed, ext_hook=_extension, unicode_errors="surrogatepass", strict_map_key=False
        )
    except Exception as error:  # msgpack raises a dozen unrelated classes
        raise RecordDamaged(f"stored metadata of {len(packed)} bytes cannot be decoded") from error


def unpack_stream(packed: bytes) -> Iterator[Any]:
    """The values that stand side by side in `packed`: text as bytes, lists as tuples.

    What is cut off at the end is left out. Raises RecordDamaged.
    """
    unpacker = msgpack.Unpacker(
        use_list=False, raw=True, strict_map_key=False, ext_hook=_extension, max_buffer_size=0
    )
    unpacker.feed(packed)
    try:
        yield from unpacker
    except Exception as error:  # msgpack raises a dozen unrelated classes
        raise RecordDamaged("stored metadata cannot be decoded") from error


def sorted_map(value: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """`value` with its keys sorted at every depth. Raises InvalidRecord naming the path."""
    if type(value) is dict and _is_canonical(value, MAX_DEPTH):
        return value
    out: dict[str, Any] = {}
    try:
        keys = sorted(value)
    except TypeError as error:
        raise InvalidRecord(f"keys of metadata have to be text, at {path or 'the top'}") from error
    for key in keys:
        if type(key) is not str:
            raise InvalidRecord(f"keys of metadata have to be text: {path}[{key!r}]")
        item = value[key]
        out[key] = item if type(item) in _SCALARS else _plain(item, f"{path}[{key!r}]")
    return out


def _is_canonical(value: Any, depth: int) -> bool:
    """Whether keys are in order at every depth, and all is plain: then no copy is needed."""
    if type(value) is dict:
        last = ""
        for key in value:
            if type(key) is not str or key < last:
                return False
            last = key
        items: Iterable[Any] = value.values()
    elif type(value) is list:
        items = value
    else:
        return False
    if depth <= 0 or _SCALARS.issuperset(map(type, items)):
        return depth > 0
    for item in items:
        kind = type(item)
        if kind in _SCALARS:
            continue
        if kind is list and depth > 1 and _SCALARS.issuperset(map(type, item)):
            continue  # as below: most metrics, not worth a call
        if not _is_canonical(item, depth - 1):
            return False
    return True


def _plain(value: Any, path: str) -> Any:
    if path.count("[") > MAX_DEPTH:
        raise InvalidRecord(f"metadata is nested deeper than {MAX_DEPTH}: {path[:200]}")
    if isinstance(value, Mapping):
        return sorted_map(value, path)
    if isinstance(value, list | tuple):
        return [
            item if type(item) in _SCALARS else _plain(item, f"{path}[{i}]")
            for i, item in enumerate(value)
        ]
    for kind in (int, float, str, bytes):
        if isinstance(value, kind):
            return kind(value)  # type: ignore[arg-type]  # an enum, numpy.float64: its value
    raise InvalidRecord(f"{path} is of type {type(value).__qualname__}: only plain data is stored")


def _beyond(value: Any) -> msgpack.ExtType:
    if type(value) is int:
        size = value.bit_length() // 8 + 1
        return msgpack.ExtType(_BIG_INT, value.to_bytes(size, "big", signed=True))
    raise TypeError(f"{type(value).__qualname__} is not plain data")


_mine = _PerThread()


def _extension(code: int, data: bytes) -> int:
    if code != _BIG_INT:
        raise ValueError(f"unknown extension {code}")
    return int.from_bytes(data, "big", signed=True)
