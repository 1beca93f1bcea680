"""Exported folders: `data/<experiment>/vN/` in Crystallize's format, written from the store.

A view is built aside and renamed, its root marker last. The same run gives the same bytes each
time. Files that the previous view has too are cloned from it where the filesystem can do that.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

from druse import names, ownfiles
from druse.cloning import LEAST, Cloner
from druse.errors import DruseError, InvalidName
from druse.layout import EVERYTHING, File, Layout, Selection
from druse.ledger import Ledger, Note
from druse.viewfiles import NewFolder, in_groups, side_by_side, to_json
from druse_store import Digest, Record, Run, Store, StoreError

_LARGE = 4 << 20  # bytes; above, a file is written piece by piece

Progress = Callable[[int, int], None]
"""Told how many bytes of artifacts are written, and how many there are."""


class ViewFailed(DruseError):
    """A view could not be written."""


class View:
    """The exported folder of one run, or a part of it."""

    def __init__(
        self,
        store: Store,
        run: Run,
        folder: Path,
        selection: Selection = EVERYTHING,
        *,
        records: Mapping[Digest, Record] | None = None,
        previous: tuple[Run, Path] | None = None,
        progress: Progress | None = None,
        keeps_added: bool = False,
    ) -> None:
        """`keeps_added`: the folder is this run's, so that what else is in it is somebody's own."""
        self._store = store
        self._run = run
        self._records = records
        self.folder = folder
        self._selection = selection
        self._previous = previous
        self._progress = progress
        self._keeps_added = keeps_added
        self._cloner = Cloner()
        self.missing: list[str] = []
        self.markers: list[str] = []

    @property
    def cloned(self) -> int:
        """How many files share their bytes with another one."""
        return self._cloner.cloned

    @property
    def note(self) -> Note:
        """What the ledger keeps of it."""
        artifacts = self._selection.artifacts
        return Note(self._run.version, self.folder.name, tuple(self.markers), artifacts)

    def write(self) -> None:
        """Writes it aside, then puts it in its place. Raises ViewFailed, StoreError."""
        parent = self.folder.parent
        aside = parent / f".{self.folder.name}.{_host()}.{os.getpid()}.partial"
        try:
            parent.mkdir(parents=True, exist_ok=True)
            _sweep(parent)
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            self._fill(str(aside))
            if self._keeps_added and self.folder.is_dir():
                ownfiles.take_along(self.folder, aside, self._exported())
            _replace(aside, self.folder)
        except (OSError, InvalidName) as error:
            shutil.rmtree(aside, ignore_errors=True)
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise ViewFailed(
                f"the view {self.folder} could not be written: {why}. The run is in the store; "
                f"once that is mended, `druse export {self._run.name}` writes it"
            ) from error

    def _fill(self, folder: str) -> None:
        self._layout = layout = Layout(self._store, self._run, self._records)
        writing = NewFolder(folder)
        manifest: dict[str, str] = {}
        if self._selection.artifacts:
            manifest = self._write_artifacts(writing)
        writing.write_json(names.METADATA, layout.metadata())
        if self._selection.metrics:
            for condition in layout.conditions:
                self._write_condition(writing, condition)
        writing.write_json(names.MANIFEST, dict(sorted(manifest.items())))
        if not self._selection.is_part and len(self.markers) == len(layout.conditions):
            self._mark(writing, names.MARKER)

    def _exported(self) -> set[str]:
        """All files that any export of this run writes."""
        parts = [names.METADATA, names.MANIFEST, names.MARKER]
        for condition in self._layout.conditions:
            parts += [f"{condition}/{names.RESULTS}", f"{condition}/{names.MARKER}"]
        return {*parts, *(file.path for file in self._layout.files(EVERYTHING))}

    def _mark(self, writing: NewFolder, marker: str) -> None:
        writing.write(marker, b"")
        self.markers.append(marker)

    def _write_condition(self, writing: NewFolder, condition: str) -> None:
        selection, layout = self._selection, self._layout
        if not selection.takes(condition):
            return
        due = [place for place in range(layout.replicates) if selection.takes_replicate(place)]
        cells = [layout.cells.get((condition, place)) for place in due]
        if not any(cells):
            return
        writing.make(condition)
        results = {"metrics": layout.merged(condition, due)}
        writing.write_json(f"{condition}/{names.RESULTS}", results)
        if selection.replicates is None and all(cells):
            self._mark(writing, f"{condition}/{names.MARKER}")

    def _write_artifacts(self, writing: NewFolder) -> dict[str, str]:
        """Returns which step wrote an artifact of which name."""
        files = list(self._layout.files(self._selection))
        total, done = sum(file.size for file in files), 0
        for written, missing in self._written(writing, files):
            self.missing += missing
            done += written
            if self._progress is not None:
                self._progress(done, total)
        return {file.name: file.step for file in files}

    def _written(self, writing: NewFolder, files: list[File]) -> Iterator[tuple[int, list[str]]]:
        """For some files at a time: how many bytes they have, and which of them are missing."""
        for file in files:
            if file.size >= LEAST:  # one after another, since one may be cloned from another
                yield self._write_files(writing, [file])
        groups = in_groups([f for f in files if f.size < LEAST], lambda file: file.folder)
        yield from side_by_side(lambda group: self._write_files(writing.again(), group), groups)

    def _write_files(self, writing: NewFolder, files: list[File]) -> tuple[int, list[str]]:
        missing = []
        for file in files:
            writing.make(file.folder)
            try:
                self._write_artifact(writing, file)
            except StoreError:
                missing.append(file.path)
        return sum(file.size for file in files), missing

    def _write_artifact(self, writing: NewFolder, file: File) -> None:
        target = writing.path(file.path)
        if file.size >= LEAST and self._cloner.is_able:
            source = self._clonable.get(file.digest)
            if source is not None and self._cloner.clone(source, target, file.digest, file.size):
                return
            self._clonable[file.digest] = target
        if file.size > _LARGE:
            self._store.get_to(file.digest, target)
        else:
            writing.write(file.path, self._store.get(file.digest))

    @cached_property
    def _clonable(self) -> dict[Digest, str]:
        """Files that should have these bytes: those of the previous view to begin with."""
        if self._previous is None:
            return {}
        run, folder = self._previous
        try:
            files = Layout(self._store, run).files(EVERYTHING)
            return {file.digest: f"{folder}/{file.path}" for file in files if file.size >= LEAST}
        except InvalidName:
            return {}


# --- putting it in its place -----------------------------------------------------------------

_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


def _replace(aside: Path, folder: Path) -> None:
    """Puts a folder where another one may be: nobody finds half of either."""
    if not folder.exists():
        aside.rename(folder)
        return
    if _exchange(aside, folder):
        shutil.rmtree(aside, ignore_errors=True)
        return
    old = aside.with_name(f"{aside.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    folder.rename(old)
    aside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two folders in one step, where the system can."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    places = (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other))
    return bool(call(*places, _RENAME_EXCHANGE) == 0)


def _host() -> str:
    """This machine's name, as a part of a file's."""
    return "".join(c for c in socket.gethostname() if c.isalnum() or c == "-")[:40] or "host"


def _sweep(parent: Path) -> None:
    """Removes what exports of this machine left behind whose process is gone."""
    for left in parent.glob(f".*.{_host()}.*.partial*"):
        pid = left.name.partition(f".{_host()}.")[2].partition(".")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(left, ignore_errors=True)


# --- exporting -------------------------------------------------------------------------------


def folder_name(run: Run, *, versioned: bool) -> str:
    """The folder of a run's view."""
    return f"v{run.version}" if versioned else "v0"


