"""Hits that a run executes all the same: their records are here, but the bytes that a cell which is
executed needs of them are not, since retention dropped them.

A run finds that out when it hands such a cell over; a plan foresees it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from druse.plan import GONE, Decision, State

if TYPE_CHECKING:
    from druse.session import Session
    from druse.task import CellName


def foresee(session: Session, *, alone: bool) -> None:
    """Notes in the plan which producers are executed again. Unless `alone`, a remote may have the
    bytes: then that depends."""
    for due in (State.RUN, State.DEPENDS):
        for name in reversed(session.plan.prepared):  # downstream first: they need what they need
            for cell in session.plan.cells(name):
                if session.plan.decisions[cell].state is due:
                    _foresee(session, cell, due if alone else State.DEPENDS)


def _foresee(session: Session, cell: CellName, state: State) -> None:
    plan = session.plan
    for source in plan.prepared[cell.experiment].inputs:
        producer = plan.producer_cell(source, cell.condition, cell.replicate)
        found = session.upstream.find(source, cell.condition, cell.replicate)
        if producer is None or found is None or plan.decisions[producer].state is not State.HIT:
            continue
        if any(blob.digest not in session.store for blob in found.ref.blobs()):
            plan.decisions[producer] = Decision(state, GONE, plan.decisions[producer].record)
