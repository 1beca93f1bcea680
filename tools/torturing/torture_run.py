"""kill -9 in the middle of runs of 1,000 cells: of a worker, of the process that forks workers, of
the run itself, of a Dask worker, of the Dask scheduler. The next run executes exactly what was not
committed, and its results are those of a run that nobody disturbed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from druse_store import Store

CONFIG = """
name: work
replicates: {replicates}
datasource: {{start: start}}
steps: [work]
treatments: {{more: {{level: 1}}, unread: {{nobody: 1}}, most: {{level: 2}}}}
"""
SOURCES = """
from druse import data_source

@data_source
def start(ctx):
    return 1
"""
STEPS = """
import os, random, time
from druse import pipeline_step

@pipeline_step()
def work(data, ctx, level=0):
    with open("ran", "a") as file:
        file.write(f"{level} {ctx.get('replicate')}\\n")
    drawn = random.random()
    time.sleep(drawn * 0.004)
    ctx.record("value", [level, drawn])
    ctx.artifacts.add("out.bin", random.randbytes(300_000 if drawn < 0.02 else 800))
    return data
"""
VICTIMS = ("worker", "template", "run", "threads", "serial", "dask worker", "dask scheduler")
PATIENCE = 120.0


def add_arguments(parser):
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--victim", choices=VICTIMS, action="append", help="(all of them in turn)")


def main(options, folder):
    chance = random.Random(options.seed)
    problems = []
    expected = None
    for number in range(options.rounds):
        victim = (options.victim or VICTIMS)[number % len(options.victim or VICTIMS)]
        place = folder / str(number)
        project = Project(place, options.cells)
        found, values = Round(project, victim, chance).play()
        expected = expected or values
        if values != expected:
            found.append("the results are not those of the other rounds")
        problems += [f"round {number} ({victim}): {problem}" for problem in found]
        print(f"round {number}: {victim} killed, {project.said}", flush=True)
        subprocess.run(["rm", "-rf", str(place)], check=True)
    return problems


class Project:
    def __init__(self, root, cells):
        self.root = root
        self.count = cells - cells % 4
        self.said = ""
        (root / "work").mkdir(parents=True)
        (root / "druse.yaml").write_text("views: none\n")
        (root / "work" / "config.yaml").write_text(CONFIG.format(replicates=cells // 4))
        (root / "work" / "datasources.py").write_text(SOURCES)
        (root / "work" / "steps.py").write_text(STEPS)

    def start(self, *arguments):
        return subprocess.Popen(
            [sys.executable, "-c", "from druse.cli import main; main()", "run", "work", *arguments],
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ran(self):
        path = self.root / "ran"
        return path.read_text().splitlines() if path.exists() else []

    def committed(self):
        if not (self.root / ".druse").exists():
            return set()
        with Store.open(self.root / ".druse", create=False) as store:
            cells = [cell for run in store.runs("work") for cell in run.cells]
            return {(c.condition, c.replicate) for c in cells if c.how != "failed"}


class Round:
    def __init__(self, project, victim, chance):
        self.project = project
        self.victim = victim
        self.chance = chance
        self.problems = []
        self.others = []

    def play(self):
        try:
            running = self.project.start(*self._arguments())
            self._disturb(running)
            _, err = running.communicate(timeout=PATIENCE)
            self._check_end(running.returncode, err)
        finally:
            for process in self.others:
                process.kill()
                process.wait()
        committed, ran = self.project.committed(), len(self.project.ran())
        self.project.said = f"{len(committed)} of {self.project.count} committed, {ran} ran"
        return self.problems, self._rest(committed)

    def _arguments(self):
        if self.victim.startswith("dask"):
            return ["--executor", f"dask:{self._dask()}", "--retries", "3"]
        kind = {"threads": "thread", "serial": "serial"}.get(self.victim, "process")
        return ["--executor", kind, "-j", "4", "--retries", "3"]

    def _dask(self):
        where = self.project.root / "scheduler.json"
        common = ["--scheduler-file", str(where), "--no-dashboard"]
        self.others.append(self._spawn("scheduler", "--port", "0", *common))
        address = self._wait(lambda: where.exists() and json.loads(where.read_text())["address"])
        for _ in range(2):
            self.others.append(self._spawn("worker", "--no-nanny", "--nthreads", "1", *common))
        return address

    def _spawn(self, what, *arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "dask", what, *arguments],
            cwd=self.project.root,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _disturb(self, running):
        unread = self.project.count // 4  # cells that no step tells from the baseline's
        times = 3 if self.victim == "worker" else 1
        last = int((self.project.count - unread) * 0.9)
        for count in sorted(self.chance.sample(range(20, last), times)):
            self._wait(lambda count=count: running.poll() is not None or self._has_run(count))
            if running.poll() is not None:
                self.problems.append("the run ended before it was disturbed")
                return
            self._kill(running)

    def _has_run(self, count):
        return len(self.project.ran()) >= count

    def _kill(self, running):
        if self.victim in ("run", "threads", "serial"):
            running.kill()
        elif self.victim == "dask scheduler":
            self.others[0].kill()
        elif self.victim == "dask worker":
            self.others[1].kill()
        else:
            template = children(running.pid)[0]
            workers = children(template)
            victim = template if self.victim == "template" else self.chance.choice(workers)
            os.kill(victim, signal.SIGKILL)

    def _check_end(self, status, err):
        expected = {
            "worker": 0,
            "template": 0,
            "dask worker": 0,
            "dask scheduler": 3,
        }.get(self.victim, -signal.SIGKILL)
        if status != expected:
            self.problems.append(f"the run ended with {status}, not {expected}: {err[-1000:]}")

    def _rest(self, committed):
        """Runs the rest; returns the metrics."""
        (self.project.root / "ran").unlink(missing_ok=True)
        running = self.project.start("--json", "-j", "2")
        out, err = running.communicate(timeout=PATIENCE)
        if running.returncode:
            self.problems.append(f"the next run ended with {running.returncode}: {err[-1000:]}")
            return None
        found = json.loads(out)["experiments"][0]
        executed = {(condition, replicate) for condition, replicate in found["executed"]}
        if executed & committed:
            self.problems.append(f"executed though committed: {sorted(executed & committed)[:5]}")
        if len(self.project.ran()) != len(executed):
            self.problems.append(f"{len(self.project.ran())} ran for {len(executed)} cells")
        if found["hit"] + found["run"] != self.project.count:
            self.problems.append(f"{found['hit']} hits and {found['run']} executed cells")
        return found["metrics"]

    def _wait(self, condition):
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            found = condition()
            if found:
                return found
            time.sleep(0.005)
        raise RuntimeError(f"nothing came of waiting: {self.victim}")


def children(pid):
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                fields = (path / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found.append(int(path.name))
    return found
