"""Runs that are interrupted or killed in the middle: what had finished is kept, the rest runs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import pytest

from druse import ParallelExecution
from druse_store import Store
from support import cells
from support.cells import experiment
from support.longrun import (
    LongRun,
    children,
    is_running,
    kill_a_worker,
    wait_for,
    workers_of,
)
from support.project import Project

EXECUTORS = {
    "serial": [],
    "thread": ["--executor", "thread", "-j", "3"],
    "process": ["-j", "3"],
}


@pytest.mark.parametrize("kind", EXECUTORS)
def test_ctrl_c_commits_what_has_finished_and_stops(project: Project, kind: str) -> None:
    run = LongRun(project, 240)
    running = run.start(*EXECUTORS[kind])
    run.wait_until_ran(running, 40)
    below = children(running.pid)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does it
    _, err = running.communicate(timeout=30)
    assert running.returncode == 130, err
    assert "Traceback" not in err
    assert "interrupted" in err
    assert "the same command goes on from there" in err
    assert len(run.committed()) >= 40 - 9
    assert wait_for(lambda: not any(map(is_running, below)))
    run.check_the_rest_runs(*EXECUTORS[kind])


def test_a_second_ctrl_c_ends_the_run_at_once(project: Project) -> None:
    run = LongRun(project, 4)
    project["work/steps.py"] = """
        import time
        from druse import pipeline_step

        @pipeline_step()
        def work(data, ctx, seconds=0.0):
            until, has_begun = time.monotonic() + 60, False
            while time.monotonic() < until:
                try:
                    if not has_begun:
                        has_begun = True
                        with open("ran", "a") as file:
                            file.write("began\\n")
                    time.sleep(1)
                except KeyboardInterrupt:
                    with open("ran", "a") as file:
                        file.write("swallowed\\n")
            return data
    """
    running = run.start()
    run.wait_until_ran(running, 1)
    running.send_signal(signal.SIGINT)
    run.wait_until_ran(running, 2)
    assert run.ran() == ["began", "swallowed"]
    assert running.poll() is None
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=10)
    assert running.returncode == 130
    assert "at once" in err


@pytest.mark.parametrize("kind", EXECUTORS)
def test_a_run_that_is_killed_loses_only_the_cells_in_flight(project: Project, kind: str) -> None:
    run = LongRun(project, 300, seconds=0.01)
    running = run.start(*EXECUTORS[kind])
    run.wait_until_ran(running, 30)
    assert wait_for(run.committed)
    assert running.poll() is None
    below = children(running.pid)
    running.kill()
    running.communicate()
    assert wait_for(lambda: not any(map(is_running, below)))
    assert run.committed()
    run.check_the_rest_runs(*EXECUTORS[kind])


def test_workers_that_are_killed_fail_their_cells_and_the_run_goes_on(project: Project) -> None:
    run = LongRun(project, 200, seconds=0.03)
    running = run.start("-j", "3", "--json")
    for count in (20, 50):
        run.wait_until_ran(running, count)
        kill_a_worker(running.pid)
    out, err = running.communicate(timeout=60)
    found = json.loads(out)["experiments"][0]
    # A worker that is killed between two cells takes none along.
    assert found["failed"] <= 2, err
    assert running.returncode == (1 if found["failed"] else 0)
    assert found["run"] + found["hit"] + found["failed"] == 200
    assert err.count("killed by SIGKILL") >= found["failed"]
    run.forget()
    again = project.run("work", "-j", "2")["work"]
    assert again["failed"] == 0
    assert again["hit"] + again["run"] == 200
    assert len(run.ran()) <= found["failed"]


def test_workers_that_are_killed_cost_nothing_where_cells_are_retried(project: Project) -> None:
    run = LongRun(project, 300, 0.02)  # long enough for it to go on once the last one is found
    running = run.start("-j", "3", "--retries", "2", "-q")
    for count in (20, 60, 100):
        run.wait_until_ran(running, count)
        kill_a_worker(running.pid)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert len(run.committed()) == 300
    run.check_the_rest_runs()
    assert run.ran() == []


def test_the_process_that_workers_are_forked_from_is_replaced_when_it_dies(
    project: Project,
) -> None:
    run = LongRun(project, 200)
    running = run.start("-j", "2", "--retries", "2", "-q")
    run.wait_until_ran(running, 40)
    template = children(running.pid)[0]
    workers = workers_of(running.pid)
    os.kill(template, signal.SIGKILL)
    time.sleep(0.05)
    for pid in workers:
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert len(run.committed()) == 200


def test_a_run_beside_an_event_loop_stops_when_it_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DRUSE_STORE", raising=False)
    made = experiment(
        cells.sleep(seconds=60, at=range(3, 9)),
        replicates=9,
        plugin=ParallelExecution(2, "process"),
    )

    async def cancel_it() -> None:
        task = asyncio.create_task(made.arun())
        committed = 0
        while committed < 3:
            await asyncio.sleep(0.02)
            if Path(".druse/format").exists():
                with Store.open(".druse", create=False) as store:
                    committed = store.stats().records
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(cancel_it(), 30))
    found = made.run(strategy="resume", replicates=3)
    assert [cell.how for cell in found.cells] == ["hit"] * 3
