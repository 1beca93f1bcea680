from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from druse import viewfiles
from druse.viewfiles import NewFolder, in_groups, side_by_side


def test_what_lies_in_one_folder_at_the_top_is_in_one_group() -> None:
    folders = [f"{top}/{name}" for name in "ab" for top in range(300)]
    groups = in_groups(folders, lambda each: each)
    assert sorted(each for group in groups for each in group) == sorted(folders)
    tops = [{each.partition("/")[0] for each in group} for group in groups]
    assert sum(map(len, tops)) == 300
    assert len(groups) == 6
    assert in_groups([], str) == [[]]


def test_as_long_as_the_filesystem_is_fast_one_thread_writes() -> None:
    seen: set[str] = set()

    def work(group: list[int]) -> int:
        seen.add(threading.current_thread().name)
        return sum(group)

    assert list(side_by_side(work, [[1, 2], [3], [4]])) == [3, 3, 4]
    assert seen == {threading.current_thread().name}


def test_where_it_takes_long_several_do_and_the_order_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(viewfiles, "processors", lambda: 4)
    meeting = threading.Barrier(2, timeout=30)

    def work(group: list[int]) -> int:
        time.sleep(0.001)
        if group[0] in (1, 2):
            meeting.wait()  # two work at once, or this fails
        return group[0]

    assert list(side_by_side(work, [[place] for place in range(6)])) == list(range(6))


def test_an_error_in_a_thread_is_raised_and_ends_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(viewfiles, "processors", lambda: 2)
    began = []

    def work(group: list[int]) -> None:
        began.append(group[0])
        time.sleep(0.001)
        if group[0] == 2:
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        list(side_by_side(work, [[place] for place in range(500)]))
    assert len(began) < 500


def test_folders_are_made_once_whoever_needs_them(tmp_path: Path) -> None:
    first = NewFolder(str(tmp_path))
    first.make("a/b")
    again = first.again()
    again.make("a/b")
    again.make("a/c")
    again.write("a/c/file", b"x")
    assert (tmp_path / "a/c/file").read_bytes() == b"x"
