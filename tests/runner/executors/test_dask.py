"""Dask: a local cluster, and what becomes of a run when parts of one are killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from druse import DaskExecution
from druse.errors import ExecutorLost
from support import cells
from support.cells import experiment, levels, metrics
from support.dask import Cluster
from support.longrun import LongRun, children, is_running, wait_for
from support.project import Project


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster that may be killed."""
    (tmp_path / "dask").mkdir()
    cluster = Cluster(tmp_path / "dask", workers=2)
    yield cluster
    cluster.close()


def test_a_local_cluster_ends_with_its_run_killed_or_not(project: Project) -> None:
    run = LongRun(project, 100)
    local = ("--executor", "dask", "-j", "1")
    running = run.start(*local, "-q")
    run.wait_until_ran(running, 10)
    below = children(running.pid)
    assert len(below) >= 2  # the keeper, which is the scheduler, and a worker
    running.kill()
    running.communicate()
    assert wait_for(lambda: not any(map(is_running, below)))
    run.check_the_rest_runs(*local)


def test_killing_a_worker_costs_nothing_and_killing_the_scheduler_only_what_is_in_flight(
    project: Project, own_cluster: Cluster
) -> None:
    executor = ("--executor", f"dask:{own_cluster.address}")
    run = LongRun(project, 160)
    running = run.start(*executor)
    run.wait_until_ran(running, 20)
    own_cluster.kill(own_cluster.workers[0])
    run.wait_until_ran(running, 50)
    own_cluster.kill(own_cluster.scheduler)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 3, err
    assert f"the Dask cluster at {own_cluster.address} is gone" in err
    assert "Traceback" not in err
    assert len(run.committed()) >= 20
    run.check_the_rest_runs()


def test_a_process_that_dies_of_its_cell_takes_no_worker_along(cluster: Cluster) -> None:
    found = experiment(
        cells.die(at=(1,), how="kill"), replicates=4, plugin=DaskExecution(cluster.address)
    ).run()
    assert list(found.errors) == ["baseline_rep_1"]
    assert "killed by SIGKILL" in str(found.errors["baseline_rep_1"])
    assert all(worker.poll() is None for worker in cluster.workers)


def test_treatments_that_are_read_run_side_by_side(cluster: Cluster, tmp_path: Path) -> None:
    step = cells.meet_by_context(folder=str(tmp_path), count=2)
    plugin = DaskExecution(cluster.address)
    found = experiment(step, treatments=levels(1, "level"), plugin=plugin).run()
    assert not found.errors
    assert metrics(found)["t1"]["met"] == [True]


def test_an_address_without_a_scheduler_is_an_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("druse.executors.dask._CONNECT", 0.3)
    with pytest.raises(ExecutorLost, match=r"tcp://127.0.0.1:9"):
        experiment(cells.where(), plugin=DaskExecution("tcp://127.0.0.1:9")).run()


def test_without_the_package_the_error_names_the_extra(project: Project) -> None:
    LongRun(project, 2)
    project["distributed.py"] = "raise ImportError('not here')"
    found = project.druse("run", "work", "--executor", "dask")
    assert found.status == 2
    assert "druse[dask]" in found.err
