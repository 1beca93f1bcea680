"""Graphs: experiments chained by the artifacts that they read of each other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from druse import names
from druse.artifact import Artifact
from druse.background import in_thread
from druse.errors import DefinitionError
from druse.experiment import Experiment, check_replicates, listed, refuse_in_loop
from druse.key import named_sources
from druse.listener import Listener
from druse.plan import State
from druse.session import Wanted
from druse.stored import StoredArtifact

if TYPE_CHECKING:
    from druse.control import Wishes
    from druse.plan import Plan
    from druse.progress import Summary
    from druse.result import Result
    from druse.treatments import Treatment

ProgressCallback = Callable[[str, str], Awaitable[None]]


class ExperimentGraph:
    """A directed acyclic graph of experiments."""

    def __init__(self, *experiments: Experiment, name: str | None = None) -> None:
        self.name = name
        self._experiments: dict[str, Experiment] = {}
        self._upstream: dict[str, list[str]] = {}
        if experiments:
            built = type(self).from_experiments(list(experiments))
            self._experiments, self._upstream = built._experiments, built._upstream
            self.name = name or built.name

    @classmethod
    def from_experiments(cls, experiments: list[Experiment]) -> ExperimentGraph:
        """The graph of experiments by the artifacts that they read.

        Raises DefinitionError for one without a name, an artifact that none of them writes, a
        cycle, or experiments that are connected to no others.
        """
        graph = cls()
        producers: dict[int, Experiment] = {}
        for experiment in experiments:
            graph.add_experiment(experiment)
            for artifact in experiment.outputs.values():
                if producers.setdefault(id(artifact), experiment) is not experiment:
                    raise DefinitionError(
                        f"Artifact '{artifact.name}' produced by multiple experiments"
                    )
        for experiment in experiments:
            for artifact in _artifacts_of(experiment):
                producer = producers.get(id(artifact))
                if producer is None:
                    raise DefinitionError(
                        f"Artifact '{artifact.name}' has no producing experiment: "
                        f"{experiment.name} reads it, and no experiment of the graph lists it in "
                        "its outputs"
                    )
                graph.add_dependency(experiment, producer)
            for name in graph._reads(experiment):
                graph.add_dependency(experiment, graph._experiments[name])
        graph.order()
        graph._refuse_unused()
        last = [name for name in graph._experiments if not graph._downstream(name)]
        graph.name = last[0] if len(last) == 1 else "ExperimentGraph"
        return graph

    @classmethod
    def from_yaml(cls, config: str | Path) -> ExperimentGraph:
        """The graph of a config.yaml and all that it refers to, or of a folder of experiments.

        Raises ConfigError, DefinitionError.
        """
        from druse import config as configs

        return cls.from_experiments(configs.load_all(Path(config)))

    @classmethod
    def visualize_from_yaml(cls, config: str | Path) -> None:
        """Prints what depends on what, and the order of execution."""
        graph = cls.from_yaml(config)
        print("Dependencies:")  # noqa: T201 - printing is what it is for
        for name in graph.order():
            for upstream in graph._upstream[name]:
                print(f"{upstream} -> {name}")  # noqa: T201
        print("Execution order:", " -> ".join(graph.order()))  # noqa: T201

    # --- building ------------------------------------------------------------------------------

    def add_experiment(self, experiment: Experiment) -> None:
        """Adds an experiment. Raises DefinitionError without a name, or for one that is there."""
        if not experiment.name:
            raise DefinitionError("Experiment must have a name")
        known = self._experiments.get(experiment.name)
        if known is not None and known is not experiment:
            raise DefinitionError(f"two experiments are called {experiment.name!r}")
        names.check_distinct({*self._experiments, experiment.name}, "experiments")
        self._experiments[experiment.name] = experiment
        self._upstream.setdefault(experiment.name, [])

    def add_dependency(self, downstream: Experiment, upstream: Experiment) -> None:
        """Says that one experiment runs after another. Both have to be added before."""
        if not downstream.name or not upstream.name:
            raise DefinitionError("Both experiments must have a name")
        if downstream.name not in self._experiments or upstream.name not in self._experiments:
            raise DefinitionError("Experiments must be added to the graph first")
        if upstream.name not in self._upstream[downstream.name]:
            self._upstream[downstream.name].append(upstream.name)

    @property
    def experiments(self) -> dict[str, Experiment]:
        """The experiments by name, upstream first."""
        return {name: self._experiments[name] for name in self.order()}

    def order(self) -> list[str]:
        """The names, upstream first. Raises DefinitionError for a cycle."""
        before = {
            name: {*self._upstream[name], *self._reads(experiment)}
            for name, experiment in self._experiments.items()
        }
        sorter = TopologicalSorter({name: sorted(names) for name, names in before.items()})
        try:
            return list(sorter.static_order())
        except CycleError as error:
            circle = " -> ".join(reversed(error.args[1]))
            raise DefinitionError(f"Experiment graph contains cycles: {circle}") from error

    def _reads(self, experiment: Experiment) -> list[str]:
        """The experiments of the graph that this one reads artifacts of."""
        found: list[str] = []
        for _, source in named_sources(experiment.datasource):
            if isinstance(source, Artifact) and source._producer is not None:
                found.append(source._producer.folder_name)
            elif isinstance(source, StoredArtifact):
                found.append(source.experiment)
        return [name for name in dict.fromkeys(found) if name in self._experiments]

    def _downstream(self, name: str) -> list[str]:
        return [other for other, upstream in self._upstream.items() if name in upstream]

    def _refuse_unused(self) -> None:
        """Raises DefinitionError for experiments apart from the largest connected group."""
        groups: list[set[str]] = []
        left = set(self._experiments)
        while left:
            group, waiting = set(), [min(left)]
            while waiting:
                name = waiting.pop()
                if name not in group:
                    group.add(name)
                    waiting += [*self._upstream[name], *self._downstream(name)]
            groups.append(group)
            left -= group
        if len(groups) > 1:
            largest = max(groups, key=len)
            unused = sorted(name for group in groups if group is not largest for name in group)
            raise DefinitionError(f"Unused experiments detected: {', '.join(unused)}")

    # --- running -------------------------------------------------------------------------------

    def treatments_of(self, name: str) -> list[Treatment]:
        """An experiment's treatments: those of its upstream by name, then its own."""
        merged: dict[str, Treatment] = {}
        for upstream in self._upstream[name]:
            merged.update({t.name: t for t in self.treatments_of(upstream)})
        merged.update({t.name: t for t in self._experiments[name].treatments})
        return list(merged.values())

    def wanted(
        self, treatments: list[Treatment] | None = None, replicates: int | None = None
    ) -> list[Wanted]:
        """What a run of the graph has to compute, upstream first."""
        check_replicates(replicates)
        asked = None if treatments is None else listed(treatments)
        return [
            Wanted(
                experiment,
                self.treatments_of(name) if asked is None else asked,
                max(1, replicates or experiment.replicates),
                after=tuple(set(self._upstream[name]) - set(self._reads(experiment))),
            )
            for name, experiment in self.experiments.items()
        ]

    def run(
        self,
        treatments: list[Treatment] | None = None,
        replicates: int | None = None,
        strategy: str | None = None,
        **wishes: Unpack[Wishes],
    ) -> dict[str, Result]:
        """Runs all experiments; `wishes`: see `Control`.

        In a running event loop (Jupyter), `await arun()` instead.
        """
        refuse_in_loop("graph")
        return self._run(treatments, replicates, strategy, Listener(), wishes)

    async def arun(
        self,
        treatments: list[Treatment] | None = None,
        replicates: int | None = None,
        strategy: str | None = None,
        progress_callback: ProgressCallback | None = None,
        **wishes: Unpack[Wishes],
    ) -> dict[str, Result]:
        """As `run`, in a thread; stops when it is cancelled.

        `progress_callback` is awaited with ("running", name) and ("completed", name).
        """
        listener = Listener()
        if progress_callback is not None:
            listener = _Callback(
                progress_callback,
                asyncio.get_running_loop(),
                self.wanted(treatments, replicates),
            )
        return await in_thread(self._run, treatments, replicates, strategy, listener, wishes)

    def _run(
        self,
        treatments: list[Treatment] | None,
        replicates: int | None,
        strategy: str | None,
        listener: Listener,
        wishes: Wishes,
    ) -> dict[str, Result]:
        from druse import api

        chosen = strategy or next(iter({e.strategy for e in self._experiments.values()}), "rerun")
        wanted = self.wanted(treatments, replicates)
        for each in wanted:
            each.experiment.validate()
            each.experiment.check_hypotheses(each.treatments)
        return api.run(wanted, strategy=chosen, listener=listener, **wishes)


