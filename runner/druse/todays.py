"""What reads would give today: values of the context, artifacts, files, code that is unpickled."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from druse.conditions import digest_of_number
from druse.fingerprint.values import value_digest
from druse.globs import BETWEEN
from druse.names import REPLICATE_KEY
from druse.reads import CLOSED, OPEN, SHARED
from druse.seeds import SOURCE
from druse.unpickled import class_digest, package_digest
from druse_store import Digest

if TYPE_CHECKING:
    from druse.conditions import Condition, Initial
    from druse.key import Keys
    from druse.places import Files
    from druse.prepared import Input, Prepared
    from druse.stored import StoredArtifact


class Upstream(Protocol):
    """What cells read of other experiments."""

    def artifact(self, source: Input, condition: str, replicate: int) -> Digest | None:
        """The digest of the artifact that a cell would read; None while it is not known."""

    def stored(self, source: StoredArtifact, replicate: int) -> Digest | None:
        """The digest of an artifact of an earlier run; None where there is none."""


class Todays:
    """The values of one experiment's reads. Keeps those that are the same for all cells.

    `let_go` is called before user code, or what takes long: importing, hashing of files and values.
    """

    def __init__(
        self,
        prepared: Prepared,
        keys: Keys,
        files: Files,
        upstream: Upstream,
        let_go: Callable[[], None],
    ) -> None:
        self._let_go = let_go
        self._prepared = prepared
        self._keys = keys
        self._files = files
        self._upstream = upstream
        self._inputs = {each.read: each for each in prepared.inputs}
        self._stored = {each.key: each for each in prepared.stored}
        self._shared_values: dict[str, Digest | None] = {}

    def value(
        self, name: str, initial: Initial, condition: Condition
    ) -> tuple[Digest | None, bool]:
        """What a read would give today (None if nothing answers), and whether it varies."""
        kind, _, rest = name.partition(":")
        if kind == "ctx":
            if rest == "*":
                return initial.names_digest(), not condition.is_same_everywhere("*")
            return self.of_context(rest, initial), not condition.is_same_everywhere(rest)
        if kind == "param":
            return self._parameter(rest, initial, condition)
        if name in self._shared_values:
            return self._shared_values[name], False
        if kind == "stored":
            source = self._stored.get(rest)
            value = None if source is None else self._upstream.stored(source, initial.replicate)
            return value, True
        value = self._shared_value(kind, rest)
        self._shared_values[name] = value
        return value, False

    def _parameter(
        self, rest: str, initial: Initial, condition: Condition
    ) -> tuple[Digest | None, bool]:
        position, name = _place(rest)
        table = self._prepared.table
        if table.is_given(position, name):
            return table.same_as_default(position, name), False
        # A callable treatment may set it in one replicate and not in another one.
        varies = not condition.is_same_everywhere(name)
        if initial.has(name):
            return self.of_context(name, initial), varies
        return (table.default(position, name) if table.knows(position, name) else None), varies

    def of_context(self, key: str, initial: Initial) -> Digest:
        """What a cell's context has for a key as it begins."""
        if key == REPLICATE_KEY and key not in initial.extra:
            return digest_of_number(initial.replicate)
        if not initial.knows(key):
            self._let_go()
        return initial.digest(key)

    def _shared_value(self, kind: str, rest: str) -> Digest | None:
        answer = _SHARED.get(kind)
        self._let_go()
        return None if answer is None else answer(self, rest)

    def _setup(self, key: str) -> Digest:
        bare = self._prepared.bare
        return bare.names_digest() if key == "*" else bare.digest(key)

    def _bound(self, rest: str) -> Digest:
        return CLOSED if self._prepared.table.is_given(*_place(rest)) else OPEN

    def _name(self, rest: str) -> Digest | None:
        names, place = self._prepared.step_names, int(rest)
        return value_digest(names[place], "name") if 0 <= place < len(names) else None

    def _is_shared(self, rest: str) -> Digest | None:
        steps, place = self._prepared.steps, int(rest)
        if place == SOURCE:
            return SHARED if self._prepared.experiment.datasource.shared else None
        return SHARED if place < len(steps) and steps[place].shared else None

    def _file(self, rest: str) -> Digest:
        return self._files.current(f"file:{rest}")

    def _dir(self, rest: str) -> Digest:
        return self._files.current(f"dir:{rest}")

    def _glob(self, rest: str) -> Digest:
        return self._files.current(f"glob:{rest}")

    def _class(self, rest: str) -> Digest | None:
        return class_digest(self._keys, rest)

    def _package(self, rest: str) -> Digest:
        return package_digest(rest)

    def is_upstream(self, name: str) -> bool:
        """Whether a read is of an artifact that is an input, or once was."""
        return name.startswith("up:") or name in self._inputs

    def upstream(self, name: str, condition: str, replicate: int) -> tuple[bool, Digest | None]:
        """Whether there is such an input, and its digest where that is known."""
        found = self._inputs.get(name)
        if found is None:
            return False, None
        return True, self._upstream.artifact(found, condition, replicate)

    def has_input(self, name: str) -> bool:
        return name in self._inputs

    def forget_files(self, written: tuple[str, ...]) -> list[str]:
        """Forgets what these files (by their real paths) held, and returns the reads of them."""
        found = [name for name in self._shared_values if self._is_of(name, written)]
        for name in found:
            del self._shared_values[name]
        return found

    def _is_of(self, name: str, written: tuple[str, ...]) -> bool:
        kind, _, rest = name.partition(":")
        if kind not in ("file", "dir", "glob"):
            return False
        real = os.path.realpath(self._files.path(rest.partition(BETWEEN)[0]))
        if kind == "glob":
            return any(path.startswith(real + os.sep) for path in written)
        return real in written or (
            kind == "dir" and any(Path(w).parent == Path(real) for w in written)
        )


def named(key: str) -> str:
    """The name of a read that is one of the context's values; empty for any other."""
    kind, _, name = key.partition(":")
    return name if kind == "ctx" and name != "*" else ""


def _place(rest: str) -> tuple[int, str]:
    position, _, name = rest.partition(":")
    return int(position), name


# What gives the reads whose value is the same for all cells of an experiment.
_SHARED: dict[str, Callable[[Todays, str], Digest | None]] = {
    "setup": Todays._setup,
    "bound": Todays._bound,
    "name": Todays._name,
    "shared": Todays._is_shared,
    "file": Todays._file,
    "dir": Todays._dir,
    "glob": Todays._glob,
    "class": Todays._class,
    "package": Todays._package,
}
