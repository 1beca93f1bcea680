"""What a plan and a run have in common: experiments made ready, looked up in one store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from druse import project, retiring
from druse.collecting import uncollected
from druse.errors import ArtifactNotFound
from druse.glance import Glance
from druse.key import Keys
from druse.ledger import Ledger
from druse.lookup import Lookup
from druse.places import Files, project_root
from druse.plan import Decider, Options, Plan, UpstreamOfPlan
from druse.prepared import Prepared, prepare
from druse.stored import LatestArtifacts, StoredArtifact
from druse_store import ArtifactRef, Digest, Store

if TYPE_CHECKING:
    from druse.experiment import Experiment
    from druse.hypotheses import Hypothesis
    from druse.treatments import Treatment


@dataclass(frozen=True)
class Wanted:
    """One experiment of a graph, with the treatments, replicates and hypotheses that are due.

    `after`: experiments that have to be over before its first cell begins, though it reads nothing
    of theirs.
    """

    experiment: Experiment
    treatments: list[Treatment]
    replicates: int
    hypotheses: list[Hypothesis] | None = None
    after: tuple[str, ...] = ()


@contextmanager
def shown_as_due(wanted: list[Wanted]) -> Iterator[None]:
    """Within the block, experiments show what is due as theirs: plugins look for it there."""
    for each in wanted:
        each.experiment._due = each
    try:
        yield
    finally:
        for each in wanted:
            each.experiment._due = None


@dataclass
class Session:
    """A graph, in an order in which it can run, over one store.

    `packages` and `views` are what the project's druse.yaml says, unless they are given.
    """

    store: Store
    wanted: list[Wanted]
    options: Options
    packages: str | None = None
    views: str | None = None
    fresh: set[Digest] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._latest: dict[str, LatestArtifacts] = {}
        self._stored: dict[tuple[str, int], ArtifactRef | None] = {}
        source = self.wanted[-1].experiment.source_folder if self.wanted else Path.cwd()
        said = project.load(source)
        self.views = self.views or said.views
        self.packages = self.packages or said.packages
        self.retention = retiring.policy_of(said)
        self.files = Files(project_root(source), [self.store.path])
        self.keys = Keys(self.files, self.packages)
        with uncollected():
            prepared = [
                prepare(each.experiment, self.keys, each.treatments, each.replicates)
                for each in self.wanted
            ]
            for each in prepared:
                each.link({other.name for other in prepared})
        self.options.control.require_known(thing for each in prepared for thing in each.things)
        self.plan = Plan(prepared)
        self.upstream = UpstreamOfPlan(self.plan, self._find_latest, self._find_stored)
        self.glance = Glance(self.store)
        self.lookups = {
            each.name: Lookup(each, self.keys, self.files, self.upstream, self.glance.let_go)
            for each in prepared
        }
        self.decider = Decider(self.plan, self.lookups, self._with_markers(prepared), self.fresh)

    def _with_markers(self, prepared: list[Prepared]) -> Options:
        """The options, with what deleted markers ask for."""
        if self.options.strategy != "resume":
            return self.options
        forced, now = dict(self.options.forced), time.time()
        for each in prepared:
            ledger = self.ledger(each)
            asked = ledger.asked(self._latest_finished(each.name), now) if ledger.is_there else None
            if asked is not None:
                forced[each.name] = asked
        return replace(self.options, forced=forced)

    def ledger(self, prepared: Prepared) -> Ledger:
        """What was exported where, of an experiment."""
        return Ledger(Path(prepared.artifact_plugin.root_dir), prepared.name, self.store.id)

    def _latest_finished(self, experiment: str) -> int | None:
        latest = self.store.run(experiment)
        if latest is None or latest.finished:
            return None if latest is None else latest.version
        return max((r.version for r in self.store.runs(experiment) if r.finished), default=None)

    def remember_markers(self) -> None:
        """A run begins: what deleted markers ask for is not asked for again of what it computes."""
        for name, asked in self.decider.options.forced.items():
            self.ledger(self.plan.prepared[name]).remember(asked)

    def decide_all(self) -> Plan:
        """Decides about every cell, upstream first."""
        with uncollected(), self.glance as view:
            for name in self.plan.prepared:
                self.decider.decide_all(view, name)
        return self.plan

    # --- outside of the graph ------------------------------------------------------------------

    def _find_latest(
        self, experiment: str, artifact: str, condition: str, replicate: int
    ) -> ArtifactRef | None:
        latest = self._latest.get(experiment)
        if latest is None:
            latest = self._latest[experiment] = LatestArtifacts(self.store, experiment)
        return latest.find(artifact, condition, replicate)

    def _find_stored(self, source: StoredArtifact, replicate: int) -> ArtifactRef | None:
        key = (source.key, replicate)
        if key not in self._stored:
            try:
                self._stored[key] = source.find(self.store, replicate)
            except ArtifactNotFound:
                self._stored[key] = None
        return self._stored[key]