class _Callback(Listener):
    """Tells a coroutine function about experiments, from the thread of the run."""

    def __init__(
        self,
        callback: ProgressCallback,
        loop: asyncio.AbstractEventLoop,
        wanted: list[Wanted],
    ) -> None:
        self._callback = callback
        self._wanted = wanted
        self._loop = loop
        self._begun: set[str] = set()

    def planned(self, plan: Plan) -> None:
        waiting = {each.experiment.folder_name for each in self._wanted if each.after}
        for name, prepared in plan.prepared.items():
            is_due = any(plan.decisions[cell].state is not State.HIT for cell in plan.cells(name))
            if is_due and not prepared.inputs and name not in waiting:
                self._tell("running", name)

    def started(self, cell: object) -> None:
        self._tell("running", getattr(cell, "experiment", ""))

    def ended(self, summary: Summary) -> None:
        if summary.executed or summary.failed or summary.blocked:
            self._tell("running", summary.name)
        self._tell("completed", summary.name)

    def _tell(self, what: str, name: str) -> None:
        if what == "running" and name in self._begun:
            return
        self._begun.add(name)
        asyncio.run_coroutine_threadsafe(self._callback(what, name), self._loop).result()  # type: ignore[arg-type]


def _artifacts_of(experiment: Experiment) -> list[Artifact]:
    return [s for _, s in named_sources(experiment.datasource) if isinstance(s, Artifact)]