def next_free(root: Path, experiment: str) -> int:
    """The first version above those that have a folder, whoever wrote them."""
    try:
        found = [entry.name for entry in (root / experiment).iterdir()]
    except OSError:
        return 0
    versions = (int(name[1:]) for name in found if name[0] == "v" and name[1:].isdecimal())
    return 1 + max((version for version in versions if version < 10**9 - 1), default=-1)


def _is_anothers(store: Store, folder: Path, run: Run) -> bool:
    """Whether a version's folder was written for another run: Crystallize's, or another store's.

    One without metadata, as retention leaves them, is known by its results.
    """
    try:
        said = json.loads((folder / names.METADATA).read_text("utf-8"))
        return bool(said.get("id") != run.info.get("id"))
    except (FileNotFoundError, NotADirectoryError):
        return folder.is_dir() and not _has_results_of(store, folder, run)
    except (OSError, ValueError, AttributeError):
        return True


def _has_results_of(store: Store, folder: Path, run: Run) -> bool:
    layout = Layout(store, run)
    for path in folder.rglob("*"):
        if path.is_dir():
            continue
        condition = path.parent.name
        if path.name != names.RESULTS or condition not in layout.conditions:
            return False
        if path.read_bytes() != to_json({"metrics": layout.merged(condition)}):
            return False
    return True


