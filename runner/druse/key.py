"""Base signatures: everything that counts for a cell before it runs, as named components.

The base signature covers code (the closures of the datasource, the steps, the writers and loaders
that they use, the hooks of plugins), the parameters that steps were given, and the root seed. It
is the same for all cells of an experiment; what a cell reads besides leads from there to its
signature (`reads`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from druse.artifact import Artifact, default_loader, default_writer
from druse.datasource import DataSource, ExperimentInput, FunctionSource
from druse.declare import EnvVar, InputFile
from druse.fingerprint import Closure, Component, Fingerprinter, encoding
from druse.fingerprint.values import value_digest
from druse.plugins import BUILT_IN, BasePlugin, SeedPlugin
from druse.reads import ABSENT
from druse.shown import lasting
from druse.step import FunctionStep, PipelineStep
from druse_store import Digest

if TYPE_CHECKING:
    from druse.places import Files

ALGORITHM = 1
_HOOKS = ("before_replicate", "before_step", "after_step")


def algorithm() -> str:
    """Which algorithm makes keys: the number of this module's, and of the fingerprints'."""
    return f"{ALGORITHM}.{encoding.ALGORITHM}"


def joined(kind: str, parts: list[tuple[str, Digest]]) -> Digest:
    """One digest of labelled digests, in their order; one of another kind is another one."""
    hasher = blake3(f"druse:{kind}:{ALGORITHM}\x00".encode())
    for label, digest in parts:
        text = label.encode("utf-8", "surrogatepass")
        hasher.update(len(text).to_bytes(4, "little") + text + digest)
    return Digest(hasher.digest())


@dataclass
class Part:
    """One step or the datasource (or a hook): what of it counts, and why it may not be kept."""

    label: str
    digests: list[tuple[str, Digest]] = field(default_factory=list)
    components: list[tuple[str, Component]] = field(default_factory=list)
    uncacheable: str | None = None
    warnings: list[str] = field(default_factory=list)
    blind_spots: list[str] = field(default_factory=list)

    @property
    def digest(self) -> Digest:
        return joined("step", self.digests)

    def add_value(
        self, name: str, digest: Digest, kind: str = "parameter", detail: str = ""
    ) -> None:
        self.digests.append((name, digest))
        shown_name = name.removeprefix("param ").removeprefix("file ").removeprefix("environment ")
        component = Component(shown_name, kind, digest, None, None, detail)
        self.components.append((self.label, component))

    def add_closure(self, name: str, closure: Closure) -> None:
        self.digests.append((name, closure.digest))
        self.components += [(self.label, component) for component in closure.components]
        self.warnings += closure.warnings
        self.blind_spots += closure.blind_spots
        if closure.uncacheable and self.uncacheable is None:
            self.uncacheable = closure.uncacheable


class Keys:
    """Makes the parts of experiments' keys; one for a run, so that code is hashed once."""

    def __init__(self, files: Files, packages: str = "used") -> None:
        self.packages = packages
        self.fingerprinter = Fingerprinter(packages=packages)
        self._files = files

    # --- steps ---------------------------------------------------------------------------------

    def step(self, step: PipelineStep, label: str) -> Part:
        part = Part(label)
        self._add_code(part, step)
        name = type(step).__name__
        if isinstance(step, FunctionStep):
            self._add_given(part, step, name)
        else:
            part.add_value("params", value_digest(step.params, f"{name}.params"))
        self._add_declared(part, step.depends_on)
        return part

    def _add_code(self, part: Part, thing: PipelineStep | DataSource) -> None:
        version, override = thing.version, None
        if isinstance(thing, PipelineStep) and type(thing).step_hash is not PipelineStep.step_hash:
            override = thing.step_hash
        if version is not None:
            # The name belongs to it: two steps may have the same version.
            told = (_name_of(thing), version)
            part.add_value("version", value_digest(told, "version"), "version", lasting(version))
            return
        if override is not None:
            part.add_value("step_hash", value_digest(str(override), "step_hash"), "version")
            return
        target: Any = thing.fn if isinstance(thing, FunctionStep | FunctionSource) else thing
        self.add_closure(part, "code", target, thing.packages)

    def add_closure(self, part: Part, name: str, target: Any, packages: str | None = None) -> None:
        """Adds the closure of a function, class or instance."""
        part.add_closure(name, self.fingerprinter.closure(target, packages=packages))

    def _add_given(self, part: Part, step: FunctionStep, name: str) -> None:
        defaults = {p.name: p.default for p in step.taken}
        for key, value in sorted(step.params.items()):
            path = f'{name}.params["{key}"]'
            if isinstance(value, Artifact):
                part.add_value(f"artifact {key}", value_digest(value.name, path), "artifact")
                if value.writer is not default_writer:
                    self.add_closure(part, f"writer {key}", value.writer)
                continue
            digest = value_digest(value, path)
            if digest != default_digest(defaults[key]):
                part.add_value(f"param {key}", digest, detail=lasting(value))

    def _add_declared(self, part: Part, declared: Any) -> None:
        for item in declared:
            if isinstance(item, InputFile):
                path = Path(item.path)
                part.add_value(f"file {path.name}", self._files.tree_digest(str(path)), "file")
            elif isinstance(item, EnvVar):
                value = os.environ.get(item.name)
                digest = ABSENT if value is None else value_digest(value, item.name)
                part.add_value(f"environment {item.name}", digest, "environment")
            else:
                self.add_closure(part, "depends_on", item)

    # --- datasources ---------------------------------------------------------------------------

    def source(self, source: DataSource) -> Part:
        part = Part("datasource")
        for name, each in named_sources(source):
            self._add_source(part, name, each)
        return part

    def _add_source(self, part: Part, name: str, source: DataSource) -> None:
        part.digests.append((f"input {name}", value_digest(name, "input")))
        if isinstance(source, Artifact):
            if source.loader is not default_loader:
                self.add_closure(part, f"loader {name}", source.loader)
            return
        self._add_code(part, source)
        if isinstance(source, FunctionSource):
            for key, value in sorted(source.params.items()):
                path = f'{type(source).__name__}.params["{key}"]'
                part.add_value(f"param {key}", value_digest(value, path), detail=lasting(value))
        self._add_declared(part, source.depends_on)

    # --- the rest ------------------------------------------------------------------------------

    def hooks(self, plugins: list[BasePlugin]) -> Iterator[Part]:
        """A part for each plugin that can change what a cell computes."""
        for plugin in plugins:
            kind = type(plugin)
            if isinstance(plugin, SeedPlugin):
                yield self._seeding(plugin)
            elif kind not in BUILT_IN and not plugin.observes_only and _takes_part(kind):
                part = Part(f"plugin {kind.__name__}")
                self.add_closure(part, "code", plugin)
                yield part

    def _seeding(self, plugin: SeedPlugin) -> Part:
        part = Part("seeds")
        part.add_value("auto_seed", value_digest(plugin.auto_seed, "auto_seed"))
        if plugin.seed_fn is not None:
            self.add_closure(part, "seed_fn", plugin.seed_fn)
        if _takes_part(type(plugin)) and type(plugin) is not SeedPlugin:
            self.add_closure(part, "hooks", type(plugin))
        return part


