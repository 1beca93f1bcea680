"""Looking cells up: from the start node, along today's values of what was read, to a record.

The known reads of a base signature form a trie in the store's index. A lookup walks the path that
today's values lead along; where one is not known yet, since what is upstream has not run, the
answer is that it depends.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from druse.fingerprint.values import value_digest
from druse.reads import CLOSED, OFF_PATH, OPEN, SHARED
from druse.seeds import SOURCE
from druse.unpickled import class_digest, package_digest
from druse_store import Digest, Record, View, extend

if TYPE_CHECKING:
    from collections.abc import Mapping

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


class Found(NamedTuple):
    """A record of the cell."""

    record: Record


class Pending(NamedTuple):
    """The answer rests on something that is not known before upstream has run."""

    keys: tuple[str, ...]


class Missing(NamedTuple):
    """No record answers. `read` is the key at which the path of every earlier cell parted."""

    why: str
    read: str | None = None


Answer = Found | Pending | Missing
Fronts = frozenset[Digest]

NO_RECORD = "nothing is known for its code, parameters and seed"
NEW_REPLICATE = "this replicate has not been computed"
READ_CHANGED = "what it read has another value"
FAILED_BEFORE = "it failed the last time"
_SEVERAL = 4  # ends; from there on, what lies behind them is read at once


class Way(NamedTuple):
    """Where today's values lead. `varies`: they are not the same in all replicates."""

    ends: tuple[Digest, ...]
    pending: tuple[str, ...]
    parted: str | None
    varies: bool
    open: tuple[Digest, ...]


class Lookup:
    """Looks the cells of one experiment up. Keeps what does not change between cells."""

    def __init__(self, prepared: Prepared, keys: Keys, files: Files, upstream: Upstream) -> None:
        self._prepared = prepared
        self._keys = keys
        self._files = files
        self._upstream = upstream
        self._inputs = {each.read: each for each in prepared.inputs}
        self._stored = {each.key: each for each in prepared.stored}
        self._next: dict[Digest, tuple[str, ...]] = {}
        self._sighted: dict[Digest, tuple[str, ...]] = {}
        self._shared_values: dict[str, Digest | None] = {}
        self._ways: dict[str, Way] = {}
        self._currents: dict[str, dict[int, Digest]] = {}
        self._failed: dict[int, list[Record]] | None = None

    def find(
        self, view: View, condition: Condition, replicate: int, *, many: bool = False
    ) -> Answer:
        """The record of a cell, or why there is none. `many`: its siblings are asked for next."""
        way = self._ways.get(condition.name)
        if way is None:
            way = _Walk(self, view, condition, replicate).run(self._prepared.start)
            if not way.varies and not way.pending:
                self._ways[condition.name] = way
        record = self._record(view, way, condition.name, replicate, many)
        if record is not None:
            return Found(record)
        if way.pending:
            return Pending(way.pending)
        if self._has_failed(view, condition, replicate):
            return Missing(FAILED_BEFORE)
        if way.ends:
            return Missing(NEW_REPLICATE)
        return Missing(NO_RECORD) if way.parted is None else Missing(READ_CHANGED, way.parted)

    def _record(
        self, view: View, way: Way, condition: str, replicate: int, many: bool
    ) -> Record | None:
        if way.varies or (not many and len(way.ends) < _SEVERAL):
            found = (view.record_at(end, replicate) for end in way.ends)
            return next((record for record in found if record is not None), None)
        known = self._currents.get(condition)
        if known is None:
            known = self._currents[condition] = {}
            for end in reversed(way.ends):
                known.update(view.records_at(end))
        digest = known.get(replicate)
        return None if digest is None else view.record_by_digest(digest)

    def _has_failed(self, view: View, condition: Condition, replicate: int) -> bool:
        """Whether a cell that read just what this one would read failed."""
        if self._failed is None:
            self._failed = {}
            for record in view.failed_under_base(self._prepared.base):
                self._failed.setdefault(record.replicate, []).append(record)
        walk = _Walk(self, view, condition, replicate)
        return any(
            all(r.key in OFF_PATH or walk.value(r.key) == r.value for r in record.reads)
            for record in self._failed.get(replicate, ())
        )

    # --- while a run goes on -------------------------------------------------------------------

    def learn(self, record: Record) -> None:
        """A new record came: what was read of the trie gets its reads, and its end."""
        keys = [*(read.key for read in record.reads), ""]
        for node, key in zip(record.nodes(), keys, strict=True):
            known = self._next.get(node)
            if known is not None and key not in known:
                self._next[node] = (*known, key)
                self._ways.clear()
                self._currents.clear()
        for condition, current in self._currents.items():
            way = self._ways.get(condition)
            if way is not None and record.signature in way.ends:
                current[record.replicate] = record.digest

    def sight(self, node: Digest, key: str) -> bool:
        """A cell that is under way read `key` at this node. Whether nobody had done so before."""
        known = self._sighted.get(node, ())
        if key in known:
            return False
        self._sighted[node] = (*known, key)
        return True

    def fronts(self, view: View, condition: Condition, replicate: int) -> tuple[Fronts, bool]:
        """How far a cell's signature can be foretold: the nodes that today's values lead to.

        Two cells of which these have none in common read something that differs. Also whether the
        way goes on from there, as far as is known.
        """
        way = _Walk(self, view, condition, replicate, self._sighted).run(self._prepared.start)
        return frozenset(way.ends + way.open), bool(way.open)

    def forget_files(self, written: tuple[str, ...]) -> list[str]:
        """Forgets what these files (by their real paths) held, and returns the reads of them."""
        found = [name for name in self._shared_values if self._is_of(name, written)]
        for name in found:
            del self._shared_values[name]
        if found:
            self._ways.clear()
            self._currents.clear()
        return found

    def _is_of(self, name: str, written: tuple[str, ...]) -> bool:
        kind, _, rest = name.partition(":")
        if kind not in ("file", "dir"):
            return False
        real = os.path.realpath(self._files.path(rest))
        return real in written or (
            kind == "dir" and any(Path(w).parent == Path(real) for w in written)
        )

    # --- the trie ------------------------------------------------------------------------------

    def next_reads(self, view: View, node: Digest) -> tuple[str, ...]:
        known = self._next.get(node)
        if known is None:
            known = self._next[node] = view.next_reads(node)
        return known

    # --- today's values ------------------------------------------------------------------------

    def value(
        self, name: str, initial: Initial, condition: Condition
    ) -> tuple[Digest | None, bool]:
        """What a read would give today (None if nothing answers), and whether it varies."""
        kind, _, rest = name.partition(":")
        if kind == "ctx":
            if rest == "*":
                return initial.names_digest(), not condition.is_same_everywhere("*")
            return initial.digest(rest), not condition.is_same_everywhere(rest)
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
        if name in initial.values():
            return initial.digest(name), not condition.is_same_everywhere(name)
        return (table.default(position, name) if table.knows(position, name) else None), False

    def _shared_value(self, kind: str, rest: str) -> Digest | None:
        answer = _SHARED.get(kind)
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

    def _class(self, rest: str) -> Digest | None:
        return class_digest(self._keys, rest)

    def _package(self, rest: str) -> Digest:
        return package_digest(rest)

    def is_upstream(self, name: str) -> bool:
        """Whether a read is of an artifact that is, or was, an input."""
        return name.startswith("up:") or name in self._inputs

    def upstream(self, name: str, condition: str, replicate: int) -> tuple[bool, Digest | None]:
        """Whether there is such an input, and its digest where that is known."""
        found = self._inputs.get(name)
        if found is None:
            return False, None
        return True, self._upstream.artifact(found, condition, replicate)


