"""Files and folders that steps read, against real files edited between real processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from druse.places import Files
from support.forked import Forked
from support.oneexp import Exp, chain


def test_a_symbolic_link_that_leads_to_another_file_misses(exp: Exp) -> None:
    exp["one.txt"], exp["two.txt"] = "1", "2"
    (exp.root / "current.txt").symlink_to("one.txt")
    exp["old/n.txt"], exp["new/n.txt"] = "10", "20"
    (exp.root / "folder").symlink_to("old")
    exp.step("""
        read = lambda name: int(open(name).read())
        return data, {"value": read("current.txt") + read("folder/n.txt")}
    """)
    assert exp.value() == 11
    (exp.root / "current.txt").unlink()
    (exp.root / "current.txt").symlink_to("two.txt")
    assert exp.value() == 12
    (exp.root / "folder").unlink()
    (exp.root / "folder").symlink_to("new")
    assert exp.value() == 22
    assert exp.hits()


KEPT = {
    "lru_cache": "@functools.lru_cache\ndef load():\n    return int(open('x.txt').read())",
    "a call of cache": (
        "def load_():\n    return int(open('x.txt').read())\nload = functools.cache(load_)"
    ),
    "a lazy global": (
        "_loaded = None\ndef load():\n    global _loaded\n    if _loaded is None:\n"
        "        _loaded = int(open('x.txt').read())\n    return _loaded"
    ),
    "a dict": (
        "_loaded = {}\ndef load():\n    if 'x' not in _loaded:\n"
        "        _loaded['x'] = int(open('x.txt').read())\n    return _loaded['x']"
    ),
    "a default": (
        "def load(_loaded=[]):\n    if not _loaded:\n"
        "        _loaded.append(int(open('x.txt').read()))\n    return _loaded[0]"
    ),
    "an attribute": (
        "class Reader:\n    def get(self):\n        if not hasattr(self, 'kept'):\n"
        "            self.kept = int(open('x.txt').read())\n        return self.kept\n"
        "reader = Reader()\ndef load():\n    return reader.get()"
    ),
    "a cached property": (
        "class Reader:\n    @functools.cached_property\n    def kept(self):\n"
        "        return int(open('x.txt').read())\n"
        "reader = Reader()\ndef load():\n    return reader.kept"
    ),
    "a decorator": (
        "def remember(fn):\n    known = {}\n    def inner():\n        if fn not in known:\n"
        "            known[fn] = fn()\n        return known[fn]\n    return inner\n"
        "@remember\ndef load():\n    return int(open('x.txt').read())"
    ),
}


@pytest.mark.parametrize("how", KEPT)
def test_a_file_whose_content_is_kept_in_memory_counts_for_every_cell_that_uses_it(
    exp: Exp, how: str
) -> None:
    exp["x.txt"] = "1"
    exp.step("return data, {'value': load()}", f"import functools\n{KEPT[how]}", replicates="3")
    assert exp.run_one()["metrics"]["baseline"]["value"] == [1, 1, 1]
    assert exp.hits()
    exp["x.txt"] = "2"
    found = exp.run_one()
    assert (found["run"], found["metrics"]["baseline"]["value"]) == (3, [2, 2, 2])
    exp["x.txt"] = "1"
    assert exp.hits()


def test_a_file_that_one_replicate_reads_counts_for_that_replicate_only(exp: Exp) -> None:
    for replicate in range(3):
        exp[f"fold_{replicate}.txt"] = "5"
    exp.step(
        "rows = {}\nrows['r'] = int(open(f'fold_{ctx[\"replicate\"]}.txt').read())\n"
        "return data, {'value': rows['r']}",
        replicates="3",
    )
    assert exp.misses() and exp.hits()
    exp["fold_1.txt"] = "6"
    assert exp.run_one()["executed"] == [["baseline", 1]]


RESOURCE = """
    import druse, logging
    from exp.datasources import source
    logging.disable()

    def make(ctx):
        return int(open("x.txt").read())

    @druse.pipeline_step()
    def step(data, ctx, resource):
        return data, {"value": resource}

    RESOURCE = druse.resource_factory(make)

    def run():
        steps = [step(resource=RESOURCE)]
        made = druse.Experiment(source(), druse.Pipeline(steps), name="r", replicates=3)
        found = made.run(strategy="resume")
        print([cell.how for cell in found.cells], found.metrics.baseline.metrics["value"])
