"""Functions of packages that open files where Python raises no event: what they are given is told.

They are wrapped where their module is imported, or has been: a call raises the event that `open`
would, for each file that is going to be read or written, and then does what it always did.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any, Final

_READERS: Final = {
    "pandas": ("read_hdf", "read_orc", "read_parquet"),
    "polars": (
        *("read_avro", "read_csv", "read_csv_batched", "read_excel", "read_ipc"),
        *("read_ipc_schema", "read_ipc_stream", "read_json", "read_lines", "read_ndjson"),
        *("read_ods", "read_parquet", "read_parquet_metadata", "read_parquet_schema"),
        *("scan_csv", "scan_ipc", "scan_lines", "scan_ndjson", "scan_parquet"),
    ),
    "pyarrow.csv": ("open_csv", "read_csv"),
    "pyarrow.dataset": ("dataset", "parquet_dataset"),
    "pyarrow.feather": ("read_feather", "read_table"),
    "pyarrow.json": ("open_json", "read_json"),
    "pyarrow.orc": ("ORCFile", "read_table"),
    "pyarrow.parquet": (
        *("ParquetDataset", "ParquetFile"),
        *("read_metadata", "read_pandas", "read_schema", "read_table"),
    ),
}
_WRITERS: Final = {  # whose files are no inputs of who reads them again
    "pandas": ("DataFrame.to_hdf", "DataFrame.to_orc", "DataFrame.to_parquet"),
    "polars": (
        *("DataFrame.write_avro", "DataFrame.write_csv", "DataFrame.write_excel"),
        *("DataFrame.write_ipc", "DataFrame.write_ipc_stream", "DataFrame.write_json"),
        *("DataFrame.write_ndjson", "DataFrame.write_parquet", "LazyFrame.sink_csv"),
        *("LazyFrame.sink_ipc", "LazyFrame.sink_ndjson", "LazyFrame.sink_parquet"),
    ),
    "pyarrow.csv": ("write_csv",),
    "pyarrow.dataset": ("write_dataset",),
    "pyarrow.feather": ("write_feather",),
    "pyarrow.orc": ("ORCWriter", "write_table"),
    "pyarrow.parquet": ("ParquetWriter", "write_table", "write_to_dataset"),
}
MODULES: Final = frozenset(_READERS)
_PATHS: Final = (  # what they call it
    *("source", "path", "path_or_buf", "path_or_paths", "where", "input_file", "metadata_path"),
    *("file", "workbook", "output_file", "sink", "dest", "base_dir", "root_path"),
)
_MARK: Final = "__druse_tells__"
_seen: set[str] = set()


def wrap_loaded() -> None:
    """Wraps the readers and writers of what is imported already."""
    for name in MODULES & sys.modules.keys():
        wrap(sys.modules[name])
    _replace_others()


def wrap(module: ModuleType) -> None:
    """Wraps the readers and writers of a module that has just been executed."""
    for name in _READERS[module.__name__]:
        function = vars(module).get(name)
        if function is not None:
            _wrap(module, name, _told_of_reading)
            _seen.update(f"{home}.{name}" for home in (module.__name__, function.__module__))
    for name in _WRITERS.get(module.__name__, ()):
        owner, _, method = name.rpartition(".")
        held = getattr(module, owner, None) if owner else module
        if method in getattr(held, "__dict__", {}):
            _wrap(held, method, _told_of_writing)


def is_wrapped(function: Any) -> bool:
    return _MARK in getattr(function, "__dict__", {})


def are_seen(dotted: str) -> bool:
    """Whether the files that a function of a package opens are told of, once it is imported."""
    module, _, name = dotted.rpartition(".")
    return dotted in _seen or (module not in sys.modules and name in _READERS.get(module, ()))


def _wrap(owner: Any, name: str, told_of: Callable[[Any, int], Any]) -> None:
    function = vars(owner)[name]
    place = int(told_of is _told_of_writing)  # behind what is written
    if isinstance(function, type):
        owner, name, place, function = function, "__init__", 1, vars(function)["__init__"]
    if is_wrapped(function):
        return
    wrapper = told_of(function, place)
    setattr(wrapper, _MARK, True)
    if isinstance(owner, type):
        setattr(owner, name, wrapper)
    else:
        _replace(name, function, wrapper)


def _replace(name: str, function: Any, wrapper: Any) -> None:
    """Wherever it was imported to under its own name."""
    for module in list(sys.modules.values()):
        held = getattr(module, "__dict__", None)
        if type(held) is dict and held.get(name) is function:
            held[name] = wrapper


def _replace_others() -> None:
    """Wherever one was imported to under another name, before it was wrapped."""
    wrappers = {}
    for home in MODULES & sys.modules.keys():
        for each in vars(sys.modules[home]).values():
            if is_wrapped(each):
                wrappers[id(each.__wrapped__)] = each
    for module in list(sys.modules.values()) if wrappers else ():
        held = getattr(module, "__dict__", None)
        if type(held) is dict:
            found = [name for name, each in list(held.items()) if id(each) in wrappers]
            held.update({name: wrappers[id(held[name])] for name in found})


def _told_of_reading(reader: Callable[..., Any], place: int) -> Callable[..., Any]:
    @wraps(reader)
    def read(*args: Any, **kwargs: Any) -> Any:
        base = _base(kwargs.get("filesystem"))
        for path in _files(_given(args, kwargs, place), base):
            sys.audit("open", path, "rb", 0)
        return reader(*args, **kwargs)

    return read


def _told_of_writing(writer: Callable[..., Any], place: int) -> Callable[..., Any]:
    @wraps(writer)
    def write(*args: Any, **kwargs: Any) -> Any:
        given = _given(args, kwargs, place)
        if not isinstance(given, str | os.PathLike):
            return writer(*args, **kwargs)
        path = os.path.expanduser(_local(os.fspath(given)))
        sys.audit("open", path, "wb", 0)
        result = writer(*args, **kwargs)
        if os.path.isdir(path):  # the files in it are known only now
            for written in _unseen(path):
                sys.audit("open", written, "wb", 0)
        return result

    return write


def _unseen(folder: str) -> list[str]:
    """The files below a folder, without that counting as looking into it."""
    from druse.watch import unwatched

    with unwatched():
        return list(_below(folder))


def _given(args: tuple[Any, ...], kwargs: dict[str, Any], place: int) -> Any:
    if len(args) > place:
        return args[place]
    return next((kwargs[name] for name in _PATHS if name in kwargs), None)


def _base(filesystem: Any) -> str:
    """The folder that paths are below in a file system of pyarrow's; "" where it is as ever."""
    outer = getattr(filesystem, "base_fs", None)
    return "" if outer is None else str(Path(_base(outer), filesystem.base_path))


def _files(given: Any, base: str = "") -> Iterator[str]:
    """The files that an argument means: paths, folders, patterns, and lists of these."""
    if isinstance(given, list | tuple | set):
        for each in given:
            yield from _files(each, base)
    elif isinstance(given, str | os.PathLike):
        path = os.fspath(given)
        if isinstance(path, str):
            path = _local(path)
            if "://" not in path:
                below = os.path.join(base, path.lstrip("/")) if base else path
                yield from _below(os.path.expanduser(below))


def _local(path: str) -> str:
    """The path that a `file:` URL means, where not all write spaces as URLs do."""
    if not path.startswith("file:/") or os.path.exists(path):
        return path
    from urllib.parse import unquote

    host, slash, rest = path.removeprefix("file:").removeprefix("//").partition("/")
    written = slash + rest if host in ("", "localhost") else path
    return written if os.path.exists(written) else unquote(written)


def _below(path: str) -> Iterator[str]:
    if os.path.isdir(path):
        for folder, _, names in os.walk(path):
            yield from (str(Path(folder, name)) for name in names)
    elif not os.path.exists(path) and glob.has_magic(path):
        for found in glob.glob(path, recursive=True):
            yield from _below(found)
    else:
        yield path
