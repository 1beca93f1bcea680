"""How long a run will go on, told from when cells begin and end; and the display of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from druse import SerialExecution, api, location
from druse.display import Display, duration
from druse.listener import Listener
from druse.past import usual_durations
from druse.remaining import Remaining
from druse.session import Wanted
from druse.task import CellName
from support import cells
from support.cells import experiment


def cell(number: int, name: str = "e") -> CellName:
    return CellName(name, "baseline", number)


def nothing(group: tuple[str, str]) -> float | None:
    return None


def of(**seconds: float) -> Any:
    """The same in all conditions."""
    return lambda group: seconds.get(group[0])


def due(**counts: int) -> dict[tuple[str, str], int]:
    return {(name, "baseline"): count for name, count in counts.items()}


def test_nothing_is_said_while_nothing_is_known() -> None:
    remaining = Remaining(due(e=10), nothing, 0.0)
    assert remaining.seconds(1.0) is None
    remaining.begin(cell(0), 1.0)
    assert remaining.seconds(2.0) is None


def test_cells_one_after_another_take_as_long_as_those_before() -> None:
    remaining = Remaining(due(e=10), nothing, 0.0)
    for number in range(4):
        remaining.begin(cell(number), number * 2.0)
        remaining.end(cell(number), number * 2.0 + 2.0)
    assert remaining.seconds(8.0) == pytest.approx(12.0)


def test_cells_side_by_side_take_their_share() -> None:
    remaining = Remaining(due(e=40), nothing, 0.0)
    for number in range(20):
        remaining.begin(cell(number), number // 4 * 2.0)
        remaining.end(cell(number), number // 4 * 2.0 + 2.0)
    assert remaining.seconds(10.0) == pytest.approx(10.0)


def test_cells_that_were_put_back_have_not_been_under_way() -> None:
    remaining = Remaining(due(e=30), nothing, 0.0)
    for number in range(30):
        remaining.begin(cell(number), 0.0)
    remaining.end(cell(0), 1.0)
    for number in range(1, 30):
        remaining.put_back(cell(number))
    for number in range(1, 10):
        remaining.begin(cell(number), float(number))
        remaining.end(cell(number), number + 1.0)
    assert remaining.seconds(10.0) == pytest.approx(20.0)


def test_what_an_earlier_run_took_is_known_from_the_first_moment() -> None:
    remaining = Remaining(due(e=10, f=2), of(e=3.0, f=60.0), 0.0)
    assert remaining.seconds(0.0) == pytest.approx(150.0)


def test_an_experiment_that_nobody_knows_counts_like_the_others() -> None:
    remaining = Remaining(due(e=1, new=4), of(e=5.0), 0.0)
    assert remaining.seconds(0.0) == pytest.approx(25.0)


def test_a_condition_that_takes_longer_is_known_to() -> None:
    groups = {("e", "baseline"): 2, ("e", "large"): 3, ("e", "new"): 1, ("f", "baseline"): 1}
    usual = {("e", "baseline"): 1.0, ("e", "large"): 10.0}
    remaining = Remaining(groups, usual.get, 0.0)
    assert remaining.seconds(0.0) == pytest.approx(2 + 30 + 5.5 + 5.5)
    remaining.begin(CellName("e", "large", 0), 0.0)
    remaining.end(CellName("e", "large", 0), 20.0)
    assert remaining.seconds(20.0) == pytest.approx(2 + 40 + 10.5 + 10.5)


def test_hits_that_turn_up_late_are_not_waited_for() -> None:
    remaining = Remaining(due(e=3), of(e=5.0), 0.0)
    remaining.end(cell(0), 0.0)
    remaining.end(cell(1), 0.0)
    assert remaining.seconds(0.0) == pytest.approx(5.0)
    remaining.end(cell(2), 0.0)
    assert remaining.seconds(0.0) is None


def test_the_usual_time_of_a_cell_is_that_of_the_latest_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DRUSE_STORE", raising=False)
    experiment(cells.sleep(seconds=0.05, at=(0, 1)), replicates=2).run()
    with location.open_store() as store:
        assert 0.05 <= (usual_durations(store, "e").of("baseline") or 0.0) < 5.0
        assert usual_durations(store, "another").cell is None


def test_lines_come_now_and_then_where_there_is_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DRUSE_STORE", raising=False)
    monkeypatch.setattr("druse.display._AFTER", 0.0)
    monkeypatch.setattr("druse.display._FIRST_LINE", 0.01)
    made = experiment(
        cells.sleep(seconds=0.03, at=range(8)), replicates=8, plugin=SerialExecution(progress=True)
    )
    made.run()
    lines = [line for line in capsys.readouterr().err.splitlines() if " cells" in line]
    assert lines
    assert all(line.split("/")[1].startswith("8 cells") for line in lines)
    assert any("about" in line and "left" in line for line in lines)


def test_cells_that_are_given_back_to_be_decided_anew_are_told_of() -> None:
    told: list[tuple[str, int]] = []

    class Notes(Listener):
        def started(self, cell: CellName) -> None:
            told.append(("started", cell.replicate))

        def put_back(self, cell: CellName) -> None:
            told.append(("put back", cell.replicate))

    wanted = [Wanted(experiment(cells.sleep(seconds=0.02, at=range(3))), [], 3, [])]
    api.run(wanted, listener=Notes())
    assert ("put back", 2) in told
    assert told.index(("put back", 2)) < len(told) - told[::-1].index(("started", 2)) - 1


def test_a_short_run_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display()
    for number in range(100):
        display.started(cell(number))
        display.finished(cell(number), "run")
    display.clear()
    assert capsys.readouterr().err == ""
    assert sys.stderr is not None


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (61, "61 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_durations_are_rounded_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