"""


def test_what_a_resource_read_counts_for_all_that_use_it_and_it_is_made_anew_when_that_changes(
    exp: Exp,
) -> None:
    exp["x.txt"] = "1"
    exp["use.py"] = RESOURCE
    twice = """
        import use
        use.run()
        open("x.txt", "w").write("2")
        use.run()
        open("x.txt", "w").write("1")
        use.run()
    """
    assert exp.python(twice).splitlines() == [
        "['run', 'run', 'run'] [1, 1, 1]",
        "['run', 'run', 'run'] [2, 2, 2]",
        "['hit', 'hit', 'hit'] [1, 1, 1]",
    ]
    exp["x.txt"] = "3"
    assert exp.python("import use; use.run()") == "['run', 'run', 'run'] [3, 3, 3]\n"


def test_a_folder_that_is_listed_counts_by_the_names_in_it(exp: Exp) -> None:
    exp["raw/a.csv"] = "1"
    exp.step(
        "from pathlib import Path\nimport os\n"
        "names = sorted(p.name for p in Path('raw').glob('*.csv'))\n"
        "return data, {'value': len(names) + len(os.listdir('raw'))}"
    )
    assert exp.value() == 2
    assert exp.hits()
    exp["raw/b.csv"] = "1"
    assert exp.value() == 4
    assert exp.hits()
    (exp.root / "raw/b.csv").unlink()
    assert exp.hits()


GLOBS = {
    "a name in each folder": ("Path('runs').glob('*/n.txt')", "runs/b/n.txt"),
    "by the module": ("glob.glob('runs/*/n.txt')", "runs/b/n.txt"),
    "below all folders": ("Path('.').rglob('n.txt')", "runs/b/n.txt"),
    "in a folder that is not there": ("Path('late').glob('*.txt')", "late/n.txt"),
    "deeper in one that is not there": ("Path('.').glob('late/*/*.txt')", "late/b/n.txt"),
    "a plain name": ("Path('runs').glob('n.txt')", "runs/n.txt"),
    "a plain name, by the module": ("glob.glob('runs/n.txt')", "runs/n.txt"),
    "below a root": ("glob.glob('b/n.txt', root_dir='runs')", "runs/b/n.txt"),
}


@pytest.mark.parametrize("how", GLOBS)
@pytest.mark.parametrize("flags", ["", "cacheable=True"])
def test_a_file_that_a_pattern_finds_only_now_misses_and_so_does_one_that_it_found_once(
    exp: Exp, how: str, flags: str
) -> None:
    pattern, late = GLOBS[how]
    exp["runs/a/other.txt"], exp["runs/b/other.txt"] = "1", "1"
    body = f"return data, {{'value': len(list({pattern}))}}"
    exp.step(body, "import glob\nfrom pathlib import Path", flags=flags)
    assert exp.value() == 0
    assert exp.hits()
    exp[late] = "1"
    exp["runs/b/unrelated.txt"] = "1"
    assert exp.value() == 1
    assert exp.hits()
    exp[late] = "other content"
    assert exp.hits()
    (exp.root / late).unlink()
    assert exp.value() == 0


def test_a_folder_that_a_cell_writes_to_is_no_input(exp: Exp) -> None:
    exp.step(
        "import os\nos.makedirs('logs', exist_ok=True)\n"
        "open(f'logs/{len(os.listdir(\"logs\"))}.txt', 'w').write('x')\n"
        "return data, {'value': 1}"
    )
    assert exp.misses()
    assert exp.hits()
    assert exp.misses("--strategy", "rerun")
    assert exp.hits()


def test_the_files_that_threads_of_a_step_read_count(exp: Exp) -> None:
    for number in range(4):
        exp[f"{number}.txt"] = "1"
    exp.step(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    rows = list(pool.map(lambda n: int(open(f'{n}.txt').read()), range(4)))\n"
        "return data, {'value': sum(rows)}"
    )
    assert exp.value() == 4
    for number in range(4):
        exp[f"{number}.txt"] = "2"
        assert exp.value() == 5 + number
        assert exp.hits()


def test_a_step_that_goes_to_another_folder_reads_the_files_that_it_names_there(exp: Exp) -> None:
    exp["sub/x.txt"] = "1"
    exp["sub/.keep"] = ""
    body = "import os\nos.chdir('sub')\nvalue = int(open('x.txt').read())\nos.chdir('..')\n"
    exp.step(body + "return data, {'value': value}")
    (exp.root / "pyproject.toml").unlink()  # names are then by the working directory
    assert exp.value() == 1
    assert exp.hits()
    exp["sub/x.txt"] = "2"
    assert exp.value() == 2


def test_a_file_opened_for_reading_and_writing_counts(exp: Exp) -> None:
    exp["x.txt"] = "1"
    exp.step("with open('x.txt', 'r+') as file:\n    return data, {'value': int(file.read())}")
    assert exp.value() == 1
    exp["x.txt"] = "2"
    assert exp.value() == 2
    assert exp.hits()


def test_a_file_that_was_missing_counts_once_it_is_there(exp: Exp) -> None:
    exp.step(
        "try:\n    value = int(open('late.txt').read())\nexcept FileNotFoundError:\n    value = 0\n"
        "return data, {'value': value}"
    )
    assert exp.value() == 0
    assert exp.hits()
    exp["late.txt"] = "5"
    assert exp.value() == 5


def test_files_count_in_a_project_that_lies_in_a_folder_of_the_system(tmp_path: Path) -> None:
    import sys

    files = Files(Path("/usr/src/app"), [Path("/usr/src/app/.druse")])
    assert files.name("/usr/src/app/data.csv") == "@/data.csv"
    assert files.name("/usr/src/app/.druse/format") is None
    assert files.name("/usr/share/zoneinfo/UTC") is None
    files = Files(Path(sys.prefix) / "work", [])
    assert files.name(f"{sys.prefix}/work/data.csv") == "@/data.csv"
    assert files.name(f"{sys.prefix}/pyvenv.cfg") is None


def test_a_file_that_an_upstream_cell_writes_anew_is_no_stale_hit_downstream(
    forked: Forked,
) -> None:
    chain(forked)
    forked.replace(
        "up/steps.py", "out.write(data * 2)", "out.write(1)\n    open('side.txt', 'w').write('1')"
    )
    forked.replace(
        "down/steps.py", 'data["value"]}', 'data["value"] + int(open("side.txt").read())}'
    )
    assert forked.run("down")["down"]["metrics"]["baseline"]["value"] == [2]
    forked.replace("up/steps.py", "write('1')", "write('5')")
    found = forked.run("down")
    assert (found["up"]["run"], found["down"]["run"]) == (1, 1)
    assert found["down"]["metrics"]["baseline"]["value"] == [6]


def test_what_was_a_hit_by_a_file_that_another_cell_then_wrote_runs_in_the_same_run(
    forked: Forked,
) -> None:
    """`down` reads `side.txt` but no artifact of `up`, which writes it: no input says so."""
    chain(forked)
    forked["side.txt"] = "1"
    forked.replace("up/steps.py", "out.write(data * 2)", "out.write(data * 2)\n    side()")
    forked["up/steps.py"] = forked["up/steps.py"] + "\ndef side():\n    return None\n"
    forked["down/config.yaml"] = """
        name: down
        replicates: 2
        datasource: {value: 'up#out'}
        steps: [{use: {how: 0}}]
        treatments: {side: {unread: 1}}
    """
    forked["down/steps.py"] = """
        from druse import pipeline_step

        @pipeline_step()
        def use(data, ctx, how):
            if ctx["replicate"]:
                return None, {"value": ctx.get("late", 0)}
            return None, {"value": int(open("side.txt").read())}
    """
    assert forked.run("down")["down"]["metrics"]["baseline"]["value"] == [1, 0]
    # `up` writes the file now, and the same artifact; `down` has a cell to run besides.
    forked.replace("up/steps.py", "return None", "open('side.txt', 'w').write('5')")
    forked.replace("down/config.yaml", "unread: 1", "late: 7")
    found = forked.run("down")["down"]
    assert found["metrics"]["baseline"]["value"] == [5, 0]
    assert ["side", 1] in found["executed"]


def test_a_folder_that_is_open_and_listed_by_its_number_counts(exp: Exp) -> None:
    exp["raw/a.csv"] = "1"
    exp.step(
        "import os\nfolder = os.open('raw', os.O_RDONLY)\nnames = os.listdir(folder)\n"
        "os.close(folder)\nreturn data, {'value': len(names)}"
    )
    assert exp.value() == 1
    exp["raw/b.csv"] = "1"
    assert exp.value() == 2
    assert exp.hits()


def test_what_is_asked_of_a_file_or_the_machine_in_ways_that_no_event_tells_is_a_blind_spot(
    exp: Exp,
) -> None:
    asking = {
        "os.readlink('x')": "readlink asks for a file",
        "pathlib.Path('x').is_symlink()": "is_symlink asks for a file",
        "os.path.expanduser('~')": "os.path.expanduser depends on the machine",
        "os.getcwd()": "os.getcwd depends on the machine",
        "platform.node()": "platform.node depends on the machine",
        "open('x', 'a+').read()": "read x, which it opened to append to it",
    }
    (exp.root / "x").symlink_to("y")
    exp["y"] = ""
    lines = "\n".join(asking)
    exp.step(f"{lines}\nreturn data, {{'value': 1}}", "import os, pathlib, platform")
    assert exp.misses()
    said = exp.druse("explain", "exp", "--coverage").out
    assert [sentence for sentence in asking.values() if sentence not in said] == []
