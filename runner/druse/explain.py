"""Why a cell hits or misses: what a hit rests on, and for a miss what differs from before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from druse import differences, shown, unseen
from druse.differences import Difference, Past, Today
from druse.key import algorithm
from druse.past import History
from druse.plan import Decision, State
from druse.reads import OFF_PATH
from druse.task import CellName

if TYPE_CHECKING:
    from druse.prepared import Prepared
    from druse.session import Session
    from druse_store import Record


@dataclass(frozen=True)
class Explanation:
    """One cell's. `compared` is the nearest earlier record; `rests_on` is for a hit."""

    cell: CellName
    decision: Decision
    differences: tuple[Difference, ...] = ()
    compared: Past | None = None
    rests_on: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Values(dict[str, Today]):
    """Today's values of reads, each looked up when it is first asked for."""

    def __init__(self, session: Session, cell: CellName) -> None:
        super().__init__()
        self._lookup = session.lookups[cell.experiment]
        self._prepared: Prepared = session.plan.prepared[cell.experiment]
        self._cell = cell
        self._condition = self._prepared.conditions[cell.condition]

    def __missing__(self, name: str) -> Today:
        found = self[name] = self._today(name)
        return found

    def _today(self, name: str) -> Today:
        if name in OFF_PATH:
            return Today(None, None)
        initial = self._condition.cell(self._cell.replicate)
        if self._lookup.is_upstream(name):
            exists, digest = self._lookup.upstream(name, self._cell.condition, initial.replicate)
            return Today(digest, None, pending=exists and digest is None)
        digest, _ = self._lookup.value(name, initial, self._condition)
        return Today(digest, shown.read(name, self._prepared, initial))


class Explainer:
    """Explains cells of a session whose plan has been made."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.history = History(session.store)

    def explain(self, cell: CellName) -> Explanation:
        """Raises StoreError."""
        decision = self._session.plan.decisions[cell]
        if decision.state is State.HIT and decision.record is not None:
            return Explanation(cell, decision, rests_on=self._rests_on(cell, decision.record))
        prepared = self._session.plan.prepared[cell.experiment]
        today = Values(self._session, cell)
        past = self.history.nearest(cell, prepared, today)
        if past is None:
            return Explanation(cell, decision)
        found = self.differences(past, prepared, today)
        return Explanation(cell, decision, tuple(found), past, notes=tuple(_notes(past, cell)))

    def differences(
        self, past: Past, prepared: Prepared, today: Mapping[str, Today]
    ) -> list[Difference]:
        """What of a record is otherwise today."""
        old = self.history.manifest(past.record)
        found = differences.of_code(past, old, prepared, algorithm())
        found += differences.of_seed(past, prepared.seed.root)
        return found + differences.of_reads(past, prepared, today.__getitem__, self._latest_run)

    def _latest_run(self, experiment: str) -> str:
        """The latest run of an experiment, where it holds what a cell would read: `v4`."""
        runs = self.history.runs(experiment)
        return f"v{runs[0].version}" if runs else ""

    # --- hits ----------------------------------------------------------------------------------

    def _rests_on(self, cell: CellName, record: Record) -> dict[str, Any]:
        prepared = self._session.plan.prepared[cell.experiment]
        components = [c for part in prepared.parts for _, c in part.components]
        code = {(c.name, c.file) for c in components if c.kind in ("function", "class")}
        texts = record.provenance.get("shown", {})
        found: dict[str, Any] = {
            "record": record.digest.hex(),
            "computed": record.provenance.get("at"),
            "seconds": record.provenance.get("seconds"),
            "python": record.provenance.get("python"),
            "code": len(code),
            "packages": sorted({f"{c.name} {c.detail}" for c in components if c.kind == "package"}),
            "seed": prepared.seed.root,
            "reads": {r.key: _text(texts, r.key, r.value.hex()) for r in record.reads},
            "told": [
                f"{shown.told(r.key, prepared)}: {_text(texts, r.key, r.value.hex())}"
                for r in record.reads
            ],
        }
        for name in ("accepted", "audit"):
            if name in record.provenance:
                found[name] = record.provenance[name]
        return found


def _text(texts: Any, key: str, digest: str) -> str:
    known = texts.get(key) if isinstance(texts, dict) else None
    return str(known) if known is not None else digest[:12]


def _notes(past: Past, cell: CellName) -> list[str]:
    """What else is to be said of the record that was compared."""
    record, notes = past.record, []
    failure = record.provenance.get("failure")
    if record.status == "failed" and isinstance(failure, dict):
        notes.append(f"it failed then, in {failure.get('step')}: {failure.get('message')}")
    if "unstorable" in record.provenance:
        notes.append(f"its result was not kept: {record.provenance['unstorable']}")
    if record.replicate != cell.replicate:
        notes.append(f"compared with replicate {record.replicate}: this one is new")
    return notes


# --- blind spots -----------------------------------------------------------------------------


def coverage(session: Session, experiment: str) -> list[dict[str, Any]]:
    """For each part of an experiment what its key covers, and what it cannot see.

    `unseen` is what its latest cells used of that kind when they ran.
    """
    prepared = session.plan.prepared[experiment]
    used = _used_lately(session, prepared)
    found = []
    for place, part in enumerate(prepared.parts, start=-1):
        if part.label == "seeds":
            continue
        kinds = [component.kind for _, component in part.components]
        found.append(
            {
                "part": prepared.part_name(part.label),
                "functions": kinds.count("function"),
                "classes": kinds.count("class"),
                "globals": kinds.count("global"),
                "packages": sorted({c.name for _, c in part.components if c.kind == "package"}),
                "declared": sorted(
                    {c.name for _, c in part.components if c.kind in ("file", "environment")}
                ),
                "blind_spots": list(dict.fromkeys(part.blind_spots)),
                "unseen": used.get(place, []),
                "warnings": list(dict.fromkeys(part.warnings)),
                "uncacheable": part.uncacheable,
            }
        )
    return found


_LATEST = 200  # cells that are looked at


def _used_lately(session: Session, prepared: Prepared) -> dict[int, list[str]]:
    """What the cells of the latest run, and those that hit now, used, by the places of steps."""
    decisions = (session.plan.decisions[cell] for cell in session.plan.cells(prepared.name))
    records = [d.record for d in islice(decisions, _LATEST) if d.record is not None]
    for run in History(session.store).runs(prepared.name)[:1]:
        cells = islice(run.cells, _LATEST)
        found = (session.store.record_by_digest(cell.record) for cell in cells)
        records += [record for record in found if record is not None]
    return unseen.in_records(records)
