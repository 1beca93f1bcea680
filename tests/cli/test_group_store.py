"""One machine, several users: accounts that useradd makes, a store that their group shares.

All of it in a mount namespace with an /etc of its own: nothing of the machine's is changed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.project import SOURCES, Project, numbers

WORLD = """
import json, os, pwd, subprocess, sys
from pathlib import Path

folder, sources = Path(sys.argv[1]), sys.argv[2]

def run(*command):
    subprocess.run(list(map(str, command)), check=True)

def let_others_reach(path):
    # Python may lie in root's home: there, in this namespace, others find nothing else.
    closed = next((p for p in reversed(path.parents) if not p.stat().st_mode & 1), None)
    if closed is not None:
        aside = folder / "aside"
        aside.mkdir()
        run("mount", "--bind", path, aside)
        run("mount", "-t", "tmpfs", "-o", "mode=755", "none", closed)
        path.mkdir(parents=True)
        run("mount", "--bind", aside, path)

run("cp", "-a", "/etc", folder / "etc")
run("mount", "--bind", folder / "etc", "/etc")
run("groupadd", "lab")
for name, groups in (("ann", "lab"), ("bob", "lab"), ("eve", "")):
    run("useradd", "-M", "-d", folder / name, *(["-G", groups] if groups else []), name)
    (folder / name).chmod(0o750)
    for path in [folder / name, *(folder / name).rglob("*")]:
        os.chown(path, pwd.getpwnam(name).pw_uid, pwd.getpwnam(name).pw_gid)
let_others_reach(Path(sys.base_prefix))

def druse(user, *arguments):
    command = [sys.executable, "-c", "from druse.cli import main; main()", *arguments]
    become = ["setpriv", "--reuid", user, "--regid", user, "--init-groups"]
    done = subprocess.run(
        [*become, *command], cwd=folder / user, capture_output=True, text=True, check=False,
        env={"HOME": str(folder / user), "PYTHONPATH": sources, "PATH": os.environ["PATH"],
             "DRUSE_STORE": str(folder / "lab" / "druse"), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    return done.returncode, done.stdout, done.stderr

for line in sys.stdin:
    print(json.dumps(druse(*json.loads(line))), flush=True)
"""


class Users:
    """ann and bob are in the group, eve is not; each has a project of their own."""

    def __init__(self, folder: Path) -> None:
        self.projects = {name: Project(folder / name) for name in ("ann", "bob", "eve")}
        for project in self.projects.values():
            numbers(project)
        (folder / "lab").mkdir()
        self._world = subprocess.Popen(
            ["unshare", "--mount", sys.executable, "-c", WORLD, str(folder), SOURCES],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tries(self, user: str, *arguments: str) -> tuple[int, str, str]:
        assert self._world.stdin is not None and self._world.stdout is not None
        self._world.stdin.write(json.dumps([user, *arguments]) + "\n")
        self._world.stdin.flush()
        status, out, err = json.loads(self._world.stdout.readline())
        return status, out, err

    def does(self, user: str, *arguments: str) -> str:
        """What a command prints that has to succeed."""
        status, out, err = self.tries(user, *arguments)
        assert status == 0, (out, err)
        return out

    def executed(self, user: str) -> int:
        found: Any = json.loads(self.does(user, "run", ".", "--json"))
        return sum(len(each["executed"]) for each in found["experiments"])

    def close(self) -> None:
        assert self._world.stdin is not None
        self._world.stdin.close()
        self._world.wait()


@pytest.fixture
def users() -> Iterator[Users]:
    if os.getuid() != 0:
        pytest.skip("needs root, to make users")
    folder = Path(tempfile.mkdtemp(prefix="druse-users-"))
    folder.chmod(0o755)
    found = Users(folder)
    yield found
    found.close()
    shutil.rmtree(folder)


@pytest.mark.needs("unshare", "useradd", "setpriv")
def test_users_of_a_group_share_a_store_and_believe_whom_they_trust(users: Users) -> None:
    lab = users.projects["ann"].root.parent / "lab"
    status, _, err = users.tries("ann", "init", "--group", "lab")
    assert status == 3 and "lab" in err  # the folder is not hers to write to yet
    shutil.chown(lab, users.projects["ann"].root.stat().st_uid)
    users.does("ann", "init", "--group", "lab")
    lab.chmod(0o755)
    keys = {name: users.does(name, "trust", "init").split()[-1] for name in ("ann", "bob", "eve")}

    assert users.executed("ann") == 16
    assert users.executed("ann") == 0
    status, out, err = users.tries("bob", "run", ".", "--json")
    assert status == 0
    assert sum(len(each["executed"]) for each in json.loads(out)["experiments"]) == 16
    assert "trust" in err  # why everything was executed again
    users.does("bob", "trust", "add", "ann", keys["ann"])
    for name in ("ann", "bob"):
        users.projects[name].replace("draw/steps.py", "data + shift", "data + shift + 1")
    assert users.executed("ann") > 0
    assert users.executed("bob") == 0

    status, _, err = users.tries("eve", "run", ".")
    assert status == 3
    assert "Traceback" not in err
    users.does("bob", "verify")
    for path in (lab / "druse").rglob("*"):
        assert path.stat().st_gid == (lab / "druse").stat().st_gid, path
