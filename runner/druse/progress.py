"""How one experiment of a run is getting on: hits, executed, failed, blocked; and its run."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from druse import origin, retiring, views
from druse.plan import Decision, Plan
from druse.task import CellName, Outcome
from druse_store import Record, Run, RunWriter, Store

if TYPE_CHECKING:
    from druse.experiment import Experiment
    from druse.prepared import Prepared
    from druse.result import Result


@dataclass
class Summary:
    """What came of one experiment in a run."""

    name: str
    run: str | None
    hit: int = 0
    executed: list[CellName] = field(default_factory=list)
    failed: list[CellName] = field(default_factory=list)
    blocked: list[CellName] = field(default_factory=list)
    seconds: float = 0.0
    view: Path | None = None
    result: Result | None = None
    warnings: list[str] = field(default_factory=list)
    errors: list[tuple[CellName, str]] = field(default_factory=list)

    @property
    def metrics(self) -> dict[str, dict[str, list[Any]]]:
        """The metrics of each condition."""
        if self.result is None:
            return {}
        return {name: each.metrics for name, each in self.result.metrics.conditions().items()}


@dataclass
class Failed:
    """A cell without a result: what failed, or which cell it would have needed."""

    record: Record | None
    outcome: Outcome | None
    needs: CellName | None = None


class ExperimentRun:
    """The cells of one experiment as they are decided and executed."""

    def __init__(self, store: Store, prepared: Prepared, plan: Plan) -> None:
        self._store = store
        self._prepared = prepared
        self._due = set(plan.cells(prepared.name))
        self._hits: dict[CellName, Record] = {}
        self._writer: RunWriter | None = None
        self._executed: dict[CellName, Record] = {}
        self.failures: dict[CellName, Failed] = {}
        self._created = time.perf_counter()
        self._began: float | None = None
        self.seconds_to_end = 0.0
        self.run: Run | None = None
        self.view: Path | None = None
        self.result: Result | None = None
        self.warnings: list[str] = []

    def begin(self) -> None:
        """The first cell is being executed; of one without any, what it comes to is written."""
        if self._began is None:
            self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """From its beginning on; before that, since the run was planned."""
        began = self._created if self._began is None else self._began
        return time.perf_counter() - began

    # --- cells ---------------------------------------------------------------------------------

    def hit(self, cell: CellName, decision: Decision) -> None:
        """A cell is answered by a record."""
        assert decision.record is not None
        self._hits[cell] = decision.record
        self._due.discard(cell)

    def unhit(self, cell: CellName) -> None:
        """A cell that was answered has to be executed after all."""
        self._hits.pop(cell, None)
        self._executed.pop(cell, None)
        self._due.add(cell)

    def executed(self, records: Mapping[CellName, Record]) -> None:
        self._executed.update(records)
        self._due.difference_update(records)

    def failed(self, cell: CellName, record: Record, outcome: Outcome) -> None:
        self.failures[cell] = Failed(record, outcome)
        self.note_warnings(outcome)
        self._due.discard(cell)

    def blocked(self, cell: CellName, needs: CellName) -> None:
        """A cell that cannot be executed, since one that it needs failed."""
        self.failures[cell] = Failed(None, None, needs)
        self._due.discard(cell)

    def note_warnings(self, outcome: Outcome) -> None:
        if not outcome.warnings and outcome.unstorable is None:
            return
        texts = list(outcome.warnings)
        if outcome.unstorable is not None:
            texts.append(f"a result was not kept: {outcome.unstorable}")
        self.warnings += [text for text in texts if text not in self.warnings]

    @property
    def is_over(self) -> bool:
        return not self._due

    @property
    def is_complete(self) -> bool:
        return not self.failures

    def status(self, cell: CellName) -> str:
        return "failed" if cell in self.failures else "run"

    def records(self) -> dict[CellName, tuple[Record, str]]:
        """The records with a result, and how each came."""
        found = {cell: (record, "hit") for cell, record in self._hits.items()}
        found.update({cell: (record, "run") for cell, record in self._executed.items()})
        return found

    @property
    def hits(self) -> dict[CellName, Record]:
        return self._hits

    # --- the run in the store ------------------------------------------------------------------

    def writer(self) -> RunWriter:
        """The run that cells are added to, begun when the first one comes."""
        if self._writer is None:
            plugin, least = self._prepared.artifact_plugin, 0
            if plugin.versioned:
                # A folder that somebody else's run has, Crystallize's say, is not taken from it.
                least = views.next_free(Path(plugin.root_dir), self._prepared.name)
            self._writer = self._store.begin_run(self._prepared.name, self._info(), least=least)
        return self._writer

    def finish(self) -> Run | None:
        """Ends the run; without a new one where the latest run holds all cells already."""
        if self._writer is None:
            latest = self._store.run(self._prepared.name)
            if latest is not None and self._is_answered_by(latest):
                return latest
        writer = self.writer()
        for cell, record in self._hits.items():
            writer.add(cell.condition, cell.replicate, record.digest, "hit")
        return writer.finish({"seconds": self.seconds}, complete=self.is_complete)

    def _is_answered_by(self, latest: Run) -> bool:
        if not latest.complete or self.failures:
            return False
        if latest.info.get("steps") != self._prepared.step_names:
            return False  # its view and errors would use names that are gone
        known = {(condition, replicate): record for condition, replicate, record, _ in latest.cells}
        return all(
            known.get((condition, replicate)) == record.digest
            for (_, condition, replicate), record in self._hits.items()
        )

    @property
    def is_new(self) -> bool:
        """Whether this run made a new version."""
        return self._writer is not None

    def _info(self) -> dict[str, Any]:
        prepared = self._prepared
        kept = retiring.noted(prepared.artifact_plugin)
        return {
            **({} if kept is None else {"retention": kept}),
            "conditions": list(prepared.conditions),
            "replicates": prepared.replicates,
            "steps": prepared.step_names,
            "config": _config(prepared.experiment),
            "id": prepared.base.hex(),
            "bases": [base.hex() for base in (prepared.base, *prepared.step_bases)],
            "seed": prepared.seed.root,
            "description": prepared.experiment.description or "",
            "host": origin.host(),
            "user": origin.user(),
            "python": platform.python_version(),
            "command": " ".join(sys.argv)[:500],
        }

    def summary(self) -> Summary:
        return Summary(
            name=self._prepared.name,
            run=self.run.name if self.run is not None else None,
            hit=len(self._hits),
            executed=sorted(self._executed),
            failed=sorted(c for c, f in self.failures.items() if f.needs is None),
            blocked=sorted(c for c, f in self.failures.items() if f.needs is not None),
            seconds=self.seconds,
            view=self.view,
            result=self.result,
            warnings=self.warnings,
            errors=[
                (cell, failed.outcome.failure.traceback)
                for cell, failed in sorted(self.failures.items())
                if failed.outcome is not None and failed.outcome.failure is not None
            ],
        )


def _config(experiment: Experiment) -> str:
    return "" if experiment._config is None else str(experiment._config)
