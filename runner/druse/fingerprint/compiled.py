"""Whether a source is what is loaded.

A file may have been edited since it was imported, and what runs is the old code: then its text says
nothing about it. A file that is older than the process cannot have been, unless the interpreter
took an outdated compiled file for it: it compares times in whole seconds. In any other case what
the text compiles to is compared with what is loaded.
"""

from __future__ import annotations

import importlib.util
import os
import time
from pathlib import Path
from types import CodeType
from typing import Final

_MARGIN_NS: Final = 2_000_000_000
_GRAIN_NS: Final = 50_000_000  # clocks of file systems lag a little
_ANCESTORS: Final = 8
_PARENT, _STARTED, _STACK = 1, 19, 25  # places in /proc/<pid>/stat, behind the program's name


def codes(file: str, text: bytes) -> frozenset[CodeType]:
    """All code objects that a source compiles to; none where it does not compile."""
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


def unchanged_since_start(file: str) -> bool:
    """Whether a file is as it was when this process began, before it can have been imported."""
    try:
        stat = Path(file).stat()
    except OSError:
        return False
    return max(stat.st_mtime_ns, stat.st_ctime_ns) + _GRAIN_NS < _BEGAN_NS


def outdated_compilation(file: str) -> bool:
    """Whether a compiled file may pass for the source's without being of its content."""
    try:
        source = Path(file).stat()
        compiled = Path(importlib.util.cache_from_source(file)).stat()
    except (OSError, NotImplementedError, ValueError):
        return False
    changed = max(source.st_mtime_ns, source.st_ctime_ns)
    return compiled.st_mtime_ns < changed + _MARGIN_NS


def _began() -> int:
    """When this process began, or the first of those that it was forked from.

    A child may have been forked after its parent imported what it runs; a program that was started
    anew has imported all by itself. 0 where the system does not say: then nothing is older.
    """
    pid, began, stack = "self", 0, b""
    try:
        exe = Path("/proc/self/exe").readlink()
        for _ in range(_ANCESTORS):
            if Path(f"/proc/{pid}/exe").readlink() != exe:
                break
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            # Where the stack begins is drawn when a program is started: a fork leaves it as it is.
            if stack not in (b"", fields[_STACK]):
                break
            stack, pid = fields[_STACK], str(int(fields[_PARENT]))
            ticks = int(fields[_STARTED]) / os.sysconf("SC_CLK_TCK")
            since = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks
            began = time.time_ns() - int(since * 1e9)
    except (OSError, ValueError, IndexError, AttributeError):
        pass
    return began


_BEGAN_NS: Final = _began()
