"""Reading folders in Crystallize's format, whoever wrote them: nothing in them is believed.

`<experiment>/vN/` holds `metadata.json`, a folder for each condition with `results.json`, and
`replicate_<r>/<condition>/<Step>/<file>`. Folders whose run was pruned may hold only the results.
Links are not followed, names that could lead out of a folder are left out, sizes are bounded.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from druse import names
from druse.errors import DruseError, InvalidMetric, InvalidName
from druse.plain import plain

_VERSION = re.compile(r"v(\d{1,9})", re.ASCII)
_REPLICATE = re.compile(r"replicate_(\d{1,7})", re.ASCII)
_JSON_AT_MOST = 256 << 20  # bytes
_REPLICATES_AT_MOST = 1_000_000

Key = tuple[str, int]
"""A condition and a replicate."""


class FolderUnreadable(DruseError):
    """A folder cannot be read as a run of Crystallize's."""


@dataclass(frozen=True)
class File:
    """An artifact in a folder: which step wrote it, and where it lies."""

    step: str
    name: str
    path: Path
    size: int


@dataclass
class Folder:
    """What a version's folder holds. `problems` say what of it was left out, and why."""

    experiment: str
    version: int
    path: Path
    identity: str | None = None
    replicates: int = 1
    is_complete: bool = True
    conditions: list[str] = field(default_factory=list)
    metrics: dict[Key, dict[str, list[Any]]] = field(default_factory=dict)
    files: dict[Key, list[File]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.experiment}/v{self.version}"

    @property
    def steps(self) -> list[str]:
        """The steps that wrote artifacts. In which order they ran, no folder says."""
        return sorted({file.step for files in self.files.values() for file in files})

    @property
    def cells(self) -> list[Key]:
        """The cells of which there is anything."""
        found = {*self.metrics, *self.files}
        order = {name: place for place, name in enumerate(self.conditions)}
        return sorted(found, key=lambda cell: (order[cell[0]], cell[1]))

    @property
    def size(self) -> int:
        return sum(file.size for files in self.files.values() for file in files)


# --- finding ---------------------------------------------------------------------------------


def find(root: Path) -> list[tuple[str, int, Path]]:
    """The versions below a root, of an experiment's folder, or one alone: (experiment, N, folder).

    Raises FolderUnreadable where there are none.
    """
    root = root.absolute()
    if not root.is_dir():
        raise FolderUnreadable(f"{root} is no folder: name the one that Crystallize wrote (data/)")
    own = _VERSION.fullmatch(root.name)
    if own is not None and any(_is_condition(entry) for entry in root.iterdir()):
        return [(root.parent.name, int(own[1]), root)]
    found = list(_versions(root)) or [
        version for folder in sorted(root.iterdir()) for version in _versions(folder)
    ]
    if not found:
        raise FolderUnreadable(
            f"{root} holds no runs: expected {root.name}/EXPERIMENT/vN/baseline/{names.RESULTS}"
        )
    return found


def _versions(folder: Path) -> Iterator[tuple[str, int, Path]]:
    if folder.is_symlink() or not folder.is_dir() or folder.name.startswith("."):
        return
    versions = [(m, p) for p in folder.iterdir() if (m := _VERSION.fullmatch(p.name))]
    for match, path in sorted(versions, key=lambda each: int(each[0][1])):
        if path.is_dir() and not path.is_symlink():
            yield folder.name, int(match[1]), path


def _is_condition(path: Path) -> bool:
    return path.is_dir() and (path / names.RESULTS).is_file()


# --- reading ---------------------------------------------------------------------------------


def read(experiment: str, version: int, path: Path) -> Folder:
    """What a version's folder holds. Raises FolderUnreadable, InvalidName."""
    names.check(experiment, "an experiment")
    found = Folder(experiment, version, path)
    try:
        _read(found)
    except OSError as error:
        raise FolderUnreadable(f"{path} cannot be read: {error.strerror or error}") from error
    found.problems = list(dict.fromkeys(found.problems))
    return found


def _read(found: Folder) -> None:
    path = found.path
    metadata = _read_json(path / names.METADATA) if (path / names.METADATA).is_file() else None
    if metadata is not None and not isinstance(metadata, Mapping):
        raise FolderUnreadable(f"{path / names.METADATA} holds no mapping")
    results, marked = _read_results(found)
    _read_artifacts(found)
    seen = [*results, *(condition for condition, _ in found.files)]
    found.conditions = sorted(dict.fromkeys(seen), key=lambda n: (n != names.BASELINE, n))
    if not found.conditions:
        raise FolderUnreadable(f"{path} holds neither results nor artifacts")
    found.replicates = _replicates(found, metadata, results)
    if metadata is not None:
        identity = metadata.get("id")
        found.identity = identity if isinstance(identity, str) else None
        found.is_complete = names.BASELINE in results and marked == set(found.conditions)
    for condition, metrics in results.items():
        _split(found, condition, metrics)


