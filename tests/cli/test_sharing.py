"""Two people, two folders, a remote between them: what one ran, the other need not."""

from __future__ import annotations

import filecmp
import json
import shutil
import socket
import subprocess

import pytest

from support.forked import Forked, Server
from support.project import numbers

# Cells that have to be executed: a treatment of `draw` that nothing reads is the baseline again.
DRAW, TOTAL = 6, 10
CELLS = DRAW + TOTAL


class Person(Forked):
    """A project folder with a user's own configuration."""

    def __init__(self, root, server) -> None:
        super().__init__(root, server)
        home = root.parent / f"home-{root.name}"
        self._home = {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_STATE_HOME": str(home / "state"),
        }

    def how(self, env=None):
        return super().how({**self._home, **(env or {})})

    def does(self, *arguments: str) -> str:
        """What a command prints that has to succeed."""
        done = self.druse(*arguments)
        assert done.status == 0, (done.out, done.err)
        return done.out

    def json(self, *arguments: str):
        return json.loads(self.does(*arguments, "--json"))

    def key(self) -> str:
        return self.does("trust", "init").splitlines()[-1]


@pytest.fixture(scope="module")
def loaded():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def remote(tmp_path):
    (tmp_path / "remote").mkdir()
    return tmp_path / "remote"


@pytest.fixture
def person(tmp_path, loaded, remote):
    def make(name: str, *, adds: bool = True) -> Person:
        (tmp_path / name).mkdir()
        (tmp_path / name / "pyproject.toml").write_text("")
        made = Person(tmp_path / name, loaded)
        numbers(made)
        made.public = made.key()
        if adds:
            made.does("remote", "add", "team", str(remote))
        return made

    return make


def views_are_equal(one: Person, other: Person) -> bool:
    """Whether two people's data folders hold the same files, byte for byte."""
    files = [
        {p.relative_to(x.root) for p in (x.root / "data").rglob("*") if p.is_file()}
        for x in (one, other)
    ]
    views = [{f for f in found if not f.parts[1].startswith(".")} for found in files]
    same = filecmp.cmpfiles(one.root, other.root, map(str, views[0]), shallow=False)
    return views[0] == views[1] and len(views[0]) > 10 and not same[1] and not same[2]


def executed(person: Person, *arguments: str) -> int:
    return sum(map(len, person.executed(".", *arguments).values()))


def test_what_a_trusted_teammate_ran_is_not_executed_and_looks_the_same(person):
    ann, bob = person("ann"), person("bob")
    assert executed(ann) == CELLS
    bob.does("trust", "add", "ann", ann.public)
    assert executed(bob) == 0
    assert views_are_equal(ann, bob)
    assert executed(ann) == 0
    bob.replace("total/steps.py", "* 2", "* 3")
    assert executed(bob) == TOTAL  # of `total` only


def test_without_trust_everything_is_executed_and_it_is_said_why(person):
    ann, bob = person("ann"), person("bob")
    executed(ann)
    done = bob.druse("run", ".")
    assert done.status == 0
    assert f"{DRAW} run" in done.out
    assert "not trusted here" in done.err
    assert done.err.count("warning") == 1


def test_alone_neither_reads_nor_writes_there(person, remote):
    ann, bob = person("ann"), person("bob")
    before = sorted(remote.rglob("*"))
    assert executed(ann, "--remote", "none") == CELLS
    assert sorted(remote.rglob("*")) == before
    bob.does("trust", "add", "ann", ann.public)
    assert executed(bob) == CELLS


def test_push_and_pull_by_hand(person, remote):
    ann, bob = person("ann"), person("bob")
    bob.does("trust", "add", "ann", ann.public)
    executed(ann, "--remote", "none")
    dry = ann.json("push", "--dry-run")
    assert (dry["runs"], dry["records"]) == (2, CELLS)
    assert not (remote / "runs").exists()
    sent = ann.json("push")
    assert (sent["runs"], sent["records"], sent["bytes"] > 0) == (2, CELLS, True)
    assert ann.json("push")["records"] == 0
    assert [name.partition("@")[0] for name in bob.json("pull", "--dry-run")["runs"]] == [
        "team:draw",
        "team:total",
    ]
    assert bob.json("pull", "draw")["records"] == DRAW
    pulled = bob.json("pull", "--all")
    assert (pulled["records"], pulled["missing"]) == (TOTAL, 0)
    assert executed(bob, "--remote", "none") == 0
    assert views_are_equal(ann, bob)


