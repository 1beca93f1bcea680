"""The scheduler: pure, so that any order of events can be tried."""

from __future__ import annotations

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from druse.scheduler import Scheduler
from druse.task import CellName


def cell(number: int) -> CellName:
    return CellName("e", "c", number)


def test_cells_run_in_the_order_in_which_they_were_added() -> None:
    scheduler = Scheduler()
    for number in range(4):
        scheduler.add(cell(number))
    assert [scheduler.get_ready() for _ in range(4)] == [cell(n) for n in range(4)]
    assert scheduler.get_ready() is None


def test_a_cell_waits_for_all_that_it_needs_and_an_early_one_goes_first_when_it_is_ready() -> None:
    scheduler = Scheduler()
    scheduler.add(cell(0))
    scheduler.add(cell(1))
    scheduler.add(cell(2), [cell(0), cell(1)])
    scheduler.add(cell(3))
    assert [scheduler.get_ready() for _ in range(2)] == [cell(0), cell(1)]
    scheduler.done(cell(0))
    assert not scheduler.is_due(cell(0))
    scheduler.done(cell(1))
    assert [scheduler.get_ready() for _ in range(2)] == [cell(2), cell(3)]


def test_what_is_over_is_not_waited_for() -> None:
    scheduler = Scheduler()
    scheduler.add(cell(0), [cell(7)])
    assert scheduler.get_ready() == cell(0)


def test_a_failure_blocks_all_that_depend_on_it_however_indirectly_and_nothing_else() -> None:
    scheduler = Scheduler()
    scheduler.add(cell(0))
    scheduler.add(cell(1))
    for number in range(2, 5000):  # a long chain, which must not be walked by recursion
        scheduler.add(cell(number), [cell(number - 2)])
    assert scheduler.get_ready() == cell(0)
    assert scheduler.failed(cell(0)) == [cell(n) for n in range(2, 5000, 2)]
    assert scheduler.get_ready() == cell(1)
    scheduler.done(cell(1))
    assert scheduler.get_ready() == cell(3)


def test_a_cell_that_needs_two_failed_ones_is_blocked_once() -> None:
    scheduler = Scheduler()
    scheduler.add(cell(0))
    scheduler.add(cell(1))
    scheduler.add(cell(2), [cell(0), cell(1)])
    scheduler.get_ready(), scheduler.get_ready()
    assert scheduler.failed(cell(0)) == [cell(2)]
    assert scheduler.failed(cell(1)) == []
    assert not scheduler.is_active


def test_a_held_cell_is_let_go_when_the_one_before_it_is_over_even_if_that_failed() -> None:
    for ends in ("done", "failed", "let_go"):
        scheduler = Scheduler()
        scheduler.add(cell(0))
        scheduler.add(cell(1))
        assert scheduler.get_ready() == cell(0)
        assert scheduler.get_ready() == cell(1)
        scheduler.hold(cell(1), cell(0))
        assert scheduler.get_ready() is None
        getattr(scheduler, ends)(cell(0))
        assert scheduler.get_ready() == cell(1)


def test_a_lane_that_is_full_does_not_keep_others_waiting() -> None:
    scheduler = Scheduler()
    scheduler.add(cell(0), lane="slow")
    scheduler.add(cell(1), lane="fast")
    assert scheduler.get_ready(["fast"]) == cell(1)
    assert scheduler.get_ready(["fast"]) is None
    assert scheduler.get_ready(["slow", "fast"]) == cell(0)


def test_a_cell_that_is_put_back_waits_for_what_became_due_again() -> None:
    scheduler = Scheduler()
    scheduler.add(cell(0))
    assert scheduler.get_ready() == cell(0)
    scheduler.add(cell(1))
    scheduler.put_back(cell(0), [cell(1)])
    assert scheduler.get_ready() == cell(1)
    assert scheduler.get_ready() is None
    scheduler.done(cell(1))
    assert scheduler.get_ready() == cell(0)


