"""What a source compiles to, to be compared with what is loaded.

A compiled file beside the source is used only where it was written well after the source last
changed: the interpreter itself compares times in whole seconds.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import time
from pathlib import Path
from types import CodeType
from typing import Final

_MARGIN_NS: Final = 2_000_000_000
_HEADER: Final = 16


def codes(file: str, text: bytes, on_disk: bool) -> frozenset[CodeType]:
    """All code objects in a source; none where it does not compile."""
    code = _cached(file, len(text)) if on_disk else None
    if code is None:
        try:
            code = compile(text, file, "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            return frozenset()
    found: set[CodeType] = set()
    todo = [code]
    while todo:
        each = todo.pop()
        if each not in found:
            found.add(each)
            todo += [const for const in each.co_consts if isinstance(const, CodeType)]
    return frozenset(found)


def _cached(file: str, size: int) -> CodeType | None:
    try:
        path = Path(importlib.util.cache_from_source(file))
        with path.open("rb") as stream:
            raw = stream.read()
            written = os.fstat(stream.fileno()).st_mtime_ns
        source = Path(file).stat()
        if written < max(source.st_mtime_ns, source.st_ctime_ns) + _MARGIN_NS:
            return None
        if raw[:_HEADER] != _header(int(source.st_mtime), size):
            return None
        code = marshal.loads(raw[_HEADER:])  # noqa: S302 - what `import` itself would load
    except (OSError, ValueError, EOFError, TypeError, NotImplementedError):
        return None
    return code if isinstance(code, CodeType) else None


def _header(mtime: int, size: int) -> bytes:
    numbers = (0, mtime & 0xFFFFFFFF, size & 0xFFFFFFFF)
    return importlib.util.MAGIC_NUMBER + b"".join(n.to_bytes(4, "little") for n in numbers)


def unchanged_since_start(file: str) -> bool:
    """Whether a file is as it was when this process began, before it can have been imported."""
    try:
        stat = Path(file).stat()
    except OSError:
        return False
    return max(stat.st_mtime_ns, stat.st_ctime_ns) + _MARGIN_NS // 20 < _BEGAN_NS


def _began() -> int:
    """When this process began; the time of this import where the system does not say."""
    try:
        fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        ticks = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        since = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks
        return time.time_ns() - int(since * 1e9)
    except (OSError, ValueError, IndexError, AttributeError):
        return 0


_BEGAN_NS: Final = _began()