def test_a_remote_that_is_gone_costs_a_warning_and_nothing_else(person, remote):
    ann = person("ann")
    remote.rename(remote.with_name("away"))
    done = ann.druse("run", ".")
    assert done.status == 0, done.err
    assert f"{TOTAL} run" in done.out
    assert done.err.count("warning") <= 2  # it is gone; what could not be published
    assert "druse push" in done.err
    remote.with_name("away").rename(remote)
    assert ann.json("push")["records"] == CELLS


def test_how_long_a_remote_may_take_is_a_setting(person, tmp_path):
    ann = person("ann")
    with socket.socket() as silent:  # takes connections, and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        ann["druse.yaml"] = "remote_timeouts: {request: 0.2, first: 0.2, total: 1}"
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/team"
        done = ann.druse("pull", "--remote", url)
    assert done.status == 3
    assert url in done.err
    ann["druse.yaml"] = "remote_timeouts: {request: soon}"
    done = ann.druse("run", ".")
    assert done.status == 2
    assert "remote_timeouts.request has to be a number of seconds" in done.err


def test_changed_code_hits_what_a_teammate_ran_with_the_same_change(person):
    ann, bob = person("ann"), person("bob")
    bob.does("trust", "add", "ann", ann.public)
    for each in (ann, bob):
        each.replace("draw/steps.py", "data * factor", "data * factor + 1")
    assert executed(ann) == CELLS
    assert executed(bob) == 0


def test_cacheable_steps_are_shared_one_by_one(person):
    ann, bob = person("ann"), person("bob")
    bob.does("trust", "add", "ann", ann.public)
    for each in (ann, bob):
        each.replace("draw/steps.py", "step()\ndef scale", "step(cacheable=True)\ndef scale")
        scaling = "import sys; print('scaling', file=sys.stderr); return data * factor"
        each.replace("draw/steps.py", "return data * factor", scaling)
    assert "scaling" in ann.druse("run", ".").err
    bob.replace("draw/steps.py", 'add("value", data + shift)', 'add("sum", data + shift)')
    done = bob.druse("run", "draw")
    assert f"{DRAW} run" in done.out
    assert "scaling" not in done.err


def test_a_run_of_both_at_once_divides_the_cells(person):
    ann, bob = person("ann"), person("bob")
    bob.does("trust", "add", "ann", ann.public)
    ann.does("trust", "add", "bob", bob.public)
    for each in (ann, bob):
        each.replace(
            "draw/steps.py",
            "return data * factor",
            "import time; time.sleep(0.1); return data * factor",
        )
    command = ["run", ".", "--claim", "--json"]
    both = [
        subprocess.Popen(
            each.command(*command),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **each.how(),
        )
        for each in (ann, bob)
    ]
    outs = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    found = [{e["name"]: e for e in json.loads(out)["experiments"]} for out, _ in outs]
    for name in ("draw", "total"):
        ran = [tuple(cell) for each in found for cell in each[name]["executed"]]
        assert len(ran) == len(set(ran))  # no cell by both
        assert found[0][name]["metrics"] == found[1][name]["metrics"]
        assert len(ran) >= {"draw": DRAW, "total": TOTAL}[name]


def test_keys_are_shown_listed_and_taken_back(person):
    ann, bob = person("ann"), person("bob")
    assert ann.does("trust", "show").strip() == ann.public
    bob.does("trust", "add", "ann", ann.public)
    assert bob.does("trust", "show", "ann").strip() == ann.public
    assert bob.json("trust", "ls") == {"you": bob.public, "ann": ann.public}
    executed(ann)
    assert executed(bob) == 0
    gone = bob.json("trust", "rm", "ann")
    assert len(gone["records"]) == CELLS
    assert gone["runs"] == ["draw/v0", "total/v0"]
    assert executed(bob) == CELLS
    done = bob.druse("trust", "add", "ann", "nonsense")
    assert done.status == 3
    assert "druse trust show" in done.err


def test_remotes_are_added_tested_listed_and_forgotten(person, remote, tmp_path):
    ann = person("ann", adds=False)
    done = ann.druse("push")
    assert done.status == 3
    assert "Traceback" not in done.err
    assert ann.json("remote", "test", str(remote))["usable"]
    ann.does("remote", "add", "team", str(remote))
    assert [each["name"] for each in ann.json("remote", "ls")] == ["team"]
    assert ann.json("remote", "show", "team")["create"] is True
    assert str(remote) in ann.does("remote", "ls")
    assert "team" in ann.does("remote", "rm", "team")
    assert ann.json("remote", "ls") == []
    done = ann.druse("run", ".", "--remote", "nowhere")
    assert done.status == 3
    assert "nowhere" in done.err


