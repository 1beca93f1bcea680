"""An experiment made ready: conditions, inputs, parts and base signature; nothing has run yet."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from druse import conditions, key
from druse.artifact import Artifact
from druse.conditions import Bare, Condition
from druse.errors import DefinitionError
from druse.fingerprint import Manifest
from druse.fingerprint.values import value_digest
from druse.key import Keys, Part, default_digest
from druse.parameters import EMPTY
from druse.plugins import ArtifactPlugin, SeedPlugin
from druse.step import FunctionStep
from druse.stored import StoredArtifact
from druse_store import Digest, extend

if TYPE_CHECKING:
    from druse.experiment import Experiment
    from druse.treatments import Treatment


@dataclass(frozen=True)
class Input:
    """An artifact that an experiment reads: under which name, from which experiment.

    `stored`: the datasource of one that is read by its path, of the condition and step that it
    names, where the experiment that writes it is part of the same graph.
    """

    alias: str
    artifact: Artifact
    producer: str
    stored: StoredArtifact | None = None

    @property
    def read(self) -> str:
        """What names it in a cell's reads."""
        return f"up:{self.alias}" if self.stored is None else f"stored:{self.stored.key}"


class ParameterTable:
    """For each step's parameters: defaults, and which were given as the default."""

    def __init__(self, steps: list[Any]) -> None:
        self._same: dict[tuple[int, str], Digest] = {}
        self._given: set[tuple[int, str]] = set()
        self._defaults: dict[tuple[int, str], Digest] = {}
        for position, step in enumerate(steps):
            if isinstance(step, FunctionStep):
                self._add(position, step)

    def _add(self, position: int, step: FunctionStep) -> None:
        for parameter in step.taken:
            place = (position, parameter.name)
            default = default_digest(parameter.default)
            if default is None and parameter.default is not EMPTY:
                # Without a canonical form: its code's closure holds the default, which is enough.
                default = _OPAQUE
            if default is not None:
                self._defaults[place] = default
            if parameter.name in step.params:
                self._given.add(place)
                value = step.params[parameter.name]
                if not isinstance(value, Artifact) and value_digest(value, "param") == default:
                    self._same[place] = value_digest(value, "param")

    def same_as_default(self, position: int, name: str) -> Digest | None:
        """The digest of a given parameter that equals its default; else None."""
        return self._same.get((position, name))

    def default(self, position: int, name: str) -> Digest:
        return self._defaults[(position, name)]

    def is_given(self, position: int, name: str) -> bool:
        return (position, name) in self._given

    def knows(self, position: int, name: str) -> bool:
        return (position, name) in self._given or (position, name) in self._defaults


_OPAQUE = Digest.of(b"druse:opaque-default:1\x00")


