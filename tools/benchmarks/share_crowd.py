"""A crowd that runs the same experiment with --claim, each with a store of its own."""

import json
import subprocess
import sys
import time

from share_peers import SOURCES

STEPS = """
import time
from druse import pipeline_step

@pipeline_step()
def work(data, ctx):
    time.sleep({seconds})
    ctx.metrics.add("value", data + ctx.get("replicate"))
    return data
"""
SOURCE = """
from druse import data_source

@data_source
def start(ctx):
    return 1
"""
CONFIG = "{{name: work, replicates: {cells}, datasource: {{start: start}}, steps: [work]}}"


def divide(folder, server, count, cells, seconds):
    """`count` processes at once, as commands; how long until all have ended."""
    machines = [Machine(folder / f"machine{n}", server, cells, seconds) for n in range(count)]
    url = f"s3://{server.bucket()}/druse"
    keys = [machine.druse("trust", "init").split()[-1] for machine in machines]
    for machine in machines:
        for number, key in enumerate(keys):
            if machine.key != key:
                machine.druse("trust", "add", f"m{number}", key)
        machine.druse("remote", "add", "team", url)
    began = time.perf_counter()
    running = [machine.start() for machine in machines]
    outcomes = [json.loads(process.communicate()[0])["experiments"][0] for process in running]
    wall = time.perf_counter() - began
    executed = [tuple(cell) for each in outcomes for cell in each["executed"]]
    return {
        "seconds": wall,
        "ratio": wall / (cells * seconds / count),
        "twice": len(executed) - len(set(executed)),
        "equal": all(each["metrics"] == outcomes[0]["metrics"] for each in outcomes),
        "shares": sorted(len(each["executed"]) for each in outcomes),
    }


class Machine:
    def __init__(self, folder, server, cells, seconds):
        self.folder = folder
        self.key = None
        project = folder / "work"
        project.mkdir(parents=True)
        (project / "config.yaml").write_text(CONFIG.format(cells=cells))
        (project / "steps.py").write_text(STEPS.format(seconds=seconds))
        (project / "datasources.py").write_text(SOURCE)
        self.environment = {
            **server.environment,
            "HOME": str(folder),
            "PYTHONPATH": SOURCES,
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_STATE_HOME": str(folder / "state"),
        }

    def command(self, *arguments):
        return [sys.executable, "-c", "from druse.cli import main; main()", *arguments]

    def druse(self, *arguments):
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        if arguments[:2] == ("trust", "init"):
            self.key = done.stdout.split()[-1]
        return done.stdout

    def start(self):
        return subprocess.Popen(
            self.command("run", "work", "--claim", "--json", "--executor", "serial"),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
