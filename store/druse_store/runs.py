"""Looking up runs and pins."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from druse_store.digest import Digest
from druse_store.errors import IndexDamaged, InvalidInput, PinNotFound, RecordDamaged, RunNotFound
from druse_store.index import values
from druse_store.index.snapshot import Snapshot
from druse_store.run import Cell, Run, RunName

if TYPE_CHECKING:
    from druse_store.session import Session

_COUNT = 5  # the position of the number of cells in a run's header


def find(session: Session, snapshot: Snapshot, experiment: str, version: int | None) -> Run | None:
    """One run, the latest without a version."""
    if version is None:
        version = snapshot.last_version(experiment)
        if version is None:
            return None
    if not 0 <= version < 2**32:
        return None
    header = snapshot.run(values.run_key(experiment, version))
    return None if header is None else _run(session, experiment, version, header)


def find_all(session: Session, snapshot: Snapshot, experiment: str | None) -> list[Run]:
    """All runs, or those of one experiment."""
    found = (find(session, snapshot, *key) for key in snapshot.run_keys(experiment))
    return [run for run in found if run is not None]


def _run(session: Session, experiment: str, version: int, header: list[Any]) -> Run:
    def load() -> tuple[Cell, ...]:
        return _cells(session, experiment, version)

    return header_run(experiment, version, header, load)


def header_run(
    experiment: str,
    version: int,
    header: list[Any],
    load: Callable[[], tuple[Cell, ...]] = tuple,
) -> Run:
    """The run of a header. Raises RecordDamaged."""
    try:
        info, started, finished, complete, level, count, _ = header
    except (TypeError, ValueError) as error:
        raise RecordDamaged(f"the run {experiment}/v{version} cannot be decoded") from error
    return Run(experiment, version, info, started, finished, complete, level, count, load)


def _cells(session: Session, experiment: str, version: int) -> tuple[Cell, ...]:
    key = values.run_key(experiment, version)
    with session.snapshot() as snapshot:
        header = snapshot.run(key)
        if header is None:
            raise RunNotFound(f"the run {experiment}/v{version} was removed")
        pieces = snapshot.cells(key)
    cells = tuple(
        Cell(condition, replicate, Digest(record), how)
        for piece in pieces
        for condition, replicate, record, how in piece
    )
    if len(cells) != header[_COUNT]:
        raise IndexDamaged(
            f"the index holds {len(cells)} of the {header[_COUNT]} cells of the run "
            f"{experiment}/v{version}; `druse repair --rebuild-index` makes a new index"
        )
    return cells


def pin_target(target: Run | RunName | Digest) -> list[Any]:
    """What a pin names, as plain data."""
    if isinstance(target, Run | RunName):
        return ["run", target.experiment, target.version]
    if isinstance(target, Digest):
        return ["digest", target]
    raise InvalidInput(f"a pin names a Run or a Digest, not {type(target).__name__}")


def pins(snapshot: Snapshot) -> dict[str, RunName | Digest]:
    """What each pin names."""
    return {name: _target(target) for name, target in snapshot.pins()}


def _target(target: list[Any]) -> RunName | Digest:
    if target[0] == "run":
        return RunName(target[1], target[2])
    return Digest(target[1])


def require_pin(snapshot: Snapshot, name: str) -> None:
    """Raises PinNotFound."""
    if snapshot.pin(name) is None:
        raise PinNotFound(f"there is no pin {name!r}; `druse pins` lists them")
