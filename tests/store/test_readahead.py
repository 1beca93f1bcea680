"""Reading the index ahead of a scan."""

import subprocess

from druse_store import Store
from druse_store.index import readahead


def started(monkeypatch):
    begun = []
    start = subprocess.Popen

    def begin(command, **options):
        begun.append(start(command, **options))
        return begun[-1]

    monkeypatch.setattr(readahead.subprocess, "Popen", begin)
    return begun


def test_a_large_index_is_read_beside_the_plan_and_nothing_is_left_running(tmp_path, monkeypatch):
    begun = started(monkeypatch)
    monkeypatch.setattr(readahead, "_WORTH", 1)
    with Store.open(tmp_path / "store") as store:
        store.put(b"garbage")
        assert store.plan_gc(grace=0).marked.chunks.fresh
    assert len(begun) == 1
    assert begun[0].returncode is not None


def test_the_reader_reads_the_whole_file(tmp_path, monkeypatch):
    begun = started(monkeypatch)
    monkeypatch.setattr(readahead, "_WORTH", 1)
    (tmp_path / "data.mdb").write_bytes(bytes(5 << 20))
    with readahead.ahead(tmp_path):
        assert begun[0].wait(20) == 0


def test_a_small_index_is_not_worth_a_process(tmp_path, monkeypatch):
    begun = started(monkeypatch)
    with Store.open(tmp_path / "store") as store:
        store.put(b"garbage")
        store.plan_gc(grace=0)
    assert begun == []


def test_where_no_interpreter_can_be_started_it_is_not_read_ahead(tmp_path, monkeypatch):
    """In a program that has Python in it."""
    monkeypatch.setattr(readahead, "_WORTH", 1)
    monkeypatch.setattr(readahead.sys, "executable", "")
    with Store.open(tmp_path / "store") as store:
        store.put(b"garbage")
        assert store.plan_gc(grace=0).marked.chunks.fresh