def _place(rest: str) -> tuple[int, str]:
    position, _, name = rest.partition(":")
    return int(position), name


# What gives the reads whose value is the same for all cells of an experiment.
_SHARED: dict[str, Callable[[Lookup, str], Digest | None]] = {
    "setup": Lookup._setup,
    "bound": Lookup._bound,
    "name": Lookup._name,
    "shared": Lookup._is_shared,
    "file": Lookup._file,
    "dir": Lookup._dir,
    "class": Lookup._class,
    "package": Lookup._package,
}


class _Walk:
    """One walk along the trie, for one cell."""

    def __init__(
        self,
        lookup: Lookup,
        view: View,
        condition: Condition,
        replicate: int,
        sighted: Mapping[Digest, tuple[str, ...]] | None = None,
    ) -> None:
        self._lookup = lookup
        self._view = view
        self._sighted = sighted or {}
        self._open: list[Digest] = []
        self._condition = condition
        self._initial = condition.cell(replicate)
        self._replicate = replicate
        self._varies = False
        self._pending: list[str] = []
        self._parted: str | None = None

    def run(self, start: Digest) -> Way:
        ends: list[Digest] = []
        waiting = [start]
        while waiting:
            node = waiting.pop()
            names = self._lookup.next_reads(self._view, node) + self._sighted.get(node, ())
            if all(name in OFF_PATH for name in names):
                self._open.append(node)
            for name in names:
                if not name:
                    ends.append(node)
                elif name not in OFF_PATH:
                    self._follow(node, name, waiting)
        return Way(
            tuple(ends),
            tuple(self._pending),
            self._parted,
            self._varies,
            tuple(self._open),
        )

    def _follow(self, node: Digest, name: str, waiting: list[Digest]) -> None:
        value = self.value(name)
        if value is None:
            self._open.append(node)
            if name not in self._pending:
                self._parted = name
            return
        following = extend(node, name, value)
        if not self._lookup.next_reads(self._view, following):
            self._parted = name
        waiting.append(following)

    def value(self, name: str) -> Digest | None:
        """What a read would give today."""
        if self._lookup.is_upstream(name):
            self._varies = True
            exists, value = self._lookup.upstream(name, self._condition.name, self._replicate)
            if exists and value is None:
                self._pending.append(name)
            return value
        value, varies = self._lookup.value(name, self._initial, self._condition)
        self._varies = self._varies or varies
        return value
