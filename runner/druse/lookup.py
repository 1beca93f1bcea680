"""Looking cells up: from the start node, along today's values of what was read, to a record.

The known reads of a base signature form a trie in the store's index. A lookup walks the path that
today's values lead along; where one is not known yet, since what is upstream has not run, the
answer is that it depends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from druse.reads import OFF_PATH
from druse.todays import Todays, Upstream, named
from druse_store import Digest, Record, extend

if TYPE_CHECKING:
    from druse.conditions import Condition, Initial
    from druse.glance import Glance
    from druse.key import Keys
    from druse.places import Files
    from druse.prepared import Prepared


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


class _Step(NamedTuple):
    """A read that is known to follow at a node, and the node that today's value leads to.

    None where no value answers; where the value is not the same in all replicates, VARIES.
    """

    name: str
    following: Digest | None


Route = tuple[Digest, tuple[tuple[str, str, Digest | None], ...]]
"""A node, and the keys that were read from there on, each with its name if it is one of the
context's, and its value; None for a value that varies."""

VARIES: Final = Digest.of(b"druse:varies")


class _Found:
    """What a walk has come to so far."""

    __slots__ = ("ends", "opened", "parted", "pending", "varies")

    def __init__(self) -> None:
        self.ends: list[Digest] = []
        self.opened: list[Digest] = []
        self.pending: list[str] = []
        self.parted: str | None = None
        self.varies = False

    def stop(self, node: Digest, key: str) -> None:
        """No value answers to a read."""
        self.opened.append(node)
        if key not in self.pending:
            self.parted = key

    def way(self) -> Way:
        pending, opened = tuple(self.pending), tuple(self.opened)
        return Way(tuple(self.ends), pending, self.parted, self.varies, opened)


