"""Dask workers on machines that do not see the run's store: the remote is between them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from druse_store import Store
from support.dask import Cluster
from support.project import Project, numbers


class FarCluster(Cluster):
    """A cluster whose workers have a disk of their own where the run's project lies."""

    def __init__(self, folder: Path, hidden: Path) -> None:
        self._hidden = hidden
        self._home = folder / "home"
        self._home.mkdir()
        super().__init__(folder, workers=2)

    def _start(self, what: str, *arguments: str) -> subprocess.Popen[bytes]:
        if what == "scheduler":
            return super()._start(what, *arguments)
        common = ("--no-dashboard", "--scheduler-file", str(self._file))
        command = [sys.executable, "-m", "dask", what, *common, *arguments]
        script = f'mount -t tmpfs none "{self._hidden}" && exec "$@"'
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", script, "sh", *command],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(sys.path),
                    "DRUSE_WORKER_STORE": str(self.folder / "worker-store"),
                    "HOME": str(self._home),
                    "XDG_CONFIG_HOME": str(self._home),
                    "XDG_STATE_HOME": str(self._home),
                },
            )


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    (tmp_path / "remote").mkdir()
    return tmp_path / "remote"


@pytest.fixture
def far(tmp_path: Path, project: Project) -> Iterator[FarCluster]:
    if os.getuid() != 0:
        pytest.skip("needs root, to give workers a disk of their own")
    (tmp_path / "dask").mkdir()
    cluster = FarCluster(tmp_path / "dask", project.root)
    yield cluster
    cluster.close()


def executed(project: Project, *arguments: str) -> int:
    return sum(map(len, project.executed(".", *arguments).values()))


def large(project: Project) -> None:
    """Artifacts that are too large to travel with a task or an outcome."""
    project.replace(
        "draw/outputs.py",
        "return json.dumps(value).encode()",
        "return (str(value) + ' ' * 400_000).encode()",
    )


def team(project: Project, remote: Path) -> None:
    assert project.druse("trust", "init").status == 0
    assert project.druse("remote", "add", "team", str(remote)).status == 0


@pytest.mark.needs("unshare")
def test_workers_read_from_the_remote_and_publish_there_and_the_run_ends_with_all(
    people: None, project: Project, remote: Path, far: FarCluster
) -> None:
    numbers(project)
    large(project)
    team(project, remote)
    run = project.run(".", "--executor", f"dask:{far.address}")
    assert sum(len(each["executed"]) for each in run.values()) == 16
    assert all(each["failed"] == 0 for each in run.values())
    assert len(list((remote / "packs").rglob("*.pack"))) >= 1
    assert (far.folder / "worker-store" / "format").exists()
    alone = ("--remote", "none")
    assert executed(project, *alone) == 0
    view = project.root / "data" / "draw" / "v0" / "replicate_0" / "baseline"
    (artifact,) = [path for path in view.rglob("*") if path.is_file()]
    assert artifact.stat().st_size > 400_000
    assert project.druse("verify").status == 0


@pytest.mark.needs("unshare")
def test_without_a_remote_it_is_said_what_is_missing(
    people: None, project: Project, far: FarCluster
) -> None:
    numbers(project)
    large(project)
    done = project.druse("run", "draw", "--executor", f"dask:{far.address}")
    assert done.status != 0
    assert "the run has to have a remote" in done.out + done.err


@pytest.mark.needs("unshare")
def test_steps_that_workers_kept_are_kept_by_the_run_too(
    people: None, project: Project, remote: Path, far: FarCluster
) -> None:
    numbers(project)
    plain, cacheable = "@pipeline_step()\ndef scale", "@pipeline_step(cacheable=True)\ndef scale"
    project.replace("draw/steps.py", plain, cacheable)
    team(project, remote)
    assert executed(project, "--executor", f"dask:{far.address}") == 16
    project.replace("draw/steps.py", "data + shift", "data + shift + 1")
    done = project.run("draw", "--remote", "none")["draw"]
    assert done["failed"] == 0
    assert len(done["executed"]) == 6  # a condition that is the baseline under another name
    with Store.open(project.root / ".druse", create=False) as store:
        run = store.run("draw")
        assert run is not None
        found = [store.record_by_digest(cell.record) for cell in run.cells]
        assert all(record is not None for record in found)
        assert all(record.provenance["step_hits"] == [0] for record in found if record)
