"""Cells that may turn out to be equal: of these, one is executed while the others are held.

What a cell reads is known for certain only once it has run. But much is evident before: values of
the context that steps take as parameters, the artifacts that it reads, the way along the reads of
earlier records, and what a cell that is under way has read so far. Two cells of one replicate that
differ in any of these are no twins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from typing import TYPE_CHECKING

from druse.artifact import Artifact
from druse.datasource import ExperimentInput
from druse.step import FunctionStep
from druse.task import CellName, Sighting
from druse_store import Digest, Record, extend

if TYPE_CHECKING:
    from druse.glance import Glance
    from druse.lookup import Fronts, Lookup
    from druse.plan import Plan
    from druse.prepared import Prepared

_Key = tuple[Digest, int, tuple[Digest | None, ...]]


class _Group:
    """Cells that are alike in what is evident: those under way, and whether any was executed."""

    __slots__ = ("active", "key", "was_executed")

    def __init__(self, key: _Key) -> None:
        self.key = key
        self.active: set[CellName] = set()
        self.was_executed = False


class Twins:
    """The cells of a run, grouped by what is evident about their signatures."""

    def __init__(self, plan: Plan, lookups: Mapping[str, Lookup]) -> None:
        self._plan = plan
        self._lookups = lookups
        self._evident = {name: _evident(each) for name, each in plan.prepared.items()}
        self._groups: dict[_Key, _Group] = {}
        self._group_of: dict[CellName, _Group] = {}
        self._values: dict[tuple[str, str], tuple[Digest | None, ...]] = {}
        self._fronts: dict[CellName, Fronts] = {}
        self._reaching: dict[Digest, set[CellName]] = {}
        self._chains: dict[CellName, Digest] = {}
        self._alone: dict[str, frozenset[str]] = {}  # conditions, by their experiments

    def may_have(self, cell: CellName) -> bool:
        """Whether there is any other cell that could be one's twin."""
        experiment, condition, _ = cell
        alone = self._alone.get(experiment)
        if alone is None:
            self._find_alone(self._plan.prepared[experiment].start)
            alone = self._alone[experiment]
        return condition not in alone

    def _find_alone(self, start: Digest) -> None:
        """Finds the conditions that differ from all others in what is evident, in any replicate."""
        alike = {n: p.conditions for n, p in self._plan.prepared.items() if p.start == start}
        counts = Counter[Hashable]()
        for name, conditions in alike.items():
            for condition in conditions:
                counts[self._unvaried(name, condition)] += 1
        for name, conditions in alike.items():
            self._alone[name] = frozenset(
                each
                for each in conditions
                if counts[None] == 0 and counts[self._unvaried(name, each)] == 1
            )

    def _unvaried(self, experiment: str, condition: str) -> Hashable:
        """What is evident of the cells of a condition; None where replicates differ."""
        if not self._plan.prepared[experiment].conditions[condition].is_constant:
            return None
        self._evident_values(CellName(experiment, condition, 0))
        return self._values.get((experiment, condition))

    def may_be_answered(self, cell: CellName) -> bool:
        """Whether a cell that has been executed may turn out to equal this one."""
        return self.may_have(cell) and self._group(cell).was_executed

    def has_company(self, cell: CellName) -> bool:
        """Whether a cell under way could be this one's twin, as far as is evident."""
        return self.may_have(cell) and bool(self._group(cell).active)

    def find(self, view: Glance, cell: CellName) -> CellName | None:
        """A cell under way that this one may turn out to equal."""
        if not self.may_have(cell):
            return None
        others = self._group(cell).active
        if not others:
            return None
        fronts = self._front(view, cell)[0]
        for other in sorted(others):
            if not fronts.isdisjoint(self._known_fronts(view, other)):
                return other
        return None

    def earlier(self, view: Glance, cell: CellName) -> Iterator[CellName]:
        """The cells before this one, under way or not, that it may turn out to equal."""
        if not self.may_have(cell):
            return
        group, fronts = self._make_key(cell), self._front(view, cell)[0]
        for name, prepared in self._plan.prepared.items():
            for condition in prepared.conditions.values() if prepared.start == group[0] else ():
                other = CellName(name, condition.name, cell.replicate)
                if other == cell:
                    return
                if other not in self._plan.decisions or condition.fails(cell.replicate):
                    continue
                is_alike = self._make_key(other) == group
                if is_alike and not fronts.isdisjoint(self._front(view, other)[0]):
                    yield other

    def begin(self, cell: CellName) -> None:
        """A cell begins, beside others maybe."""
        self._group(cell).active.add(cell)

    def is_astray(self, view: Glance, cell: CellName) -> bool:
        """Whether a cell had better tell what it reads: its way is not known to the end."""
        self._chains[cell] = self._group(cell).key[0]
        return self._front(view, cell)[1]

    def remove(self, cell: CellName) -> None:
        """A cell is under way no more."""
        if not self._group_of:
            return
        group = self._group_of.pop(cell, None)
        if group is not None:
            group.active.discard(cell)
        self._chains.pop(cell, None)
        if self._fronts:
            self._forget(cell)

    def sighted(self, sighting: Sighting) -> bool:
        """A cell under way has read something. Whether that says anything new."""
        node = self._chains.get(sighting.cell)
        if node is None:
            return False
        self._chains[sighting.cell] = extend(node, sighting.name, sighting.digest)
        is_new = False
        for name, lookup in self._lookups.items():
            if self._plan.prepared[name].start == self._group_of[sighting.cell].key[0]:
                is_new |= lookup.sight(node, sighting.name)
        if is_new:
            self._grew(node)
        return is_new

    def learned(self, records: Mapping[CellName, Record]) -> None:
        """Cells were executed: they are over, and the ways along their reads are known."""
        if not (self._groups or self._reaching):
            return  # none that has a twin was under way
        for cell, record in records.items():
            if self.may_have(cell):
                self._group(cell).was_executed = True
            for node in record.nodes() if self._reaching else ():
                self._grew(node)
            self.remove(cell)

    # --- fronts --------------------------------------------------------------------------------

    def _grew(self, node: Digest) -> None:
        for cell in list(self._reaching.get(node, ())):
            self._forget(cell)

    def _forget(self, cell: CellName) -> None:
        for node in self._fronts.pop(cell, ()):
            reaching = self._reaching[node]
            reaching.discard(cell)
            if not reaching:
                del self._reaching[node]

    def _known_fronts(self, view: Glance, cell: CellName) -> Fronts:
        known = self._fronts.get(cell)
        if known is None:
            known = self._fronts[cell] = self._front(view, cell)[0]
            for node in known:
                self._reaching.setdefault(node, set()).add(cell)
        return known

    def _front(self, view: Glance, cell: CellName) -> tuple[Fronts, bool]:
        condition = self._plan.prepared[cell.experiment].conditions[cell.condition]
        return self._lookups[cell.experiment].fronts(view, condition, cell.replicate)

    # --- what is evident -----------------------------------------------------------------------

    def _group(self, cell: CellName) -> _Group:
        known = self._group_of.get(cell)
        if known is None:
            key = self._make_key(cell)
            known = self._groups.get(key)
            if known is None:
                known = self._groups[key] = _Group(key)
            self._group_of[cell] = known
        return known

    def _make_key(self, cell: CellName) -> _Key:
        start = self._plan.prepared[cell.experiment].start
        values = self._values.get(cell[:2])
        return start, cell.replicate, self._evident_values(cell) if values is None else values

    def _evident_values(self, cell: CellName) -> tuple[Digest | None, ...]:
        lookup = self._lookups[cell.experiment]
        condition = self._plan.prepared[cell.experiment].conditions[cell.condition]
        initial = condition.cell(cell.replicate)
        found, any_varies = [], False
        for name in self._evident[cell.experiment]:
            if lookup.is_upstream(name):
                value, varies = lookup.upstream(name, cell.condition, cell.replicate)[1], True
            else:
                value, varies = lookup.value(name, initial, condition)
            found.append(value)
            any_varies |= varies
        if not any_varies:
            self._values[cell[:2]] = tuple(found)
        return tuple(found)


def _evident(prepared: Prepared) -> tuple[str, ...]:
    """The reads that every cell of an experiment comes to, unless it fails before."""
    names = []
    if type(prepared.experiment.datasource) in (Artifact, ExperimentInput):
        names += [each.read for each in prepared.inputs]
    for position, step in enumerate(prepared.steps):
        if isinstance(step, FunctionStep):
            given = step.params
            names += [f"param:{position}:{p.name}" for p in step.taken if p.name not in given]
    return tuple(names)
