"""numpy: dtype, shape and the elements in C order, whatever their layout in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from blake3 import blake3

from druse.fingerprint.builder import Refused
from druse.fingerprint.encoding import integer, length, tag, text
from druse.fingerprint.externals import constant_of_a_package

if TYPE_CHECKING:
    from druse.fingerprint.builder import Builder
    from druse.fingerprint.graph import Node, Part

_BLOCK: Final = 1 << 20  # elements; a block is looked through for NaN while it is in the cache


def _array(builder: Builder, value: Any, node: Node) -> list[Part]:
    return [tag("array"), *content(builder, value, node.path)]


def content(builder: Builder, array: Any, path: str) -> list[Part]:
    """dtype, shape and elements."""
    import numpy as np

    array = np.asarray(array)
    head = text(_dtype_name(array.dtype)) + b"".join(map(integer, (array.ndim, *array.shape)))
    if array.dtype.names is not None:
        return [head, *_fields(builder, array, path)]
    if array.dtype.kind in "OT":  # objects, and numpy's strings of any length
        items = [
            builder.part(item, f"{path}[{n}]") for n, item in enumerate(array.ravel().tolist())
        ]
        return [head, length(len(items)), *items]
    return [head, memory_digest(array)]


def _dtype_name(dtype: Any) -> str:
    if dtype.kind == "T":
        return "StringDType"
    return str(dtype.descr) if dtype.names is not None else str(dtype.str)


def _fields(builder: Builder, array: Any, path: str) -> list[Part]:
    """Field by field: the bytes between fields are whatever memory held before."""
    parts: list[Part] = []
    for name in array.dtype.names:
        parts += [text(name), *content(builder, array[name], f"{path}[{name!r}]")]
    return parts


def memory_digest(array: Any) -> bytes:
    """The digest of the elements of an array without objects; every NaN is one NaN."""
    import numpy as np

    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.dtype in (np.longdouble, np.clongdouble):
        return _long_doubles(flat)
    if flat.dtype.kind not in "fc":
        return blake3(_bytes(flat), max_threads=blake3.AUTO).digest()
    real = flat.view(flat.real.dtype)
    hasher = blake3(max_threads=blake3.AUTO)
    for start in range(0, real.size, _BLOCK):
        block = real[start : start + _BLOCK]
        missing = np.isnan(block)
        if missing.any():
            block = block.copy()
            block[missing] = np.nan
        hasher.update(_bytes(block))
    return hasher.digest()


def _bytes(flat: Any) -> memoryview:
    """Its memory. Dates and the like give none away under their own dtype."""
    import numpy as np

    return memoryview(flat.view(np.uint8))


def _long_doubles(flat: Any) -> bytes:
    """By value: their last bytes in memory are padding."""
    import numpy as np

    parts = flat.view(np.longdouble)
    written = "\0".join("nan" if np.isnan(value) else repr(value) for value in parts)
    return blake3(written.encode()).digest()


def _scalar(builder: Builder, value: Any, node: Node) -> list[Part]:
    import numpy as np

    array = np.asarray(value)
    if array.dtype.hasobject:
        return [tag("scalar"), builder.part(value.item(), node.path)]
    return [tag("scalar"), *content(builder, array, node.path)]


def _masked(builder: Builder, value: Any, node: Node) -> list[Part]:
    import numpy as np

    mask = np.ma.getmaskarray(value)
    return [
        tag("masked"),
        *content(builder, mask, node.path),
        *content(builder, value.filled(), node.path),
        builder.part(value.fill_value, f"{node.path}.fill_value"),
    ]


def _dtype(builder: Builder, value: Any, node: Node) -> list[Part]:
    return [tag("dtype") + text(_dtype_name(value))]


def _ufunc(builder: Builder, value: Any, node: Node) -> list[Part]:
    known = constant_of_a_package(value)
    if known is not None:
        return builder.external(known.dotted, known.origin)
    if value.types == [f"{'O' * value.nin}->{'O' * value.nout}"]:  # by frompyfunc
        raise Refused("numpy ufunc of a Python function")
    return [tag("ufunc") + text(value.__name__) + integer(value.nin) + integer(value.nout)]


def _sparse(builder: Builder, value: Any, node: Node) -> list[Part]:
    import numpy as np

    parts: list[Part] = [tag("sparse"), builder.part(type(value), node.path)]
    parts.append(builder.part(tuple(map(int, value.shape)), node.path))
    rows = value.tocoo()
    rows.sum_duplicates()
    for array in (*rows.coords, rows.data):
        parts += content(builder, np.asarray(array), node.path)
    return parts


TREATMENTS: Final[dict[str, Any]] = {
    "numpy.ndarray": _array,
    "numpy.memmap": _array,
    "numpy.generic": _scalar,
    "numpy.ma.MaskedArray": _masked,
    "numpy.ma.core.MaskedArray": _masked,
    "numpy.dtype": _dtype,
    "numpy.ufunc": _ufunc,
    "scipy.sparse._base._spbase": _sparse,
}
