"""What processes read that a step forks, and what no key sees, which is noted."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

import pytest

from druse import forked
from druse.places import Files
from support.forked import Forked
from support.oneexp import Exp

HOW = {
    "a pool": "with mp.Pool(2) as pool:\n    rows = pool.map(read, ['a.txt', 'b.txt'])",
    "processes": (
        "queue = mp.SimpleQueue()\n"
        "names = ['a.txt', 'b.txt']\n"
        "workers = [mp.Process(target=lambda n=n: queue.put(read(n))) for n in names]\n"
        "for each in workers:\n    each.start()\n"
        "rows = [queue.get() for _ in workers]\n"
        "for each in workers:\n    each.join()"
    ),
    "an executor": (
        "from concurrent.futures import ProcessPoolExecutor\n"
        "with ProcessPoolExecutor(2) as pool:\n"
        "    rows = list(pool.map(read, ['a.txt', 'b.txt']))"
    ),
}
BEFORE = """
import multiprocessing
mp = multiprocessing.get_context("fork")

def read(name):
    return int(open(name).read())
"""


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("flags", ["", "cacheable=True"])
def test_the_files_that_forked_processes_read_count(exp: Exp, how: str, flags: str) -> None:
    exp["a.txt"], exp["b.txt"] = "1", "1"
    exp.step(f"{HOW[how]}\nreturn data, {{'value': sum(rows)}}", BEFORE, flags=flags)
    assert exp.value() == 2
    assert exp.hits()
    for number, name in enumerate(("a.txt", "b.txt")):
        exp[name] = "2"
        assert exp.value() == 3 + number
        assert exp.hits()


@pytest.mark.parametrize("flags", ["", "cacheable=True"])
def test_what_forked_processes_read_of_the_context_counts(exp: Exp, flags: str) -> None:
    body = """
    queue = mp.SimpleQueue()
    worker = mp.Process(target=lambda: queue.put(ctx.get("by", 1) * 10))
    worker.start()
    value = queue.get()
    worker.join()
    return data, {"value": value}
    """
    exp.step(body, BEFORE, flags=flags, treatments="{t: {by: 2, unread: 1}}")
    for arguments in ((), ("--strategy", "rerun")):
        found = exp.run_one(*arguments)["metrics"]
        assert (found["baseline"]["value"], found["t"]["value"]) == ([10], [20])
    exp.config(treatments="{t: {by: 2, unread: 2}}")
    assert exp.hits()
    exp.config(treatments="{t: {by: 3, unread: 2}}")
    assert exp.value("t") == 30


def test_what_processes_read_that_are_kept_counts_for_every_later_cell(exp: Exp) -> None:
    exp["a.txt"] = "1"
    kept = "_pool = None\ndef pool():\n    global _pool\n    _pool = _pool or mp.Pool(1)\n"
    exp.step(
        "return data, {'value': pool().apply(read, ['a.txt'])}",
        f"{BEFORE}\n{kept}    return _pool",
        replicates="3",
    )
    assert exp.run_one()["metrics"]["baseline"]["value"] == [1, 1, 1]
    assert exp.hits()
    exp["a.txt"] = "2"
    assert exp.run_one()["metrics"]["baseline"]["value"] == [2, 2, 2]


def test_cells_in_threads_each_get_all_that_processes_of_earlier_cells_told() -> None:
    running = [_forked_one(number) for number in range(4)]
    for each, _ in running:
        assert forked.told_by(each, at_end=True)
    errors: list[BaseException] = []
    ready = threading.Barrier(6)

    def end_cells() -> None:
        try:
            ready.wait()
            for _ in range(100):
                assert sorted(forked.told_by(None, at_end=True)) == [[n] * 200 for n in range(4)]
        except BaseException as error:
            errors.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=end_cells) for _ in range(6)]
    try:
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    finally:
        sys.setswitchinterval(before)
        for _, end in running:
            os.close(end)
        for _ in running:
            os.wait()
        assert sorted(forked.told_by(None, at_end=True)) == [[n] * 200 for n in range(4)]
    assert errors == []
    assert not forked.may_be_told()


def _forked_one(number: int) -> tuple[forked.Forked, int]:
    """What a process that was forked tells, and what is closed for it to end."""
    one = forked.Forked(os.getpid())
    one.prepare()
    reading, writing = os.pipe()
    has_told, telling = os.pipe()
    if os.fork() == 0:
        os.close(writing)
        one.tell([number] * 200)
        os.write(telling, b".")
        os.read(reading, 1)
        os._exit(0)
    os.read(has_told, 1)
    for each in (reading, has_told, telling):
        os.close(each)
    return one, writing


def test_what_one_forked_process_writes_and_another_reads_is_no_input(exp: Exp) -> None:
    body = """
    def write():
        open("made.txt", "w").write("5")
    first = mp.Process(target=write)
    first.start()
    first.join()
    with mp.Pool(1) as pool:
        return data, {"value": pool.apply(read, ["made.txt"])}
    """
    exp.step(body, BEFORE)
    assert exp.value() == 5
    assert exp.hits()
    (exp.root / "made.txt").unlink()
    assert exp.hits()


def test_a_class_that_a_forked_process_unpickles_counts(exp: Exp) -> None:
    exp["models.py"] = "class Model:\n    def predict(self):\n        return 1\n"
    exp.python("import models, pickle\npickle.dump(models.Model(), open('m.pkl', 'wb'))")
    use = "\nimport pickle\ndef use(name):\n    return pickle.load(open(name, 'rb')).predict()\n"
    exp.step(
        "with mp.Pool(1) as pool:\n    return data, {'value': pool.apply(use, ['m.pkl'])}",
        BEFORE + use,
    )
    assert exp.value() == 1
    assert exp.hits()
    exp.replace("models.py", "return 1", "return 2")
    assert exp.value() == 2


def test_a_step_whose_input_changed_while_it_ran_is_not_kept(exp: Exp) -> None:
    exp["x.txt"] = "1"
    body = """
    import os
    value = int(open("x.txt").read())
    if not os.path.exists("once"):
        os.mkdir("once")
        os.system("echo 7 > x.txt")
    return data, {"value": value}
    """
    exp.step(body, flags="cacheable=True")
    assert exp.value() == 1
    exp["x.txt"] = "1"
    assert exp.misses()
    assert exp.hits()


# --- what no key sees ------------------------------------------------------------------------

USES = {
    "ran the program": "import subprocess\nsubprocess.run(['true'])",
    "ran the program exit": "import os\nos.system('exit 0')",
    "opened the database here.db": "import sqlite3\nsqlite3.connect('here.db').close()",
    "connected to 127.0.0.1:9": (
        "import socket\nwith socket.socket() as s:\n    s.connect_ex(('127.0.0.1', 9))"
    ),
    "started a Python process": (
        "import multiprocessing, time\n"
        "made = multiprocessing.get_context('spawn').Process(target=time.time)\n"
        "made.start()\nmade.join()"
    ),
    "read from pipe, which is no file": (
        "import os\nos.mkfifo('pipe')\nos.system('echo x > pipe &')\n"
        "assert open('pipe').read() == 'x\\n'\nos.unlink('pipe')"
    ),
    "opened x.txt, perhaps within a folder": (
        "import os\nfd = os.open('inner', os.O_RDONLY)\n"
        "os.close(os.open('x.txt', os.O_RDONLY, dir_fd=fd))"
    ),
}


@pytest.mark.parametrize("what", USES)
def test_what_no_key_sees_is_noted_and_shown(exp: Exp, what: str) -> None:
    exp["inner/x.txt"] = "1"
    exp.step(f"{USES[what]}\nreturn data, {{'value': 1}}", replicates="2")
    assert exp.misses()
    assert f"2 cells: StepStep {what}" in exp.druse("show", "exp").out
    shown = exp.druse("explain", "exp", "--coverage").out
    assert f"not seen when it ran: it {what}" in shown
    parts = json.loads(exp.druse("explain", "exp", "--coverage", "--json").out)["parts"]
    assert any(what in text for part in parts for text in part["unseen"] if part["part"] == "step")


def test_what_a_cacheable_step_used_unseen_is_noted_where_its_result_is_taken(exp: Exp) -> None:
    exp.steps(
        """
        from druse import *
        import os

        @pipeline_step(cacheable=True)
        def first(data, ctx):
            os.system("true")
            return data

        @pipeline_step()
        def last(data, ctx, k=0):
            return data, {"value": k}
        """,
        names="[first, last]",
    )
    assert exp.value() == 0
    exp.replace("exp/steps.py", '"value": k', '"value": k + 1')
    assert exp.value() == 1
    assert "1 cell: FirstStep ran the program true" in exp.druse("show", "exp").out


# --- places ----------------------------------------------------------------------------------


def test_files_in_the_home_folder_count_but_not_the_caches_of_tools(tmp_path: Path) -> None:
    files = Files(tmp_path, [])
    home = os.path.expanduser("~")
    assert files.name(f"{home}/.cache/huggingface/model.bin") is not None
    assert files.name(f"{home}/.config/mine.toml") is not None
    assert files.name(f"{home}/.cache/matplotlib/fontlist.json") is None
    assert files.name("/dev/urandom") is None
    assert files.name("/usr/share/zoneinfo/UTC") is None
    assert files.name("/usr/data/x.csv") == "/usr/data/x.csv"
    assert files.name(str(tmp_path / "__pycache__" / "x.pyc")) is None


def test_a_declared_folder_counts_with_all_that_it_holds(exp: Exp) -> None:
    exp["raw/a.csv"], exp["raw/inner/b.csv"], exp["other/c.csv"] = "1", "1", "1"
    (exp.root / "raw/link").symlink_to("../other")
    (exp.root / "raw/up").symlink_to("..")
    exp.step("return data, {'value': 1}", flags="depends_on=[InputFile('raw')]")
    assert exp.misses() and exp.hits()
    for name in ("raw/a.csv", "raw/inner/b.csv", "other/c.csv", "raw/new.csv"):
        exp[name] = "2"
        assert exp.misses(), name
        assert exp.hits(), name
    (exp.root / "raw/new.csv").rename(exp.root / "raw/newer.csv")
    assert exp.misses()


def test_a_temporary_file_that_an_earlier_cell_left_counts_only_if_its_name_is_fixed(
    forked: Forked, tmp_path: Path
) -> None:
    exp = Exp(forked)
    made = tmp_path / "tmp"
    made.mkdir()
    before = f"""
    import tempfile, functools
    tempfile.tempdir = {str(made)!r}

    @functools.cache
    def folder():
        return tempfile.mkdtemp()

    def place(name):
        return f"{{NAME}}/{{name}}"
    """
    body = """
    if ctx["replicate"] == 0:
        open(place("x.txt"), "w").write("1")
    return data, {"value": int(open(place("x.txt")).read())}
    """
    exp.step(body, before.replace("{NAME}", "{folder()}"), replicates="2")
    assert exp.run_one()["run"] == 2
    assert exp.hits()
    exp.step(body, before.replace("{NAME}", str(made)), replicates="2")
    assert exp.run_one()["run"] == 2
    assert exp.hits()
    (made / "x.txt").write_text("5")
    assert exp.run_one()["executed"] == [["baseline", 1]]