class Model(RuleBasedStateMachine):
    """Any graph, any order of ends, holds and failures: each cell runs once, or is blocked."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler()
        self.needs: dict[CellName, set[CellName]] = {}
        self.lanes: dict[CellName, str] = {}
        self.active: list[CellName] = []
        self.held: dict[CellName, CellName] = {}
        self.ended: dict[CellName, bool] = {}
        self.blocked: set[CellName] = set()

    @rule(data=st.data(), lane=st.sampled_from(["a", "b"]))
    def add(self, data: st.DataObject, lane: str) -> None:
        new = cell(len(self.needs))
        known = sorted(self.needs)
        some = data.draw(st.lists(st.sampled_from(known), max_size=3)) if known else []
        # A producer that is over cannot be waited for, nor one that failed: that is decided before.
        some = [c for c in some if c not in self.ended and c not in self.blocked]
        self.needs[new] = set(some)
        self.lanes[new] = lane
        self.scheduler.add(new, some, lane)

    @rule(count=st.integers(0, 3), lane=st.sampled_from(["a", "b"]))
    def add_all(self, count: int, lane: str) -> None:
        new = [cell(len(self.needs) + each) for each in range(count)]
        self.needs.update((each, set()) for each in new)
        self.lanes.update(dict.fromkeys(new, lane))
        self.scheduler.add_all(new, lane)

    def ready(self, lanes: list[str]) -> list[CellName]:
        waiting = [
            c
            for c, needs in self.needs.items()
            if self.lanes[c] in lanes
            and not (c in self.ended or c in self.blocked or c in self.active or c in self.held)
            and all(self.ended.get(need) for need in needs)
        ]
        return sorted(waiting)

    @rule(lanes=st.sampled_from([["a"], ["b"], ["a", "b"]]))
    def start(self, lanes: list[str]) -> None:
        expected = self.ready(lanes)
        found = self.scheduler.get_ready(lanes)
        assert found == (expected[0] if expected else None)
        if found is not None:
            self.active.append(found)

    def leave(self, which: CellName, *, well: bool) -> None:
        self.active.remove(which)
        self.ended[which] = well
        self.held = {c: behind for c, behind in self.held.items() if behind != which}

    @precondition(lambda self: self.active)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        which = data.draw(st.sampled_from(self.active))
        self.leave(which, well=True)
        self.scheduler.done(which)

    @precondition(lambda self: self.active)
    @rule(data=st.data())
    def all_done(self, data: st.DataObject) -> None:
        some = data.draw(st.lists(st.sampled_from(self.active), unique=True))
        for which in some:
            self.leave(which, well=True)
        self.scheduler.all_done(some)

    @precondition(lambda self: self.active)
    @rule(data=st.data())
    def failed(self, data: st.DataObject) -> None:
        which = data.draw(st.sampled_from(self.active))
        self.leave(which, well=False)
        lost = {which}
        while True:
            more = {c for c, needs in self.needs.items() if needs & lost} - lost
            if not more:
                break
            lost |= more
        expected = lost - {which} - self.blocked
        found = self.scheduler.failed(which)
        assert len(found) == len(set(found))
        assert set(found) == expected
        self.blocked |= expected

    @precondition(lambda self: len(self.active) > 1)
    @rule(data=st.data())
    def hold(self, data: st.DataObject) -> None:
        which, behind = data.draw(st.permutations(self.active))[:2]
        self.active.remove(which)
        self.held[which] = behind
        self.scheduler.hold(which, behind)

    @precondition(lambda self: self.active)
    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        which = data.draw(st.sampled_from(self.active))
        self.held = {c: behind for c, behind in self.held.items() if behind != which}
        self.scheduler.let_go(which)

    @precondition(lambda self: self.active)
    @rule(data=st.data())
    def put_back(self, data: st.DataObject) -> None:
        which = data.draw(st.sampled_from(self.active))
        if which in self.held.values():
            return  # only a cell that ended is put back
        self.active.remove(which)
        self.scheduler.put_back(which)

    @invariant()
    def agrees(self) -> None:
        over = set(self.ended) | self.blocked
        assert self.scheduler.due() == sorted(set(self.needs) - over)
        assert self.scheduler.active == set(self.active)
        assert self.scheduler.is_active == bool(set(self.needs) - over)

    def teardown(self) -> None:
        """Whatever happened: all that is left can be brought to an end."""
        rest = random.Random(0)
        while self.scheduler.is_active:
            while (found := self.scheduler.get_ready(["a", "b"])) is not None:
                self.active.append(found)
            assert self.active, self.scheduler.due()
            which = rest.choice(self.active)
            self.active.remove(which)
            self.scheduler.done(which)


Model.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestAnyOrder = Model.TestCase
