"""pyarrow tables, and pandas frames and series by way of them, as an Arrow stream in pieces.

The root piece is the stream without its large buffers; each of those, a column's memory, is a
piece of its own, so that a column which two frames share is stored once. `at` says where in the
root they were taken out.

Arrow does not know all that pandas does, so a frame is rebuilt before it is stored this way, and
left to pickle unless it comes back exactly. Columns of objects always are.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from druse_store.errors import EngineMissing, ObjectDamaged
from druse_store.loaded import loaded
from druse_store.records import ObjectRef
from druse_store.serial import plain
from druse_store.serial.access import Get, Put

if TYPE_CHECKING:
    from typing_extensions import Buffer

ENCODINGS: Final = frozenset({"table", "frame", "series"})
_MIN_PIECE: Final = 1024  # bytes; a smaller column costs less within the root than as a blob
_SERIES_COLUMN: Final = "values"
_SAFE_ARROW: Final = (14, 0, 1)  # before it, reading a stream could unpickle (CVE-2023-47248)
_BITS_PER_ROW: Final = 1  # the least that a row takes in a stream: a bool


def dump(obj: Any, put: Put) -> ObjectRef | None:
    """None for what is not exactly a Table, DataFrame or Series, or would lose something."""
    described = describe(obj)
    if described is None:
        return None
    encoding, meaning, pieces = described
    text = plain.to_json(meaning)
    if text is None:
        return None
    root, *rest = [put(piece, 1) for piece in pieces]
    return ObjectRef(encoding, root, tuple(rest), text.decode())


def load(ref: ObjectRef, get: Get, writable: bool) -> Any:
    meaning = plain.from_json(ref.meta.encode())
    # Joined into one private stream, so nothing is gained by a map.
    return rebuild(ref.encoding, meaning, [get(blob, False) for blob in ref.blobs()])


def is_frame(obj: Any) -> bool:
    """Whether `obj` is of a type that may be described here."""
    return type(obj).__module__.partition(".")[0] in ("pandas", "pyarrow")


def describe(obj: Any) -> tuple[str, dict[str, Any], list[Buffer]] | None:
    """The encoding, what the pieces mean, and the pieces, root first; None to leave it."""
    arrow = _loaded_arrow()
    if arrow is None:
        return None
    pandas: Any = loaded("pandas")
    try:
        if type(obj) is arrow.Table:
            return "table", *_take_apart(obj)
        if pandas is None or type(obj) not in (pandas.DataFrame, pandas.Series):
            return None
        return _describe_pandas(obj)
    except (arrow.ArrowException, ValueError, TypeError, NotImplementedError, KeyError):
        return None  # Arrow has no such type, or cannot name such a column


def _describe_pandas(obj: Any) -> tuple[str, dict[str, Any], list[Buffer]] | None:
    import pyarrow

    encoding, extra, frame = _as_frame(obj)
    if frame is None or not plain.is_json(obj.attrs) or not _may_be_exact(frame):
        return None
    meaning, pieces = _take_apart(pyarrow.Table.from_pandas(frame))
    meaning |= extra
    again = rebuild(encoding, meaning, pieces)
    exact = _is_same(_as_frame(again)[2], frame) and again.attrs == obj.attrs
    return (encoding, meaning, pieces) if exact else None


def rebuild(encoding: str, meaning: Mapping[str, Any], pieces: Sequence[Buffer]) -> Any:
    """The object that `describe` took apart. Raises ObjectDamaged, or what pyarrow raises."""
    table = _read_table(_joined(meaning["at"], pieces))
    if encoding == "table":
        return table
    try:
        import pandas
    except ImportError as error:
        raise EngineMissing("this object is a pandas frame: install pandas to load it") from error
    bits = 8 * sum(memoryview(piece).nbytes for piece in pieces)
    if table.num_columns and table.num_rows * _BITS_PER_ROW > bits:
        raise ObjectDamaged(f"{table.num_rows} rows cannot lie in {bits} bits")
    # A deep copy, since pandas would otherwise hand out Arrow's memory, read-only in some columns.
    frame = table.to_pandas().copy(deep=True)
    if encoding == "frame":
        return frame
    series = frame[_SERIES_COLUMN].rename(meaning["name"])
    return pandas.Series(series)


def _loaded_arrow() -> Any:
    """pyarrow, if it is installed and safe: a program with pandas need not have loaded it."""
    try:
        import pyarrow
    except ImportError:
        return None
    version = tuple(int(part) for part in pyarrow.__version__.split(".")[:3] if part.isdigit())
    return pyarrow if version >= _SAFE_ARROW else None


def _take_apart(table: Any) -> tuple[dict[str, Any], list[Buffer]]:
    import pyarrow

    sink = _Pieces()
    with pyarrow.ipc.new_stream(pyarrow.PythonFile(sink, "w"), table.schema) as writer:
        writer.write_table(table)
    return {"at": sink.at}, [bytes(sink.root), *sink.large]


class _Pieces(io.RawIOBase):
    """A file that keeps large writes, which are the memory of columns, apart from the others."""

    def __init__(self) -> None:
        self.root = bytearray()
        self.large: list[Buffer] = []
        self.at: list[int] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer) -> int:
        size = memoryview(data).nbytes
        if size < _MIN_PIECE:
            self.root += data
        else:
            self.at.append(len(self.root))
            self.large.append(data)
        return size


def _joined(at: Sequence[int], pieces: Sequence[Buffer]) -> bytes:
    root, *large = pieces
    whole = memoryview(root)
    if len(at) != len(large) or list(at) != sorted(at):
        raise ObjectDamaged("a table's pieces do not fit together")
    parts: list[Buffer] = []
    start = 0
    for position, piece in zip(at, large, strict=True):
        parts += (whole[start:position], piece)
        start = position
    return b"".join((*parts, whole[start:]))


def _read_table(stream: bytes) -> Any:
    pyarrow = _loaded_arrow()
    if pyarrow is None:
        wanted = ".".join(map(str, _SAFE_ARROW))
        raise EngineMissing(f"this object is an Arrow table: install pyarrow>={wanted} to load it")
    for message in pyarrow.ipc.MessageReader.open_stream(stream):
        if _is_compressed(memoryview(message.metadata)):
            raise ObjectDamaged("a table is never stored compressed by Arrow: it could be a bomb")
    with pyarrow.ipc.open_stream(stream) as reader:
        table = reader.read_all()
    table.validate(full=True)
    return table


def _is_compressed(message: memoryview) -> bool:
    """Whether an Arrow message says that its buffers are compressed.

    pyarrow would tell only after it had allocated what they claim to unpack to. The message is
    a flatbuffer: `Message.header` (field 2) is of the type in field 1, a record batch (3), or a
    dictionary batch (2), whose field 1 is a record batch; its field 3 is the compression.
    """
    table = struct.unpack_from("<I", message, 0)[0]
    kind_at, header_at = _field(message, table, 1), _field(message, table, 2)
    kind = message[kind_at] if kind_at else 0
    if kind not in (2, 3) or not header_at:
        return False
    batch = _target(message, header_at)
    if kind == 2:
        inner = _field(message, batch, 1)
        if not inner:
            return False
        batch = _target(message, inner)
    return _field(message, batch, 3) != 0


def _field(message: memoryview, table: int, number: int) -> int:
    """Where field `number` of a flatbuffer's table lies; 0 if it has none."""
    vtable = table - int(struct.unpack_from("<i", message, table)[0])
    size = int(struct.unpack_from("<H", message, vtable)[0])
    slot = 4 + 2 * number
    if slot + 2 > size:
        return 0
    offset = int(struct.unpack_from("<H", message, vtable + slot)[0])
    return table + offset if offset else 0


