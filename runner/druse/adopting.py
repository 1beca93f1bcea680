"""What an imported result would have to rest on, for `druse accept` to take it over.

No folder says what the code read. So everything counts that a cell begins with: each value of its
context, and each artifact of other experiments. Too much makes a miss that was not needed; too
little would let the result answer for another condition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING

from druse.errors import DruseError
from druse_store import ArtifactRef, Read, Record

if TYPE_CHECKING:
    from druse.differences import Past, Today
    from druse.prepared import Prepared
    from druse.task import CellName


class CannotAdopt(DruseError):
    """An imported result does not fit to what the experiment is today."""


def as_computed(
    past: Past, prepared: Prepared, cell: CellName, today: Mapping[str, Today]
) -> Record:
    """The imported record as if it had been computed today. Raises CannotAdopt."""
    old = past.record
    digests = {name: today[name].digest for name in _names(prepared, cell)}
    reads = tuple(Read(n, digest) for n, digest in digests.items() if digest is not None)
    artifacts = tuple(_artifacts(past, prepared))
    values = {f.name: getattr(old, f.name) for f in fields(old) if f.init}
    changed = {
        "status": "ok",
        "reads": reads,
        "artifacts": artifacts,
        "provenance": {**old.provenance, "imported_record": old.digest.hex()},
    }
    return Record(**{**values, **changed})


def _names(prepared: Prepared, cell: CellName) -> Iterator[str]:
    yield "ctx:*"
    for key in sorted(prepared.conditions[cell.condition].cell(cell.replicate).values()):
        yield f"ctx:{key}"
    for source in prepared.inputs:
        yield source.read
    for stored in prepared.stored:
        yield f"stored:{stored.key}"


def _artifacts(past: Past, prepared: Prepared) -> Iterator[ArtifactRef]:
    """The artifacts, each at the place that its step has today."""
    for artifact in past.record.artifacts:
        name = past.steps[artifact.step] if artifact.step < len(past.steps) else ""
        if name not in prepared.step_names:
            raise CannotAdopt(
                f"step {name!r}, which wrote {artifact.name}, is no step of it "
                f"(it has: {', '.join(prepared.step_names)})"
            )
        yield ArtifactRef(artifact.name, prepared.step_names.index(name), artifact.ref)