def _read_results(found: Folder) -> tuple[dict[str, dict[str, list[Any]]], set[str]]:
    """The metrics of each condition, and the conditions that are marked as complete."""
    results: dict[str, dict[str, list[Any]]] = {}
    marked = set()
    for entry in _folders(found, found.path):
        file = Path(entry.path, names.RESULTS)
        if _REPLICATE.fullmatch(entry.name) or not file.is_file() or file.is_symlink():
            continue
        if not _is_name(found, entry.name):
            continue
        results[entry.name] = _metrics(found, file)
        if Path(entry.path, names.MARKER).exists():
            marked.add(entry.name)
    return results, marked


def _is_name(found: Folder, name: str) -> bool:
    """Whether a folder's name can be a condition's."""
    try:
        names.check_condition(name)
    except InvalidName as error:
        found.problems.append(f"{name!r} is left out: {error}")
        return False
    return True


def _metrics(found: Folder, file: Path) -> dict[str, list[Any]]:
    said = _read_json(file)
    metrics = said.get("metrics") if isinstance(said, Mapping) else None
    if not isinstance(metrics, Mapping):
        raise FolderUnreadable(f"{file} holds no metrics")
    kept: dict[str, list[Any]] = {}
    for name, values in metrics.items():
        try:
            if not isinstance(values, list):
                raise InvalidMetric("it is no list of values")
            kept[str(name)] = [plain(value, f"metric {name!r}") for value in values]
        except InvalidMetric as error:
            found.problems.append(f"{file}: the metric {name!r} is left out: {error}")
    return kept


def _read_artifacts(found: Folder) -> None:
    for entry in _folders(found, found.path):
        match = _REPLICATE.fullmatch(entry.name)
        if match is None:
            continue
        for condition in _folders(found, entry.path):
            if not _is_name(found, condition.name):
                continue
            for step in _folders(found, condition.path):
                for file in _files(found, step):
                    key = (condition.name, int(match[1]))
                    found.files.setdefault(key, []).append(file)


def _folders(found: Folder, path: str | os.PathLike[str]) -> Iterator[os.DirEntry[str]]:
    """The real folders in a folder whose names can be anything's; by name."""
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            if entry.is_symlink():
                found.problems.append(f"{entry.path} is a link, and is left out")
            elif entry.is_dir() and not entry.name.startswith("."):
                yield entry


def _files(found: Folder, step: os.DirEntry[str]) -> Iterator[File]:
    with os.scandir(step.path) as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            if not entry.is_file(follow_symlinks=False):
                found.problems.append(f"{entry.path} is no plain file, and is left out")
                continue
            try:
                names.check(step.name, "a step")
                name = names.check(entry.name, "an artifact")
            except InvalidName as error:
                found.problems.append(f"{entry.path!r} is left out: {error}")
                continue
            size = entry.stat(follow_symlinks=False).st_size
            yield File(step.name, name, Path(entry.path), size)


def _read_json(path: Path) -> Any:
    if path.stat().st_size > _JSON_AT_MOST:
        raise FolderUnreadable(f"{path} is larger than {_JSON_AT_MOST >> 20} MiB")
    try:
        return json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FolderUnreadable(f"{path} is no valid JSON: {error}") from error


# --- replicates ------------------------------------------------------------------------------


def _replicates(
    found: Folder, metadata: Mapping[str, Any] | None, results: Mapping[str, Mapping[str, Any]]
) -> int:
    """How many there were: as the metadata say; else by the artifacts; else by the metrics."""
    said = metadata.get("replicates") if metadata is not None else None
    seen = 1 + max((replicate for _, replicate in found.files), default=-1)
    if type(said) is int and 1 <= said <= _REPLICATES_AT_MOST:
        return max(said, seen)
    lengths = [len(values) for metrics in results.values() for values in metrics.values()]
    guessed = max(seen, min((length for length in lengths if length), default=1))
    found.problems.append(
        f"no metadata say how many replicates there were: {guessed}, by what there is"
    )
    return guessed


def split(values: Sequence[Any], replicates: int) -> list[list[Any]] | None:
    """The values of each replicate, of a list that has the same number of each; else None.

    None among the values stands for a replicate that is missing.
    """
    if not values or len(values) % replicates:
        return None
    each = len(values) // replicates
    groups = [list(values[place : place + each]) for place in range(0, len(values), each)]
    return [[value for value in group if value is not None] for group in groups]


def _split(found: Folder, condition: str, metrics: Mapping[str, Sequence[Any]]) -> None:
    """Gives each replicate its values."""
    cells: list[dict[str, list[Any]]] = [{} for _ in range(found.replicates)]
    missing = [any(metrics.values()) for _ in cells]
    for name, values in metrics.items():
        if not values:
            continue
        groups = split(values, found.replicates)
        if groups is None:
            found.problems.append(
                f"{condition}: {name} has {len(values)} values for {found.replicates} replicates; "
                "which is whose is not known, so all are kept with replicate 0"
            )
            groups = [list(values), *([] for _ in cells[1:])]
            missing = [False for _ in cells]
        for place, group in enumerate(groups):
            if group:
                cells[place][name] = group
                missing[place] = False
    for place, cell in enumerate(cells):
        if not missing[place]:
            found.metrics[(condition, place)] = cell