def _name_of(thing: PipelineStep | DataSource) -> str:
    """A step's or datasource's name where its code does not tell it from others."""
    target: Any = thing.fn if isinstance(thing, FunctionStep | FunctionSource) else type(thing)
    module = sys.modules.get(target.__module__)
    spec = getattr(module, "__spec__", None)
    name = target.__module__ if spec is None else spec.name
    if name == "__main__":  # as it would be imported
        name = Path(getattr(module, "__file__", None) or name).stem
    return f"{name}.{target.__qualname__}"


def named_sources(source: DataSource) -> list[tuple[str, DataSource]]:
    """The inputs of a datasource by their names; one that is alone has the name ""."""
    if isinstance(source, ExperimentInput):
        return list(source._inputs.items())
    return [("", source)]


def default_digest(value: Any) -> Digest | None:
    """The digest of a parameter's default; None for one that has none, or no canonical form."""
    from druse.errors import Unhashable
    from druse.parameters import EMPTY

    if value is EMPTY:
        return None
    try:
        return value_digest(value, "default")
    except Unhashable:
        return None


def _takes_part(kind: type[BasePlugin]) -> bool:
    return any(getattr(kind, hook) is not getattr(BasePlugin, hook) for hook in _HOOKS)


def step_digest(step: PipelineStep) -> Digest:
    """The key of a step alone: its code's closure and what it was given."""
    from druse.places import Files

    return Keys(Files(Path.cwd(), [])).step(step, "step").digest
