"""Lowering the levels of runs: what retention decides, as changes in the log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from druse_store import changes, retention, runs
from druse_store.changes import Change
from druse_store.gc.roots import LevelChange, lowered
from druse_store.index import values
from druse_store.index.snapshot import Snapshot
from druse_store.index.tables import Tables
from druse_store.leases import Leases
from druse_store.policy import FOREVER, Policy
from druse_store.retention import GONE
from druse_store.run import RunName

if TYPE_CHECKING:
    from druse_store.session import Session


def lower(tables: Tables, wanted: Iterable[LevelChange]) -> list[Change]:
    """Lowers levels, but for runs that are pinned or gone by now; returns what is to be logged."""
    pinned = {RunName(*target[1:]) for _, target in tables.pins() if target[0] == "run"}
    made: list[Change] = []
    for run in wanted:
        name = RunName(run.experiment, run.version)
        if name in pinned or tables.run(values.run_key(*name)) is None:
            continue
        if run.new == GONE:
            made.append([changes.REMOVE_RUN, *name])
        else:
            made.append([changes.LEVEL, *name, run.new])
        changes.apply(tables, made[-1])
    return made


def planned(
    session: Session, snapshot: Snapshot, experiment: str, policy: Policy, now: float
) -> list[LevelChange]:
    """The runs of one experiment whose levels are to be lowered."""
    rules = policy.of(experiment)
    if not rules.limits_artifacts and rules.keep_metrics == FOREVER:
        return []  # what keeps everything need not look at every run
    alive = Leases(session.location.holds).fresh().runs
    found = runs.find_all(session, snapshot, experiment)
    pins = [RunName(*target[1:]) for _, target in snapshot.pins() if target[0] == "run"]
    return lowered(found, retention.plan(found, policy, now, pins, alive))


def retire(session: Session, experiment: str, policy: Policy, now: float) -> list[LevelChange]:
    """Applies retention to one experiment: levels only, the bytes leave with a collection."""
    with session.snapshot() as snapshot:
        if not planned(session, snapshot, experiment, policy, now):
            return []
    done: list[LevelChange] = []

    def work(tables: Tables) -> list[Change]:
        done[:] = planned(session, tables, experiment, policy, now)
        return lower(tables, done)

    session.writer.committer.transact(work)
    return done
