"""pandas: content, column names, dtypes, index and its names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from druse.fingerprint import arrays
from druse.fingerprint.encoding import length, tag, text

if TYPE_CHECKING:
    from druse.fingerprint.builder import Builder
    from druse.fingerprint.graph import Node, Part


def _frame(builder: Builder, value: Any, node: Node) -> list[Part]:
    parts: list[Part] = [tag("frame"), *_notes(builder, value, node)]
    parts += [_part(builder, value.columns, node, ".columns")]
    parts += [_part(builder, value.index, node, ".index"), length(value.shape[1])]
    for place in range(value.shape[1]):
        path = f"{node.path}[{value.columns[place]!r}]"
        parts += column(builder, value.iloc[:, place].array, path)
    return parts


def _series(builder: Builder, value: Any, node: Node) -> list[Part]:
    return [
        tag("series"),
        *_notes(builder, value, node),
        builder.part(value.name, f"{node.path}.name"),
        _part(builder, value.index, node, ".index"),
        *column(builder, value.array, node.path),
    ]


def _notes(builder: Builder, value: Any, node: Node) -> list[Part]:
    """Notes, and what a subclass of another package or the user's adds."""
    parts = [builder.part(value.attrs, f"{node.path}.attrs")] if value.attrs else []
    return [*parts, *_of_subclass(builder, value, node)]


def _of_subclass(builder: Builder, value: Any, node: Node) -> list[Part]:
    cls = type(value)
    if cls.__module__.partition(".")[0] == "pandas":
        return []
    added = {name: getattr(value, name, None) for name in getattr(cls, "_metadata", ())}
    return [tag("subclass"), builder.part(cls, node.path), builder.part(added, node.path)]


def _part(builder: Builder, value: Any, node: Node, name: str) -> Part:
    return builder.part(value, node.path + name)


def _index(builder: Builder, value: Any, node: Node) -> list[Part]:
    """An index of a range equals one of the same numbers: both are told by the numbers."""
    names = builder.part(list(value.names), f"{node.path}.names")
    levels = [value.get_level_values(n) for n in range(value.nlevels)]
    parts: list[Part] = [tag("index"), *_of_subclass(builder, value, node), names]
    for level in levels:
        parts += column(builder, level.array, node.path)
    return parts


def column(builder: Builder, array: Any, path: str) -> list[Part]:
    """The dtype and the values of one column."""
    import pandas as pd

    head = tag("column") + text(str(array.dtype))
    if isinstance(array, pd.Categorical):
        parts = column(builder, array.categories.array, path)
        ordered = builder.part(bool(array.ordered), path)
        return [head, ordered, *parts, *arrays.content(builder, array.codes.astype("i4"), path)]
    if isinstance(array, pd.arrays.IntervalArray):
        ends = (array.left.array, array.right.array)
        return [head, *(part for end in ends for part in column(builder, end, path))]
    plain = _as_numpy(array)
    if plain is not None:
        return [head, *arrays.content(builder, plain, path)]
    return [head, *_nullable(builder, array, path)]


def _as_numpy(array: Any) -> Any:
    """What tells the whole of it; None where values may be missing apart from it."""
    import numpy as np
    import pandas as pd

    if isinstance(array, pd.arrays.SparseArray):
        return array.to_dense()
    if isinstance(array.dtype, pd.DatetimeTZDtype | pd.PeriodDtype):
        return array.asi8
    if isinstance(array, pd.arrays.NumpyExtensionArray) or isinstance(array.dtype, np.dtype):
        return array.to_numpy()
    return None


def _nullable(builder: Builder, array: Any, path: str) -> list[Part]:
    """Which values are missing, then the others: what lies below a missing one is arbitrary."""
    import numpy as np

    missing = np.asarray(array.isna())
    parts = arrays.content(builder, missing, path)
    present = array[~missing]
    numbers = getattr(array.dtype, "numpy_dtype", None)
    if isinstance(numbers, np.dtype) and numbers.kind in "iufb":
        return [*parts, *arrays.content(builder, present.to_numpy(dtype=numbers), path)]
    return [*parts, builder.part(list(present), path)]


def _scalar(builder: Builder, value: Any, node: Node) -> list[Part]:
    zone = builder.part(getattr(value, "tzinfo", None), node.path)
    return [tag(type(value).__name__) + text(f"{value.value} {value.unit}"), zone]


def _dtype(builder: Builder, value: Any, node: Node) -> list[Part]:
    parts: list[Part] = [tag("dtype") + text(str(value))]
    if hasattr(value, "categories"):
        parts.append(builder.part(value.categories, node.path))
    return parts


def _extension(builder: Builder, value: Any, node: Node) -> list[Part]:
    return [*_of_subclass(builder, value, node), *column(builder, value, node.path)]


WHOLE: Final = True
TREATMENTS: Final[dict[str, Any]] = {
    f"pandas{home}.{name}": treatment
    for name, homes, treatment in (
        ("DataFrame", ("", ".core.frame"), _frame),
        ("Series", ("", ".core.series"), _series),
        ("Index", ("", ".core.indexes.base"), _index),
        ("Timestamp", ("", "._libs.tslibs.timestamps"), _scalar),
        ("Timedelta", ("", "._libs.tslibs.timedeltas"), _scalar),
        ("ExtensionDtype", (".api.extensions", ".core.dtypes.base"), _dtype),
        ("ExtensionArray", (".api.extensions", ".core.arrays.base"), _extension),
    )
    for home in homes
}