def _target(message: memoryview, position: int) -> int:
    return position + int(struct.unpack_from("<I", message, position)[0])


def _as_frame(obj: Any) -> tuple[str, dict[str, Any], Any]:
    """The encoding, what else is to be noted, and a frame of the same content; None for none."""
    import pandas

    if isinstance(obj, pandas.DataFrame):
        return "frame", {}, obj
    if not plain.is_atom(obj.name):
        return "series", {}, None
    return "series", {"name": obj.name}, obj.to_frame(_SERIES_COLUMN)


def _may_be_exact(frame: Any) -> bool:
    """Objects are compared by pandas loosely (None and NaN are equal), so they can't be checked."""
    indexes = (frame.columns, frame.index)
    levels = [level for index in indexes for level in getattr(index, "levels", [index])]
    return not any(str(dtype) == "object" for dtype in [*frame.dtypes, *(x.dtype for x in levels)])


def _is_same(one: Any, other: Any) -> bool:
    if one.shape != other.shape or one.flags != other.flags:
        return False
    if not (_is_same_index(one.index, other.index) and _is_same_index(one.columns, other.columns)):
        return False
    columns = range(one.shape[1])
    return all(_is_same_column(one.iloc[:, i].array, other.iloc[:, i].array) for i in columns)


def _is_same_index(one: Any, other: Any) -> bool:
    return bool(
        type(one) is type(other)
        and one.identical(other)
        and getattr(one, "freq", None) == getattr(other, "freq", None)
        and repr(one.dtype) == repr(other.dtype)
    )


def _is_same_column(one: Any, other: Any) -> bool:
    """Exactly the same: also the sign of a zero, and the order of unused categories."""
    import numpy

    if type(one) is not type(other) or repr(one.dtype) != repr(other.dtype):
        return False
    if one.dtype != other.dtype or not one.equals(other):
        return False
    if one.dtype.kind in "fc":
        return bool(numpy.array_equal(numpy.signbit(one), numpy.signbit(other)))
    if hasattr(one, "categories"):
        return bool(one.categories.identical(other.categories))
    return True
