"""A run of many short cells in a process of its own, to be interrupted or killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from druse_store import Store
from support.project import Project

STEPS = """
    import os, time
    from druse import pipeline_step

    @pipeline_step()
    def work(data, ctx, seconds=0.0):
        line = f"{ctx.get('replicate')}\\n"
        with open("ran", "a") as file:
            file.write(line)
        time.sleep(seconds)
        ctx.record("value", ctx.get("replicate"))
        ctx.artifacts.add("out.txt", line.encode() * 50)
        return data
"""


class LongRun:
    """`count` cells of `seconds` each, of which every other one is equal to the one before it."""

    def __init__(self, project: Project, count: int, seconds: float = 0.01) -> None:
        self.project = project
        self.count = count
        project["work/config.yaml"] = f"""
            name: work
            replicates: {count // 2}
            datasource: {{one: one}}
            steps: [{{work: {{seconds: {seconds}}}}}]
            treatments: {{other: {{unread: 1}}}}
        """
        project["work/datasources.py"] = """
            from druse import data_source

            @data_source
            def one(ctx):
                return 1
        """
        project["work/steps.py"] = STEPS
        project["druse.yaml"] = "views: none\n"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = self.project.command("run", "work", *arguments)
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **self.project.how(),
        )

    def wait_until_ran(self, running: subprocess.Popen[str], count: int) -> None:
        until = time.monotonic() + 60
        while len(self.ran()) < count:
            assert running.poll() is None, running.communicate()
            assert time.monotonic() < until
            time.sleep(0.005)

    def ran(self) -> list[str]:
        """The cells that began, as often as they did."""
        path = self.project.root / "ran"
        return path.read_text().splitlines() if path.exists() else []

    def forget(self) -> None:
        (self.project.root / "ran").unlink(missing_ok=True)

    def committed(self) -> set[tuple[str, int]]:
        """The cells that the store has results of."""
        with Store.open(self.project.root / ".druse", create=False) as store:
            runs = list(store.runs("work"))
            return {(c.condition, c.replicate) for run in runs for c in run.cells}

    def check_the_rest_runs(self, *arguments: str) -> None:
        """The next run executes what was not committed, and nothing else."""
        committed = self.committed()
        self.forget()
        found = self.project.run("work", *arguments)["work"]
        executed = {(c, r) for c, r in found["executed"]}
        assert not executed & committed
        assert found["hit"] + found["run"] == self.count
        assert found["failed"] == 0
        assert len(self.ran()) == len(executed)
        assert len(found["metrics"]["baseline"]["value"]) == self.count // 2


def wait_for(condition: Callable[[], Any], seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def children(pid: int) -> list[int]:
    """The processes below one, at any depth."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            if parent == pid:
                found.append(int(path.name))
    return found + [below for each in found for below in children(each)]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def workers_of(pid: int) -> list[int]:
    """The worker processes of a run: children of the one that it had them forked from."""
    found = [below for template in children(pid)[:1] for below in children(template)]
    return [each for each in found if is_running(each)]


def kill_a_worker(pid: int) -> None:
    """Kills one of a run's workers, as soon as there is one."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        for each in workers_of(pid):
            try:
                os.kill(each, signal.SIGKILL)
            except ProcessLookupError:
                continue
            return
        time.sleep(0.002)
    raise AssertionError("the run has no worker")
