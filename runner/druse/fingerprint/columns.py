"""pyarrow and polars: schema and values, however they are cut into chunks and padded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from druse.fingerprint import arrays
from druse.fingerprint.encoding import length, raw_bytes, tag, text

if TYPE_CHECKING:
    from druse.fingerprint.builder import Builder
    from druse.fingerprint.graph import Node, Part


def _table(builder: Builder, value: Any, node: Node) -> list[Part]:
    metadata = builder.part(dict(value.schema.metadata or {}), node.path)
    parts: list[Part] = [tag(type(value).__name__), metadata, length(value.num_columns)]
    for field, column in zip(value.schema, value.columns, strict=True):
        parts += [text(field.name) + text(str(field.type)), *_column(builder, column, node.path)]
    return parts


def _array(builder: Builder, value: Any, node: Node) -> list[Part]:
    kind = "chunked" if type(value).__name__ == "ChunkedArray" else "array"
    return [tag("arrow") + text(kind) + text(str(value.type)), *_column(builder, value, node.path)]


def _column(builder: Builder, value: Any, path: str) -> list[Part]:
    """Which values are missing, then the others."""
    import pyarrow as pa
    import pyarrow.types as kinds

    if isinstance(value, pa.ChunkedArray):
        value = value.combine_chunks()
        if isinstance(value, pa.ChunkedArray):
            value = pa.concat_arrays(value.chunks) if value.num_chunks else pa.array([], value.type)
    parts = [length(len(value)), *arrays.content(builder, _bools(value.is_null()), path)]
    present = value.drop_null()
    if kinds.is_dictionary(present.type):
        present = present.dictionary_decode()
    kind = present.type
    if kinds.is_integer(kind) or kinds.is_floating(kind):
        return [*parts, *arrays.content(builder, present.to_numpy(zero_copy_only=False), path)]
    if kinds.is_boolean(kind):
        return [*parts, *arrays.content(builder, _bools(present), path)]
    if kinds.is_string(kind) or kinds.is_binary(kind) or kinds.is_large_string(kind):
        return [*parts, *_texts(builder, present, path)]
    return [*parts, builder.part(present.to_pylist(), path)]


def _bools(value: Any) -> Any:
    return value.to_numpy(zero_copy_only=False)


def _texts(builder: Builder, present: Any, path: str) -> list[Part]:
    import pyarrow as pa
    import pyarrow.compute as pc

    sizes = pc.binary_length(present).cast(pa.int64())
    whole = present.cast(pa.large_binary())
    joined = pa.concat_arrays([whole])
    offsets = memoryview(joined.buffers()[1]).cast("B").cast("q")
    first, last = offsets[joined.offset], offsets[joined.offset + len(joined)]
    memory = joined.buffers()[2]
    data = b"" if memory is None else bytes(memoryview(memory)[first:last])
    numbers = arrays.content(builder, sizes.to_numpy(zero_copy_only=False), path)
    return [*numbers, raw_bytes(data)]


def _schema(builder: Builder, value: Any, node: Node) -> list[Part]:
    return [tag("schema") + text(value.to_string(show_field_metadata=True))]


def _scalar(builder: Builder, value: Any, node: Node) -> list[Part]:
    return [tag("arrow scalar") + text(str(value.type)), builder.part(value.as_py(), node.path)]


def _polars(builder: Builder, value: Any, node: Node) -> list[Part]:
    name = getattr(value, "name", None)
    kind = str(getattr(value, "dtype", "frame"))
    return [tag("polars") + text(kind) + text(str(name)), builder.part(value.to_arrow(), node.path)]


WHOLE: Final = True
TREATMENTS: Final[dict[str, Any]] = {
    "pyarrow.lib.Table": _table,
    "pyarrow.lib.RecordBatch": _table,
    "pyarrow.lib.Array": _array,
    "pyarrow.lib.ChunkedArray": _array,
    "pyarrow.lib.Schema": _schema,
    "pyarrow.lib.DataType": lambda b, v, n: [tag("arrow type") + text(str(v))],
    "pyarrow.lib.Scalar": _scalar,
    "polars.dataframe.frame.DataFrame": _polars,
    "polars.series.series.Series": _polars,
}
