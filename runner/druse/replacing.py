"""A run more that refers to other records of its cells: those that say what was found out since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from druse_store import Digest, Store


def replace_in_latest(store: Store, experiment: str, records: Mapping[Digest, Digest]) -> None:
    """Makes a run of the cells of the latest one, with the records that take the place of theirs.

    None is made where there is no complete run that has any of them. Raises StoreError.
    """
    latest = store.run(experiment)
    if latest is None or not latest.complete:
        return
    cells = latest.cells
    if not any(cell.record in records for cell in cells):
        return
    run = store.begin_run(experiment, latest.info)
    for cell in cells:
        run.add(cell.condition, cell.replicate, records.get(cell.record, cell.record), "hit")
    run.finish(complete=True)
