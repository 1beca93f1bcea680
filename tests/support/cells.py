"""Experiments for tests of executors: steps that say where they ran, wait, draw, fail or die."""

from __future__ import annotations

import asyncio
import os
import pickle
import random
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from druse import (
    Artifact,
    BasePlugin,
    Experiment,
    ExperimentInput,
    Pipeline,
    PipelineStep,
    Treatment,
    data_source,
    pipeline_step,
)


@data_source
def one(ctx):
    return 1


@pipeline_step()
def where(data, ctx, k=0):
    """Which process and thread it ran in, and the value."""
    ctx.record("pid", os.getpid())
    ctx.record("thread", threading.get_ident())
    ctx.record("value", data + k)
    return data + k


@pipeline_step()
def draw(data, ctx, k=0):
    time.sleep(0.002)
    ctx.record("drawn", [random.random(), float(np.random.rand()), k])
    return data


@pipeline_step()
async def draw_between(data, ctx, k=0):
    first = random.random()
    await asyncio.sleep(0.002 * (1 + ctx.get("replicate") % 3))
    ctx.record("drawn", [first, random.random(), float(np.random.rand()), k])
    return data


@pipeline_step()
def together(data, ctx, folder="", count=2):
    """Waits until as many cells are in it at once."""
    name = f"{ctx.get('condition')}-{ctx.get('replicate')}"
    Path(folder, name).write_text("")
    until = time.monotonic() + 20
    while len(list(Path(folder).iterdir())) < count and time.monotonic() < until:
        time.sleep(0.005)
    ctx.record("met", len(list(Path(folder).iterdir())) >= count)
    return data


@pipeline_step()
def note(data, ctx, folder="", level=None):
    """Leaves a file that says that it ran."""
    with Path(folder, f"{ctx.get('replicate')}-{os.urandom(4).hex()}").open("w") as file:
        file.write(str(level))
    time.sleep(0.05)
    ctx.record("level", level)
    return data


@pipeline_step()
def fail(data, ctx, at=()):
    if ctx.get("replicate") in at:
        raise Odd("went wrong", ctx.get("replicate"))
    ctx.record("value", ctx.get("replicate"))
    return data


@pipeline_step()
def die(data, ctx, at=(), how="kill", once=""):
    if ctx.get("replicate") in at and not (once and Path(once).exists()):
        if once:
            Path(once).write_text("")
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(3) if how == "exit" else exit(3)
    ctx.record("value", ctx.get("replicate"))
    return data


@pipeline_step()
def sleep(data, ctx, seconds=0.0, at=(0,)):
    if ctx.get("replicate") in at:
        time.sleep(seconds)
    ctx.record("value", 1)
    return data


@pipeline_step()
async def sleep_well(data, ctx, seconds=0.0, at=(0,)):
    if ctx.get("replicate") in at:
        await asyncio.sleep(seconds)
    ctx.record("value", 1)
    return data


class Odd(Exception):
    """An exception that cannot be unpickled."""

    def __init__(self, text, number):
        super().__init__(f"{text}: {number}")


class Model:
    def __init__(self, weight):
        self.weight = weight


def dump(value):
    return pickle.dumps(value)


def load(path):
    return pickle.loads(path.read_bytes())


@pipeline_step()
def write(data, ctx, out: Artifact, size=10):
    out.write(Model(bytes([ctx.get("replicate") % 256]) * size))
    return data


@pipeline_step()
def read(data, ctx):
    model = data["model"]
    ctx.record("sum", len(model.weight) + sum(model.weight[:10]))
    return data


class Resource(PipelineStep):
    """A step with `setup` and `teardown`, which leave lines in a file."""

    def __init__(self, log: str, fails: bool = False) -> None:
        self.log = log
        self.fails = fails

    def setup(self, ctx):
        self._say("setup")
        if self.fails:
            raise RuntimeError("no resource to be had")

    def teardown(self, ctx):
        self._say("teardown")

    def _say(self, what):
        with Path(self.log).open("a") as file:
            file.write(f"{what} {os.getpid()}\n")

    def __call__(self, data, ctx):
        ctx.record("value", 1)
        return data

    @property
    def params(self):
        return {"fails": self.fails}


class Hook(BasePlugin):
    def before_replicate(self, experiment, ctx):
        ctx.record("hooked", experiment.name)


def experiment(*steps: Any, plugin: Any = None, name: str = "e", **more: Any) -> Experiment:
    plugins = [plugin] if plugin is not None else []
    more.setdefault("datasource", one())
    plugins += more.pop("plugins", [])
    return Experiment(pipeline=Pipeline(list(steps)), name=name, plugins=plugins, **more)


def levels(count: int, key: str = "k") -> list[Treatment]:
    return [Treatment(f"t{number}", {key: number}) for number in range(1, count + 1)]