class Lookup:
    """Looks the cells of one experiment up. Keeps what does not change between cells."""

    def __init__(
        self,
        prepared: Prepared,
        keys: Keys,
        files: Files,
        upstream: Upstream,
        let_go: Callable[[], None],
    ) -> None:
        self._prepared = prepared
        self._todays = Todays(prepared, keys, files, upstream, let_go)
        self.value = self._todays.value
        self.upstream = self._todays.upstream
        self.is_upstream = self._todays.is_upstream
        self._next: dict[Digest, tuple[str, ...]] = {}
        self._sighted: dict[Digest, tuple[str, ...]] = {}
        self._courses: dict[str, dict[Digest, list[_Step]]] = {}
        self._ways: dict[str, Way] = {}
        self._routes: dict[str, Route] = {}
        self._currents: dict[str, dict[int, Digest]] = {}
        self._failed: dict[int, list[Record]] | None = None

    def find(self, view: Glance, condition: Condition, replicate: int) -> Answer:
        """The record of a cell, or why there is none."""
        way = self._ways.get(condition.name)
        if way is None:
            record = self._foretold(view, condition, replicate)
            if record is not None:
                return Found(record)
            way = self._walk(view, condition, replicate)
            if not way.varies:
                self._ways[condition.name] = way
        record = self._record(view, way, condition.name, replicate)
        if record is not None:
            if way.varies:
                self._note_route(record, condition, replicate)
            return Found(record)
        if way.pending:
            return Pending(way.pending)
        if self._has_failed(view, condition, replicate):
            return Missing(FAILED_BEFORE)
        if way.ends:
            return Missing(NEW_REPLICATE)
        return Missing(NO_RECORD) if way.parted is None else Missing(READ_CHANGED, way.parted)

    def _foretold(self, view: Glance, condition: Condition, replicate: int) -> Record | None:
        """The record of a cell that read the same keys, in the same order, as the one before.

        Whatever leads from the start to a signature by today's values leads to a right answer; what
        is not found so is looked for along the trie.
        """
        route = self._routes.get(condition.name)
        if route is None:
            return None
        node, following = route
        initial = condition.cell(replicate)
        for key, name, constant in following:
            if constant is not None:
                value: Digest | None = constant
            elif name:
                value = self._todays.of_context(name, initial)
            else:
                value = self._digest(key, condition, initial)
            if value is None:
                return None
            node = extend(node, key, value)
        return view.record_at(node, replicate)

    def _note_route(self, record: Record, condition: Condition, replicate: int) -> None:
        """Notes which keys a cell read, as far as possible with the values of all replicates."""
        node, initial = self._prepared.start, condition.cell(replicate)
        following: list[tuple[str, str, Digest | None]] = []
        for read in record.reads:
            varies = self.is_upstream(read.key) or self.value(read.key, initial, condition)[1]
            if not varies and not following:
                node = extend(node, read.key, read.value)
            else:
                following.append((read.key, named(read.key), None if varies else read.value))
        self._routes[condition.name] = node, tuple(following)

    def _record(self, view: Glance, way: Way, condition: str, replicate: int) -> Record | None:
        if len(way.ends) < _SEVERAL or way.varies or view.has_offers:
            for end in way.ends:
                record = view.record_at(end, replicate)
                if record is not None:
                    return record
            return None
        known = self._currents.get(condition)
        if known is None:
            known = self._currents[condition] = {}
            for end in reversed(way.ends):
                known.update(view.records_at(end))
        digest = known.get(replicate)
        record = None if digest is None else view.record_by_digest(digest)
        # In a shared store others could have let the index name another cell's record.
        is_own = record is not None and record.signature in way.ends
        return record if is_own and record is not None and record.replicate == replicate else None

    def _has_failed(self, view: Glance, condition: Condition, replicate: int) -> bool:
        """Whether a cell that read just what this one would read failed."""
        if self._failed is None:
            self._failed = {}
            for record in view.failed_under_base(self._prepared.base):
                self._failed.setdefault(record.replicate, []).append(record)
        initial = condition.cell(replicate)
        return any(
            all(
                read.key in OFF_PATH or self._digest(read.key, condition, initial) == read.value
                for read in record.reads
            )
            for record in self._failed.get(replicate, ())
        )

    # --- while a run goes on -------------------------------------------------------------------

    def learn(self, records: Iterable[Record]) -> None:
        """New records came: what was read of the trie gets their reads, and their ends."""
        if self._next or self._currents:
            for record in records:
                self._learn(record)

    def _learn(self, record: Record) -> None:
        for node, key in zip(record.nodes(), (*record.names(), ""), strict=True):
            known = self._next.get(node)
            if known is not None and key not in known:
                self._next[node] = (*known, key)
                self._ways.clear()
                self._currents.clear()
                self._extend_courses(node, key, record.replicate)
        for condition, current in self._currents.items():
            way = self._ways.get(condition)
            if way is not None and record.signature in way.ends:
                current[record.replicate] = record.digest

    def forget_records(self) -> None:
        """Forgets what was read of the index."""
        for known in (self._next, self._ways, self._routes, self._courses, self._currents):
            known.clear()
        self._failed = None

    def _extend_courses(self, node: Digest, key: str, replicate: int) -> None:
        for name, course in self._courses.items():
            if node in course:
                condition = self._prepared.conditions[name]
                course[node].append(self._step(node, key, condition, condition.cell(replicate)))

    def sight(self, node: Digest, key: str) -> bool:
        """A cell that is under way read `key` at this node. Whether nobody had done so before."""
        known = self._sighted.get(node, ())
        if key in known:
            return False
        self._sighted[node] = (*known, key)
        return True

    def fronts(self, view: Glance, condition: Condition, replicate: int) -> tuple[Fronts, bool]:
        """How far a cell's signature can be foretold: the nodes that today's values lead to.

        Two cells of which these have none in common read something that differs. Also whether the
        way goes on from there, as far as is known.
        """
        way = self._walk(view, condition, replicate, self._sighted)
        return frozenset(way.ends + way.open), bool(way.open)

    def forget_files(self, written: tuple[str, ...]) -> list[str]:
        """Forgets what these files (by their real paths) held, and returns the reads of them."""
        found = self._todays.forget_files(written)
        if found:
            for known in (self._ways, self._routes, self._courses, self._currents):
                known.clear()
        return found

    # --- the trie ------------------------------------------------------------------------------

    def next_reads(self, view: Glance, node: Digest) -> tuple[str, ...]:
        known = self._next.get(node)
        if known is None:
            known = self._next[node] = view.next_reads(node)
        return known

    def _walk(
        self,
        view: Glance,
        condition: Condition,
        replicate: int,
        sighted: Mapping[Digest, tuple[str, ...]] | None = None,
    ) -> Way:
        initial = condition.cell(replicate)
        course = self._courses.setdefault(condition.name, {})
        found = _Found()
        waiting = [(self._prepared.start, True)]
        while waiting:
            node, is_constant = waiting.pop()
            steps = course.get(node)
            if steps is None:
                steps = self._steps(view, node, condition, initial)
                if is_constant:
                    course[node] = steps
            more = () if sighted is None else sighted.get(node, ())
            if more:
                steps = steps + [self._step(node, key, condition, initial) for key in more]
            if not steps:
                found.opened.append(node)
            for step in steps:
                if not step.name:
                    found.ends.append(node)
                    continue
                following, varies = step.following, step.following is VARIES
                if varies:
                    following = self._vary(found, node, step.name, condition, initial)
                if following is None:
                    found.stop(node, step.name)
                    continue
                if not self.next_reads(view, following):
                    found.parted = step.name
                waiting.append((following, is_constant and not varies))
        return found.way()

    def _vary(
        self, found: _Found, node: Digest, key: str, condition: Condition, initial: Initial
    ) -> Digest | None:
        """What follows at a node for one replicate."""
        found.varies = True
        value = self._digest(key, condition, initial)
        if value is not None:
            return extend(node, key, value)
        if self._todays.has_input(key) and key not in found.pending:
            found.pending.append(key)
        return None

    def _steps(
        self, view: Glance, node: Digest, condition: Condition, initial: Initial
    ) -> list[_Step]:
        keys = self.next_reads(view, node)
        return [self._step(node, key, condition, initial) for key in keys if key not in OFF_PATH]

    def _step(self, node: Digest, key: str, condition: Condition, initial: Initial) -> _Step:
        if not key:
            return _Step(key, None)
        if self.is_upstream(key):
            return _Step(key, VARIES)
        value, varies = self._todays.value(key, initial, condition)
        if varies:
            return _Step(key, VARIES)
        return _Step(key, None if value is None else extend(node, key, value))

    def _digest(self, key: str, condition: Condition, initial: Initial) -> Digest | None:
        """What a read gives today; None where nothing answers, or not yet."""
        if self.is_upstream(key):
            return self._todays.upstream(key, condition.name, initial.replicate)[1]
        return self._todays.value(key, initial, condition)[0]
