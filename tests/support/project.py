"""A folder of experiments written from text, and druse run on it, here or in another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import druse
import druse_store

SOURCES = os.pathsep.join(
    str(Path(module.__file__).parents[1]) for module in (druse, druse_store) if module.__file__
)


class Project:
    """`project["fit/steps.py"] = "..."`, then `project.run("fit")`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __setitem__(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))

    def __getitem__(self, name: str) -> str:
        return (self.root / name).read_text()

    def replace(self, name: str, old: str, new: str) -> None:
        text = self[name]
        assert old in text, f"{name} does not hold {old!r}"
        (self.root / name).write_text(text.replace(old, new))

    def druse(self, *arguments: str, env: dict[str, str] | None = None) -> Done:
        """The command in a process of its own."""
        command = self.command(*arguments)
        done = subprocess.run(command, capture_output=True, text=True, check=False, **self.how(env))
        return Done(done.returncode, done.stdout, done.stderr)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-c", "from druse.cli import main; main()", *arguments]

    def how(self, env: dict[str, str] | None = None) -> dict[str, Any]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("DRUSE_")}
        environment = {**inherited, "PYTHONPATH": SOURCES, **(env or {})}
        return {"cwd": self.root, "env": environment}

    def run(
        self, config: str, *arguments: str, env: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """What `druse run --json` says of each experiment, by name."""
        done = self.druse("run", config, "--json", *arguments, env=env)
        assert done.status in (0, 1), done.err
        found = json.loads(done.out)["experiments"]
        return {each["name"]: each for each in found}

    def executed(self, config: str, *arguments: str) -> dict[str, list[tuple[str, int]]]:
        """The cells that a run executes, by experiment."""
        found = self.run(config, *arguments)
        return {name: [(c, r) for c, r in each["executed"]] for name, each in found.items()}


class Done:
    """What a command left: exit status, standard output and error."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    def __repr__(self) -> str:
        return f"Done({self.status}, {self.out!r}, {self.err!r})"


def numbers(project: Project) -> None:
    """Two chained experiments without any package: `draw` writes an artifact, `total` reads it."""
    project["draw/config.yaml"] = """
        name: draw
        replicates: 3
        datasource: {start: start}
        steps:
          - scale: {factor: 2}
          - keep
        outputs:
          kept: {file_name: kept.json, writer: to_json, loader: from_json}
        treatments:
          large: {factor: 10}
          shifted: {shift: 5}
    """
    project["draw/datasources.py"] = """
        import random
        from druse import data_source

        @data_source
        def start(ctx):
            return random.randint(1, 100)
    """
    project["draw/steps.py"] = """
        from druse import Artifact, pipeline_step

        @pipeline_step()
        def scale(data, ctx, factor=1):
            return data * factor

        @pipeline_step()
        def keep(data, ctx, kept: Artifact, shift=0):
            kept.write(data + shift)
            ctx.metrics.add("value", data + shift)
            return data + shift
    """
    project["draw/outputs.py"] = """
        import json

        def to_json(value):
            return json.dumps(value).encode()

        def from_json(path):
            return json.loads(path.read_text())
    """
    project["total/config.yaml"] = """
        name: total
        replicates: 5
        datasource: {value: "draw#kept"}
        steps: [double]
    """
    project["total/steps.py"] = """
        from druse import pipeline_step

        @pipeline_step()
        def double(data, ctx):
            return data["value"] * 2, {"doubled": data["value"] * 2}
    """