@dataclass
class Prepared:
    """What a plan, and the workers that carry it out, need to know of an experiment."""

    experiment: Experiment
    name: str
    treatments: list[Treatment]
    replicates: int
    parts: list[Part]
    inputs: tuple[Input, ...]
    stored: tuple[StoredArtifact, ...]
    conditions: dict[str, Condition] = field(default_factory=dict)
    shown: dict[str, dict[str, str]] = field(default_factory=dict)

    def link(self, graph: Collection[str]) -> None:
        """Artifacts of experiments of this graph are read of its cells, not of earlier runs."""
        linked = [each for each in self.stored if each.experiment in graph]
        self.stored = tuple(each for each in self.stored if each not in linked)
        self.inputs += tuple(
            Input(f"stored:{each.key}", Artifact(each.name), each.experiment, each)
            for each in linked
        )

    def shown_in(self, condition: str) -> dict[str, str]:
        """What reads give in all replicates of a condition, for people, as far as is known."""
        known = self.shown.get(condition)
        if known is None:
            known = self.shown[condition] = {}
        return known

    @cached_property
    def base(self) -> Digest:
        """The base signature; one that nothing else has where the code cannot be known."""
        # By places, not by labels: the names of steps are for people, and count for nothing.
        parts = [(str(place), part.digest) for place, part in enumerate(self.parts)]
        if self.uncacheable:
            parts.append(("uncacheable", Digest.of(os.urandom(32))))
        return key.joined("base", parts)

    def step_base(self, position: int) -> Digest:
        """The base signature of what a cacheable step (-1: the datasource) keeps by itself: its
        code and parameters, and the hooks of plugins; not its input, nor a seed."""
        hooks = self.parts[1 + len(self.steps) :]
        digests = [("part", self.parts[position + 1].digest)]
        digests += [(str(place), part.digest) for place, part in enumerate(hooks)]
        return key.joined("step-base", digests)

    @property
    def made(self) -> list[Any]:
        """What makes a cell's data, one after the other: the datasource, then the steps."""
        return [self.experiment.datasource, *self.steps]

    @cached_property
    def step_bases(self) -> list[Digest]:
        """Those of all steps that keep something by themselves."""
        return [
            self.step_base(place - 1)
            for place, step in enumerate(self.made)
            if step.cacheable and not self.parts[place].uncacheable
        ]

    @cached_property
    def start(self) -> Digest:
        """Where the chain of reads begins: the base signature and the root seed."""
        begin = key.joined("start", [("base", self.base)])
        return extend(begin, "seed", value_digest(self.seed.root, "seed"))

    @cached_property
    def bare(self) -> Bare:
        """The context before any condition."""
        return Bare(self.experiment.initial_ctx)

    @cached_property
    def table(self) -> ParameterTable:
        return ParameterTable(self.steps)

    @property
    def steps(self) -> list[Any]:
        return self.experiment.pipeline.steps

    @property
    def things(self) -> list[Any]:
        """The datasources and the steps."""
        sources = key.named_sources(self.experiment.datasource)
        return [*(source for _, source in sources), *self.steps]

    @cached_property
    def seed(self) -> SeedPlugin:
        return self.experiment.seed_plugin

    @property
    def artifact_plugin(self) -> ArtifactPlugin:
        return self.experiment.artifact_plugin

    @cached_property
    def step_names(self) -> list[str]:
        return [type(step).__name__ for step in self.steps]

    def part_name(self, label: str) -> str:
        """A part as people know it: `step 2` by its function's or class's name."""
        kind, _, place = label.partition(" ")
        if label == "step -1":
            return "the datasource"
        if kind != "step" or not place.isdigit() or int(place) >= len(self.steps):
            return label
        step = self.steps[int(place)]
        return str(getattr(getattr(step, "fn", None), "__name__", type(step).__name__))

    @cached_property
    def uncacheable(self) -> str | None:
        """Why no cell of this experiment can be looked up; None if they can."""
        for part in self.parts:
            if part.uncacheable:
                return f"{self.part_name(part.label)}: {part.uncacheable}"
        return None

    @cached_property
    def code(self) -> frozenset[str] | None:
        """The first names of the functions and classes that count; None where all may."""
        components = [component for part in self.parts for _, component in part.components]
        if any(component.kind == "version" for component in components):
            return None
        return frozenset(c.name.partition(".")[0] for c in components)

    @cached_property
    def volatile(self) -> str | None:
        """The first part that has to run each time."""
        return next((type(thing).__name__ for thing in self.things if thing.volatile), None)

    @cached_property
    def manifest(self) -> bytes:
        """The components of the base signature, as a blob."""
        return Manifest.of(c for part in self.parts for c in part.components).encode()

    @property
    def warnings(self) -> list[str]:
        return [warning for part in self.parts for warning in part.warnings]


def prepare(
    experiment: Experiment,
    keys: Keys,
    treatments: list[Treatment],
    replicates: int,
) -> Prepared:
    """Raises DefinitionError, Unhashable."""
    from druse import names

    names.check_distinct((t.name for t in treatments), "treatments")
    parts = [keys.source(experiment.datasource)]
    for position, step in enumerate(experiment.pipeline.steps):
        parts.append(keys.step(step, f"step {position}"))
    parts += keys.hooks(experiment.plugins)
    prepared = Prepared(
        experiment=experiment,
        name=experiment.folder_name,
        treatments=treatments,
        replicates=replicates,
        parts=parts,
        inputs=_inputs(experiment),
        stored=_stored(experiment),
    )
    prepared.conditions = conditions.all_of(
        treatments, experiment.initial_ctx, experiment.seed_plugin
    )
    return prepared


def _inputs(experiment: Experiment) -> tuple[Input, ...]:
    found = []
    for alias, source in key.named_sources(experiment.datasource):
        if isinstance(source, Artifact):
            if source._producer is None:
                raise DefinitionError(
                    f"Artifact '{source.name}' has no producing experiment: the experiment "
                    f"{experiment.name!r} reads it, and none that lists it in its outputs is known"
                )
            found.append(Input(alias, source, source._producer.folder_name))
    return tuple(found)


def _stored(experiment: Experiment) -> tuple[StoredArtifact, ...]:
    sources = key.named_sources(experiment.datasource)
    return tuple(source for _, source in sources if isinstance(source, StoredArtifact))
