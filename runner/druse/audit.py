"""Executing hits again, to see whether they give the same: steps that are not deterministic."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from druse import origin
from druse.control import ALL, Control
from druse.errors import DefinitionError
from druse.executors.local import OwnLoop, SetUps
from druse.fingerprint.values import value_digest
from druse.plan import State
from druse.replacing import replace_in_latest
from druse.runtime import Workplace
from druse.shown import shown
from druse.task import CellName, Outcome, Task, UpstreamArtifact
from druse.witness import Witness
from druse_store import Digest, Record

if TYPE_CHECKING:
    from druse.prepared import Prepared
    from druse.session import Session


class Mismatch(NamedTuple):
    """Something that a cell gave otherwise when it was executed again; `place` is that of the step,
    -1 of the datasource."""

    cell: CellName
    step: str
    what: str
    sentence: str
    place: int


@dataclass
class Audit:
    """What came of it. `mismatches`: for each cell the first of them, in the order of the steps."""

    checked: list[CellName] = field(default_factory=list)
    mismatches: list[Mismatch] = field(default_factory=list)
    skipped: dict[str, list[CellName]] = field(default_factory=dict)

    @property
    def steps(self) -> dict[tuple[str, str], list[Mismatch]]:
        """The mismatches by experiment and step."""
        found: dict[tuple[str, str], list[Mismatch]] = {}
        for each in self.mismatches:
            found.setdefault((each.cell.experiment, each.step), []).append(each)
        return found


def sample(
    session: Session, fraction: float, names: Iterable[str] = (), seed: int | None = None
) -> list[CellName]:
    """The hits to be executed again: those that are named, else a share of each experiment's.

    A name is [EXPERIMENT/]CONDITION[/REPLICATE], or EXPERIMENT. Raises DefinitionError.
    """
    hits = [c for c, d in session.plan.decisions.items() if d.state is State.HIT]
    wanted = list(names)
    if wanted:
        found = [cell for cell in hits if any(_is_named(cell, name) for name in wanted)]
        for name in wanted:
            if not any(_is_named(cell, name) for cell in found):
                raise _no_hit(session, name)
        return found
    if not 0 < fraction <= 1:
        raise DefinitionError(f"the fraction has to be above 0, and 1 at most, not {fraction}")
    chosen = random.Random(seed)  # noqa: S311 - a sample, not a secret
    by_experiment: dict[str, list[CellName]] = {}
    for cell in hits:
        by_experiment.setdefault(cell.experiment, []).append(cell)
    return [
        cell
        for cells in by_experiment.values()
        for cell in sorted(chosen.sample(cells, max(1, round(fraction * len(cells)))))
    ]


def _is_named(cell: CellName, name: str) -> bool:
    parts = name.strip("/").split("/")
    whole = (cell.experiment, cell.condition, str(cell.replicate))
    return parts in (list(whole[: len(parts)]), list(whole[1:][: len(parts)]))


def _no_hit(session: Session, name: str) -> DefinitionError:
    if any(_is_named(cell, name) for cell in session.plan.decisions):
        return DefinitionError(f"{name!r} is no hit, and only hits can be audited: run it first")
    return DefinitionError(
        f"{name!r} names no cell: write CONDITION/REPLICATE, or CONDITION, with the experiment's "
        "name before it if there are several"
    )


class Auditor:
    """Executes cells again, here and one after another; writes nothing but marks.

    `ignore` names metrics that may differ: times that were measured, say.
    """

    def __init__(self, session: Session, ignore: Iterable[str] = ()) -> None:
        self._session = session
        self._ignored = frozenset(f"metric {name}" for name in ignore)

    def audit(self, cells: Iterable[CellName]) -> Audit:
        """Raises StoreError."""
        found, session = Audit(), self._session
        place = Workplace(session.store, session.files, session.keys)
        set_ups, loop = SetUps(place), OwnLoop()
        try:
            for cell in cells:
                self._check(cell, found, set_ups, loop)
        finally:
            set_ups.close()
            loop.close()
            place.close()
        return found

    def _check(self, cell: CellName, found: Audit, set_ups: SetUps, loop: OwnLoop) -> None:
        prepared = self._session.plan.prepared[cell.experiment]
        record = self._session.plan.decisions[cell].record
        assert record is not None
        upstream = {}
        for source in prepared.inputs:
            artifact = self._session.upstream.find(source, cell.condition, cell.replicate)
            if artifact is None or artifact.ref.root.digest not in self._session.store:
                why = f"the bytes of {source.producer}#{source.artifact.name} are not here"
                found.skipped.setdefault(why, []).append(cell)
                return
            upstream[source.alias] = UpstreamArtifact(artifact)
        task = Task(cell, upstream, Control(cache={ALL: False}))
        first, second = Witness(), Witness()
        outcome = loop.execute(set_ups, prepared, task, see=first.see)
        found.checked.append(cell)
        differing = _mismatches(cell, prepared, record, outcome)
        mismatch = next((each for each in differing if each.what not in self._ignored), None)
        if mismatch is not None:
            # Which step it began with, no record says: two executions beside each other do.
            loop.execute(set_ups, prepared, task, see=second.see)
            found.mismatches.append(_traced(mismatch, prepared, first.first_difference(second)))

    def mark(self, audit: Audit) -> None:
        """Notes in their records what the cells gave otherwise; a run more refers to these."""
        by_experiment: dict[str, list[Mismatch]] = {}
        for each in audit.mismatches:
            by_experiment.setdefault(each.cell.experiment, []).append(each)
        for experiment, mismatches in by_experiment.items():
            with self._session.store.batch():
                self._mark(experiment, mismatches)

    def _mark(self, experiment: str, mismatches: list[Mismatch]) -> None:
        store, replaced = self._session.store, {}
        for each in mismatches:
            record = self._session.plan.decisions[each.cell].record
            assert record is not None
            replaced[record.digest] = store.put_record(_marked(record, each))
        replace_in_latest(store, experiment, replaced)


def _marked(record: Record, mismatch: Mismatch) -> Record:
    audit: dict[str, Any] = {
        "at": time.time(),
        "by": f"{origin.user()} on {origin.host()}",
        "step": mismatch.step,
        "found": [mismatch.sentence],
    }
    return Record(
        signature=record.signature,
        replicate=record.replicate,
        status=record.status,
        base=record.base,
        start=record.start,
        reads=record.reads,
        metrics=record.metrics,
        artifacts=record.artifacts,
        output=record.output,
        provenance={**record.provenance, "audit": audit},
        manifest=record.manifest,
        needs=record.needs,
        kind=record.kind,
    )


# --- what differs ----------------------------------------------------------------------------


def _mismatches(
    cell: CellName, prepared: Prepared, record: Record, outcome: Outcome
) -> Iterator[Mismatch]:
    """What differs, in the order of the steps."""
    if outcome.failure is not None:
        failure = outcome.failure
        sentence = f"it fails now: {failure.message}"
        yield Mismatch(cell, failure.step, "failure", sentence, len(prepared.steps))
        return
    found = [*_artifacts(record, outcome), *_metrics(record, outcome)]
    for place, what, sentence in sorted(found, key=lambda each: each[0]):
        yield Mismatch(cell, _name(prepared, place), what, sentence, place)


def _traced(mismatch: Mismatch, prepared: Prepared, place: int | None) -> Mismatch:
    """By the step that it began with, if that came before the one where it shows."""
    if place is None or place >= mismatch.place or mismatch.what == "failure":
        return mismatch
    sentence = f"what it hands on differs; so does {mismatch.sentence} of {mismatch.step}"
    return mismatch._replace(step=_name(prepared, place), sentence=sentence, place=place)


def _name(prepared: Prepared, place: int) -> str:
    return prepared.part_name(f"step {place}") if place >= 0 else "the datasource"


def _artifacts(record: Record, outcome: Outcome) -> Iterator[tuple[int, str, str]]:
    before = {(a.step, a.name): a.ref.root.digest for a in record.artifacts}
    after = {(a.step, a.name): _digest(a.data) for a in outcome.artifacts}
    for place, name in sorted(before.keys() | after.keys()):
        old, new = before.get((place, name)), after.get((place, name))
        if old != new:
            texts = (_short(old), _short(new))
            yield place, f"artifact {name}", f"artifact {name} {texts[0]} → {texts[1]}"


def _digest(data: Any) -> Digest:
    if isinstance(data, bytes):
        return Digest.of(data)
    root: Digest = data.root.digest
    return root


def _short(digest: Digest | None) -> str:
    return "nothing" if digest is None else digest.hex()[:12]


def _metrics(record: Record, outcome: Outcome) -> Iterator[tuple[int, str, str]]:
    for name in sorted(record.metrics.keys() | outcome.metrics.keys()):
        old, new = record.metrics.get(name), outcome.metrics.get(name)
        if value_digest(old) != value_digest(new):
            place = _step_of(name, outcome)
            yield place, f"metric {name}", f"metric {name} {shown(old)} → {shown(new)}"


def _step_of(metric: str, outcome: Outcome) -> int:
    """The place of the step that recorded a metric first."""
    for place, step in enumerate(outcome.trace):
        if metric in step.get("metrics", ()):
            return place
    return -1
