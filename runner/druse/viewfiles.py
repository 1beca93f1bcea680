"""The files of a view while it is built: each folder is made once, each file written at once."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any, TypeVar

from druse.executors.spec import processors

_THREADS = 4  # at most
_MANY = 100  # files that are worth a thread
_SLOW = 250e-6  # seconds for a small file, with its folders

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def in_groups(items: Sequence[Item], folder: Callable[[Item], str]) -> list[list[Item]]:
    """Groups of some size; what lies in one folder at the top lies in one group.

    So that no two threads make the same folder.
    """
    groups: list[list[Item]] = [[]]

    def top(item: Item) -> str:
        return folder(item).partition("/")[0]

    for _, same in groupby(sorted(items, key=top), top):
        if len(groups[-1]) >= _MANY:
            groups.append([])
        groups[-1] += same
    return groups


def side_by_side(
    work: Callable[[list[Item]], Answer], groups: Sequence[list[Item]]
) -> Iterator[Answer]:
    """What the groups give, in their order: by threads, once it shows that they would wait less.

    They would for a filesystem that takes long; else they would wait for the interpreter.
    """
    count = min(processors(), _THREADS)
    left = deque(groups)
    is_slow = False
    while left and not (is_slow and count > 1 and len(left) > 1):
        group = left.popleft()
        began = time.perf_counter()
        answer = work(group)
        is_slow = time.perf_counter() - began > _SLOW * len(group)
        yield answer
    if left:
        threads = ThreadPoolExecutor(count, "druse-view")
        try:
            yield from threads.map(work, left)
        finally:
            threads.shutdown(cancel_futures=True)


class NewFolder:
    """A new folder while it is filled: each folder below is made once, each file written at once.

    Plain functions of `os`: there are as many files as cells, and a path object for each would
    take longer than its file.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        self._made = {""}
        self._made_before: set[str] = set()

    def again(self) -> NewFolder:
        """The same one, for another thread, which makes folders that no other one makes."""
        other = NewFolder(self._base)
        other._made_before = self._made
        return other

    def path(self, name: str) -> str:
        return f"{self._base}/{name}"

    def make(self, folder: str) -> None:
        if folder not in self._made and folder not in self._made_before:
            self.make(folder.rpartition("/")[0])
            os.mkdir(self.path(folder))  # noqa: PTH102
            self._made.add(folder)

    def write(self, name: str, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(self.path(name), flags, 0o666)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(file, rest) :]
        finally:
            os.close(file)

    def write_json(self, name: str, value: Any) -> None:
        self.write(name, to_json(value))


def to_json(value: Any) -> bytes:
    """As it stands in the files of a view."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