def metrics(result: Any) -> dict[str, Any]:
    found = {"baseline": result.metrics.baseline.metrics}
    found.update({name: each.metrics for name, each in result.metrics.treatments.items()})
    return found


def chain(size: int, replicates: int, plugin: Any = None) -> list[Experiment]:
    """Two experiments: pickled models of `size` bytes, and what reads them."""
    model = Artifact("model.pkl", loader=load, writer=dump)
    first = experiment(
        write(out=model, size=size),
        name="models",
        outputs=[model],
        replicates=replicates,
        plugin=plugin,
    )
    second = experiment(
        read(),
        name="sums",
        datasource=ExperimentInput(model=model),
        replicates=replicates,
        plugin=plugin,
    )
    return [first, second]


@pipeline_step()
def flaky(data, ctx, folder="", until=1):
    """Fails as often, for each replicate."""
    path = Path(folder, f"tries-{ctx.get('replicate')}")
    tries = int(path.read_text()) if path.exists() else 0
    path.write_text(str(tries + 1))
    if tries < until:
        raise RuntimeError("not yet")
    ctx.record("tries", tries + 1)
    return data


class _Own:
    def __init__(self):
        self.generator = random.Random()


own = _Own()


def seed_own(seed):
    own.generator.seed(seed)


@pipeline_step()
def draw_own(data, ctx):
    time.sleep(0.002)
    ctx.record("drawn", own.generator.random())
    return data


@pipeline_step()
def start_and_wait(data, ctx, pid_file=""):
    child = subprocess.Popen(["sleep", "60"])
    Path(pid_file).write_text(str(child.pid))
    child.wait()
    return data


class Hold(PipelineStep):
    """A step that holds something."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def __call__(self, data, ctx):
        return data

    version = 1


@pipeline_step()
def entropy(data, ctx):
    ctx.record("drawn", float(np.random.default_rng().random()))
    return data


@pipeline_step(cacheable=True)
def costly(data, ctx):
    time.sleep(0.02)
    ctx.record("cost", data + random.random())
    return {"data": data}["data"]


def _meet(folder, level, count):
    place = Path(folder, "meeting")
    place.mkdir(exist_ok=True)
    (place / str(level)).write_text("")
    until = time.monotonic() + 20
    while len(list(place.iterdir())) < count and time.monotonic() < until:
        time.sleep(0.005)
    return len(list(place.iterdir())) >= count


@pipeline_step()
def meet_by_parameter(data, ctx, folder="", count=2, level=None):
    """Waits until cells with as many levels are in it at once."""
    ctx.record("met", _meet(folder, level, count))
    return data


@pipeline_step()
def meet_by_context(data, ctx, folder="", count=2):
    ctx.record("met", _meet(folder, ctx.get("level"), count))
    return data


@pipeline_step()
def branch(data, ctx, folder=""):
    """Reads a second value only if the first one says so."""
    said, depth = "flat", 0
    if ctx.get("kind") == "deep":
        depth = ctx.get("depth")
        said = f"deep {depth}"
    Path(folder, os.urandom(4).hex()).write_text(said)
    time.sleep(0.05)
    ctx.record("depth", depth)
    return data


crowd_now = threading.Semaphore(1000)


@pipeline_step(version=1)
def crowd(data, ctx):
    """How many were in it at most while this cell was."""
    crowd_now.acquire()
    most = 0
    for _ in range(10):
        most = max(most, 1000 - crowd_now._value)
        time.sleep(0.005)
    crowd_now.release()
    ctx.record("most", most)
    return data


@pipeline_step(cacheable=True)
def costly_note(data, ctx, folder=""):
    """Leaves a file that says that it ran, and takes its time."""
    Path(folder, f"ran-{os.urandom(4).hex()}").write_text("")
    time.sleep(0.1)
    ctx.record("grade", ctx.get("grade", 0))
    return data


@pipeline_step(cacheable=True)
def quick_note(data, ctx, folder=""):
    """As `costly_note`, and is over at once."""
    Path(folder, f"ran-{os.urandom(8).hex()}").write_text("")
    return data + ctx.get("grade", 0)


def _walk(ctx, tree):
    path = []
    while tree is not None:
        key, no, yes = tree
        value = ctx.get(key)
        if [key, value] not in path:
            path.append([key, value])
        tree = yes if value else no
    return path


@pipeline_step()
def walk(data, ctx, folder="", tree=None):
    """Reads as a tree of keys says, and leaves a file that says that it ran."""
    Path(folder, os.urandom(4).hex()).write_text("")
    path = _walk(ctx, tree)
    time.sleep(0.004)
    ctx.record("path", path)
    return data


@pipeline_step()
async def walk_slowly(data, ctx, folder="", tree=None):
    Path(folder, os.urandom(4).hex()).write_text("")
    await asyncio.sleep(0.002)
    path = _walk(ctx, tree)
    await asyncio.sleep(0.002)
    ctx.record("path", path)
    return data
