"""One experiment, `exp`, whose pipeline is written from a few lines."""

from __future__ import annotations

from textwrap import dedent, indent
from typing import Any

from support.forked import Forked
from support.project import Done, Project

SOURCE = """
    from druse import data_source

    @data_source
    def source(ctx):
        return 1
"""

DRAWING = """
    import random
    from druse import pipeline_step

    @pipeline_step()
    def first(data, ctx):
        ctx.metrics.add("first", random.random())
        return data

    @pipeline_step()
    def second(data, ctx, k=0):
        ctx.metrics.add("second", random.random())
        return data
"""


CHAIN = {
    "up/config.yaml": """
        name: up
        datasource: {start: start}
        steps: [make]
        outputs: {out: {file_name: out.json, writer: to_json, loader: from_json}}
    """,
    "up/datasources.py": """
        from druse import data_source

        @data_source
        def start(ctx):
            return 3
    """,
    "up/outputs.py": """
        import json

        def to_json(value):
            return json.dumps(value).encode()

        def from_json(path):
            return json.loads(path.read_text())
    """,
    "up/steps.py": """
        from druse import Artifact, pipeline_step

        @pipeline_step()
        def make(data, ctx, out: Artifact):
            out.write(data * 2)
            return data
    """,
    "down/config.yaml": "{name: down, datasource: {value: 'up#out'}, steps: [use]}",
    "down/steps.py": """
        from druse import pipeline_step

        @pipeline_step()
        def use(data, ctx):
            return data, {"value": data["value"]}
    """,
}


def chain(project: Forked) -> None:
    """Two experiments: `up` writes an artifact, `down` reads it."""
    for name, text in CHAIN.items():
        project[name] = text


class Exp:
    """`exp.step("return data, {'value': 1}")`, then `exp.hits()` or `exp.value()`."""

    def __init__(self, project: Forked) -> None:
        self.project = project
        self.root = project.root
        self.druse = project.druse
        self.python = project.python
        self.replace = project.replace
        self.how = project.how
        self["exp/datasources.py"] = SOURCE

    def __setitem__(self, name: str, text: str) -> None:
        self.project[name] = text

    def __getitem__(self, name: str) -> str:
        return self.project[name]

    # --- what there is -------------------------------------------------------------------------

    def config(self, **parts: str) -> None:
        """The configuration: `steps="[step]"`, `treatments="{t: {k: 1}}"`, and so on, as YAML."""
        values = {"name": "exp", "datasource": "{data: source}", "steps": "[step]", **parts}
        self["exp/config.yaml"] = "".join(f"{key}: {value}\n" for key, value in values.items())

    def steps(self, text: str, names: str = "[step]", **parts: str) -> None:
        """steps.py, and a configuration with the steps of these names."""
        self["exp/steps.py"] = text
        self.config(steps=names, **parts)

    def step(
        self, body: str, before: str = "", takes: str = "", flags: str = "", **parts: str
    ) -> None:
        """A pipeline of one step."""
        head = f"from druse import *\n{dedent(before)}\n\n@pipeline_step({flags})\n"
        head += f"def step(data, ctx{', ' + takes if takes else ''}):\n"
        self.steps(head + indent(dedent(body), "    ") + "\n", **{"names": "[step]", **parts})

    def slow(self, *arguments: str, env: dict[str, str] | None = None) -> Done:
        """A command in a process of its own from its start."""
        return Project.druse(self.project, *arguments, env=env)

    # --- what a run does -----------------------------------------------------------------------

    def run_one(self, *arguments: str, env: dict[str, str] | None = None) -> dict[str, Any]:
        """What a run says of the experiment."""
        return self.project.run("exp", *arguments, env=env)["exp"]

    def run_one_of(self, name: str) -> dict[str, Any]:
        """The same where the experiment has another name."""
        return self.project.run("exp")[name]

    def hits(self, *arguments: str, env: dict[str, str] | None = None) -> bool:
        """Whether a run takes every cell from the store."""
        found = self.run_one(*arguments, env=env)
        return (found["run"], found["failed"], found["blocked"]) == (0, 0, 0)

    def misses(self, *arguments: str, env: dict[str, str] | None = None) -> bool:
        """Whether a run executes every cell, each with a result."""
        found = self.run_one(*arguments, env=env)
        return found["run"] > 0 and (found["hit"], found["failed"]) == (0, 0)

    def value(self, condition: str = "baseline", name: str = "value") -> Any:
        """A metric of the first replicate, after a run."""
        return self.run_one()["metrics"][condition][name][0]

    def log(self, name: str, *, reset: bool = False) -> int:
        """How often something wrote an x to its log; `reset` begins it anew."""
        path = self.root / f"{name}.log"
        count = len(path.read_text()) if path.exists() else 0
        if reset:
            path.unlink()
        return count


def counts(project: Forked, *arguments: str) -> tuple[int, int]:
    found = project.run("down", *arguments)
    return found["up"]["run"], found["down"]["run"]
