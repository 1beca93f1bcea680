"""Taking results over: today's key gets the record that the latest run has, by a user's decision.

For a change that the user knows to change nothing: a cosmetic one that the closure cannot tell from
others, another version of a package, another algorithm of keys. The record says so, for good.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from druse import origin
from druse.adopting import CannotAdopt, as_computed
from druse.control import names_of
from druse.differences import Difference, Past
from druse.errors import DefinitionError
from druse.explain import Explainer, Values
from druse.importing import IMPORTED
from druse.key import algorithm
from druse.lookup import FAILED_BEFORE
from druse.plan import Decision, State
from druse.reads import OFF_PATH
from druse.replacing import replace_in_latest
from druse.task import CellName
from druse_store import BlobVanished, Digest, Read, Record, extend

if TYPE_CHECKING:
    from druse.prepared import Prepared
    from druse.session import Session


class Accepted(NamedTuple):
    """One cell, the record that it gets, and what was otherwise when that was computed."""

    cell: CellName
    record: Record
    differences: tuple[Difference, ...]
    old: Digest  # of the record that has it now


@dataclass
class Acceptance:
    """What can be taken over, and what cannot, with the reasons."""

    accepted: list[Accepted] = field(default_factory=list)
    refused: dict[str, list[CellName]] = field(default_factory=dict)
    hits: int = 0

    def refuse(self, cell: CellName, why: str) -> None:
        self.refused.setdefault(why, []).append(cell)


class _Refused(Exception):
    """A cell cannot be taken over; the message says why."""


def plan(session: Session, experiment: str, step: str | None = None) -> Acceptance:
    """What of an experiment could be taken over; where only `step` changed, if it is named.

    Changes nothing. Raises DefinitionError for a step that is not there.
    """
    prepared = session.plan.prepared[experiment]
    names = _names_of(prepared, step) if step is not None else None
    explainer, found = Explainer(session), Acceptance()
    records: dict[tuple[Digest, int], Record] = {}
    for cell in session.plan.cells(experiment):
        decision = session.plan.decisions[cell]
        if decision.state is State.HIT:
            found.hits += 1
            continue
        try:
            accepted = _accept(session, explainer, cell, decision, names)
        except _Refused as refused:
            found.refuse(cell, str(refused))
            continue
        # Cells that are equal have one record between them.
        key = accepted.record.signature, accepted.record.replicate
        record = records.setdefault(key, accepted.record)
        found.accepted.append(accepted._replace(record=record))
    return found


def carry_out(session: Session, acceptance: Acceptance) -> None:
    """Writes the records, and a run more of those experiments that refers to them: `show` says so.

    What has lost its bytes meanwhile is refused. Raises StoreError.
    """
    written: list[Accepted] = []
    with session.store.batch():
        for each in acceptance.accepted:
            try:
                session.store.put_record(each.record)
                written.append(each)
            except BlobVanished:
                acceptance.refuse(each.cell, "the bytes of its artifacts are gone")
        for experiment in {each.cell.experiment for each in written}:
            records = {each.old: each.record.digest for each in written}
            replace_in_latest(session.store, experiment, records)
    acceptance.accepted = written


def _names_of(prepared: Prepared, step: str) -> frozenset[str]:
    for thing in prepared.things:
        if step in names_of(thing):
            return names_of(thing)
    known = ", ".join(prepared.part_name(f"step {n}") for n in range(len(prepared.steps)))
    raise DefinitionError(f"{prepared.name} has no step {step!r} (it has: {known})")


def _accept(
    session: Session,
    explainer: Explainer,
    cell: CellName,
    decision: Decision,
    names: frozenset[str] | None,
) -> Accepted:
    prepared = session.plan.prepared[cell.experiment]
    if decision.state is State.DEPENDS:
        raise _Refused("what it reads of others is not known: accept or run these first")
    if prepared.uncacheable or prepared.volatile or decision.reason == FAILED_BEFORE:
        raise _Refused(decision.reason)
    past = _latest(explainer, cell)
    old = past.record.digest
    today = Values(session, cell)
    if past.record.status == IMPORTED:
        try:
            past = replace(past, record=as_computed(past, prepared, cell, today))
        except CannotAdopt as error:
            raise _Refused(str(error)) from error
    differences = tuple(explainer.differences(past, prepared, today))
    others = [d for d in differences if names is not None and d.part not in names]
    if others:
        raise _Refused(f"something else changed, too: {others[0].sentence}")
    reads = tuple(_reads(past.record, today))
    return Accepted(cell, _record(prepared, past.record, reads, differences), differences, old)


def _latest(explainer: Explainer, cell: CellName) -> Past:
    """The latest result of a cell."""
    for run in explainer.history.runs(cell.experiment):
        digest = explainer.history.cells(run).get((cell.condition, cell.replicate))
        past = None if digest is None else explainer.history.past(run, cell.condition, digest)
        if past is None or past.record.status not in ("ok", IMPORTED):
            continue
        if "unstorable" in past.record.provenance:
            raise _Refused(f"its result was not kept: {past.record.provenance['unstorable']}")
        return past
    raise _Refused("there is no earlier result of it")


def _reads(record: Record, today: Values) -> Iterator[Read]:
    """The same reads, with what they give today."""
    for read in record.reads:
        if read.key in OFF_PATH:
            continue
        digest = today[read.key].digest
        if digest is None:
            raise _Refused(f"{read.key}, which it read, is not there any more")
        yield Read(read.key, digest)


def _record(
    prepared: Prepared, old: Record, reads: tuple[Read, ...], differences: tuple[Difference, ...]
) -> Record:
    signature = prepared.start
    for read in reads:
        signature = extend(signature, read.key, read.value)
    audit: dict[str, Any] = {
        "at": time.time(),
        "by": f"{origin.user()} on {origin.host()}",
        "from": old.digest.hex(),
        "differences": [each.sentence for each in differences],
    }
    if "accepted" in old.provenance:
        audit["before"] = old.provenance["accepted"]
    return Record(
        signature=signature,
        replicate=old.replicate,
        status=old.status,
        base=prepared.base,
        start=prepared.start,
        reads=reads,
        metrics=old.metrics,
        artifacts=old.artifacts,
        output=old.output,
        # The manifest stays that of the code which computed it: the audit says what is otherwise.
        provenance={**old.provenance, "algorithm": algorithm(), "accepted": audit},
        manifest=old.manifest,
    )