def export(
    store: Store,
    run: Run,
    root: Path,
    *,
    versioned: bool,
    selection: Selection = EVERYTHING,
    remember: bool = True,
    progress: Progress | None = None,
) -> View:
    """Writes the view of a run below a root; with `remember`, notes that it is there.

    A version's folder that holds another run is left alone. Raises ViewFailed, StoreError,
    InvalidName.
    """
    ledger = Ledger(root, run.experiment, store.id)
    folder = root / run.experiment / folder_name(run, versioned=versioned)
    note = ledger.read()
    is_noted = note is not None and (note.run, note.folder) == (run.version, folder.name)
    if versioned and not is_noted and _is_anothers(store, folder, run):
        raise ViewFailed(
            f"{folder} holds another run than {run.name} of this store: move it away, or export to "
            f"another place (`druse export {run.name} --to DIR`)"
        )
    previous = _previous(store, run, root, note)
    view = View(
        store,
        run,
        folder,
        selection,
        previous=previous,
        progress=progress,
        keeps_added=versioned,
    )
    if not remember:
        view.write()
        return view
    try:
        root.mkdir(parents=True, exist_ok=True)
        with ledger.alone():
            view.write()
            known = ledger.read()
            if known is None or known.run <= run.version:  # what counts is the latest run's
                ledger.write(view.note)
    except OSError as error:
        raise ViewFailed(f"{root} cannot be written to: {error.strerror or error}") from error
    return view


def export_published(
    store: Store,
    run: Run,
    root: Path,
    run_id: str,
    records: Mapping[Digest, Record],
    selection: Selection = EVERYTHING,
) -> View:
    """Writes the view of a run that somebody else published, to a folder named for its id."""
    folder = root / names.check(run.experiment, "an experiment") / names.check(run_id, "a run")
    view = View(store, run, folder, selection, records=records)
    view.write()
    return view


def _previous(store: Store, run: Run, root: Path, note: Note | None) -> tuple[Run, Path] | None:
    """The run whose folder lies there, and that folder."""
    if note is None or not note.artifacts:
        return None
    found = store.run(run.experiment, note.run)
    return None if found is None else (found, root / run.experiment / note.folder)


def is_current(
    root: Path, run: Run, store_id: str, *, versioned: bool, artifacts: bool = True
) -> bool:
    """Whether the view of this very run is here, whole."""
    note = Ledger(root, run.experiment, store_id).read()
    folder = root / run.experiment / folder_name(run, versioned=versioned)
    if note is None or not (folder / names.METADATA).exists():
        return False
    same = (note.run, note.folder) == (run.version, folder.name)
    return same and (note.artifacts or not artifacts)
