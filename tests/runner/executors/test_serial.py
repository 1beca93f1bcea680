"""Cells in the run's own thread: several short ones before anybody looks, and no one waits."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from druse import Experiment, Pipeline, Treatment, api, data_source, pipeline_step
from druse.dispatch import Dispatcher
from druse.listener import Listener
from druse.session import Wanted
from druse.task import CellName
from druse_store import Store, StoreError

PATIENCE = 30.0  # seconds; what is waited for comes within a fraction of one

durable = threading.Event()
ran: list[str] = []


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    durable.clear()
    ran.clear()


@data_source
def nothing(ctx):
    return 0


@pipeline_step()
def work(data, ctx, waits=False, fails=False):
    ran.append(f"{'long' if waits else 'short'} {ctx['replicate']}")
    if waits:
        ctx.record("durable", durable.wait(PATIENCE))
    if fails:
        raise ValueError("on purpose")
    return data


class Watching(Listener):
    """Tells that a cell is durable, by the thread that made it so."""

    def __init__(self, cell: CellName) -> None:
        self._cell = cell
        self.finished_by: list[str] = []

    def finished(self, cell: CellName, status: str) -> None:
        self.finished_by.append(threading.current_thread().name)
        if cell == self._cell:
            durable.set()


def experiment(*treatments: Treatment, replicates: int = 1) -> Experiment:
    return Experiment(
        nothing(),
        Pipeline([work()]),
        name="short",
        treatments=list(treatments),
        replicates=replicates,
    )


def run(made: Experiment, listener: Listener, **options: Any) -> Any:
    wanted = [Wanted(made, made.treatments, made.replicates)]
    with Store.open("store") as store:
        return api.run(wanted, store=store, views="none", listener=listener, **options)["short"]


def test_a_short_cell_is_durable_while_a_long_one_after_it_runs() -> None:
    listener = Watching(CellName("short", "baseline", 0))
    result = run(experiment(Treatment("long", {"waits": True})), listener)
    assert result.metrics.treatments["long"].metrics["durable"] == [True]
    assert listener.finished_by[0] == "druse-commit"


def test_a_failed_cell_before_a_long_one_is_durable_too() -> None:
    made = experiment(Treatment("bad", {"fails": True}), Treatment("long", {"waits": True}))
    result = run(made, Watching(CellName("short", "bad", 0)))
    assert result.metrics.treatments["long"].metrics["durable"] == [True]
    assert [*result.errors] == ["bad_rep_0"]


def test_what_goes_wrong_while_news_are_taken_in_beside_a_long_cell_stops_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any) -> None:
        durable.set()
        raise StoreError("the disk is full")

    monkeypatch.setattr("druse.executors.serial._MOMENT", 0.05)  # short is short on a busy machine
    monkeypatch.setattr("druse.commit.Committer.put", full)
    made = experiment(Treatment("long", {"waits": True}), Treatment("last", {"fails": True}))
    with pytest.raises(StoreError, match="the disk is full"):
        run(made, Listener())
    assert ran == ["short 0", "long 0"]


def test_equal_cells_that_are_ready_at_once_are_executed_once() -> None:
    made = experiment(*(Treatment(f"t{n}", {"unread": n}) for n in range(3)), replicates=4)
    listener = Watching(CellName("short", "baseline", 0))
    result = run(made, listener)
    assert ran == [f"short {replicate}" for replicate in range(4)]
    assert len(result.cells) == 16


def test_cells_behind_a_long_one_are_given_back_and_executed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_back: list[CellName] = []
    take_back = Dispatcher.take_back

    def noting(self: Dispatcher, cell: CellName) -> None:
        given_back.append(cell)
        take_back(self, cell)

    monkeypatch.setattr(Dispatcher, "take_back", noting)
    durable.set()
    made = experiment(Treatment("bad", {"fails": True}), replicates=5)
    result = run(made, Listener())
    assert given_back  # behind the first one that failed
    assert ran == [f"short {replicate}" for replicate in range(5) for _ in range(2)]
    assert len(result.cells) == len(result.errors) == 5