def test_a_restored_store_takes_its_bytes_from_the_remote(person):
    ann = person("ann")
    executed(ann)
    shutil.rmtree(ann.root / ".druse")
    shutil.rmtree(ann.root / "data")
    ann.does("remote", "add", "team", str(ann.root.parent / "remote"))
    assert executed(ann) == 0


def test_runs_of_teammates_are_listed_shown_and_exported(person):
    ann, bob = person("ann"), person("bob")
    executed(ann)
    done = bob.druse("ls", "--remote", "team")
    assert "not trusted here" in done.err
    assert "no runs by trusted keys" in done.out
    bob.does("trust", "add", "ann", ann.public)
    runs = bob.json("ls", "--remote", "team")
    assert [(run["experiment"], run["by"], run["state"]) for run in runs] == [
        ("draw", "ann", "complete"),
        ("total", "ann", "complete"),
    ]
    name = runs[0]["name"]
    assert name in bob.does("ls", "--remote", "team", "draw")
    shown = bob.json("show", name)
    assert shown["by"] == "ann"
    assert shown["metrics"] == ann.json("show", "draw")["metrics"]
    assert name in bob.does("show", "team:draw")
    view = bob.json("export", name)
    assert view["missing"] == []
    theirs, ours = ann.root / "data" / "draw" / "v0", bob.root / view["view"]
    files = [p.relative_to(theirs) for p in theirs.rglob("*") if p.is_file()]
    assert len(files) > 5
    assert filecmp.cmpfiles(theirs, ours, map(str, files), shallow=False)[1:] == ([], [])
    assert bob.json("ls") == []  # nothing of it became a run here
    done = bob.druse("show", "team:draw@abcd1234")
    assert done.status == 3
    assert "draw@abcd1234" in done.err


def test_repair_takes_from_the_remote_what_is_damaged_here(person):
    ann = person("ann")
    executed(ann)
    for pack in (ann.root / ".druse" / "packs").rglob("*.pack"):
        pack.chmod(0o644)
        data = bytearray(pack.read_bytes())
        data[129] ^= 1  # behind the headers of the file and its first frame
        pack.write_bytes(data)
    assert ann.druse("verify").status == 1
    repaired = ann.json("repair")
    assert repaired["fetched"] >= 1
    assert repaired["lost"] == []
    assert ann.druse("verify").status == 0
    assert executed(ann) == 0


def test_what_nobody_needs_leaves_the_remote_after_the_grace(person, remote):
    ann, bob = person("ann"), person("bob")
    executed(ann)
    ann.replace("draw/steps.py", "data * factor", "data * factor + 1")
    executed(ann)
    assert len(ann.json("ls", "--remote", "team")) == 4
    packs = set(remote.rglob("*.pack"))
    dry = ann.json("gc", "--remote", "team", "--keep-last", "1", "--grace", "0s", "--dry-run")
    assert len(dry["taken_back"]) == 2
    assert len(ann.json("ls", "--remote", "team")) == 4
    first = ann.json("gc", "--remote", "team", "--keep-last", "1", "--grace", "0s")
    assert first["buried"]
    assert set(remote.rglob("*.pack")) >= packs
    again = ann.json("gc", "--remote", "team", "--grace", "0s")
    assert again["freed"] > 0
    assert not packs <= set(remote.rglob("*.pack"))
    assert len(ann.json("ls", "--remote", "team")) == 2
    bob.does("trust", "add", "ann", ann.public)
    bob.replace("draw/steps.py", "data * factor", "data * factor + 1")
    assert executed(bob) == 0
    assert ann.druse("gc", "--remote", "team", "--now").status == 2


def test_a_plan_counts_what_teammates_published(person):
    ann, bob = person("ann"), person("bob")
    executed(ann)
    bob.does("trust", "add", "ann", ann.public)
    assert "0 hit" in bob.does("plan", ".", "--remote", "none")
    planned = bob.json("plan", ".")
    assert "run" not in {g["state"] for e in planned["experiments"] for g in e["groups"]}
    assert bob.json("ls") == []
    assert executed(bob) == 0
