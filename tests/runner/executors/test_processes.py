"""Worker processes: what is sent to them, whose code they execute, and what becomes of the dead."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from druse import ExperimentGraph, ParallelExecution, location
from druse.errors import ExecutorLost, NotPicklable, WorkerDied
from druse.executors import worker
from druse.executors.forking import Template, template
from druse.executors.processes import Pool
from support import cells
from support.cells import experiment, levels, metrics
from support.project import Project

SCRIPT = """
    import os, pickle
    from druse import *

    class Model:
        def __init__(self, weight):
            self.weight = weight
        def score(self):
            return self.weight * FACTOR

    FACTOR = 3

    @data_source
    def source(ctx):
        return 2

    @pipeline_step()
    def fit(data, ctx, out: Artifact):
        out.write(Model(data))
        ctx.record("elsewhere", os.getpid() != ctx.get("main"))
        return data

    @pipeline_step()
    def use(data, ctx):
        ctx.record("score", data["model"].score())
        return data

    model = Artifact("m", loader=lambda path: pickle.loads(path.read_bytes()), writer=pickle.dumps)
    graph = ExperimentGraph.from_experiments([
        Experiment(source(), Pipeline([fit(out=model)]), name="fit", outputs=[model],
            plugins=[ParallelExecution(2, "process")], initial_ctx={"main": os.getpid()}),
        Experiment(ExperimentInput(model=model), Pipeline([use()]), name="use",
            plugins=[ParallelExecution(2, "process")]),
    ])
    found = graph.run()
    for result in found.values():
        for error in result.errors.values():
            print(error.traceback_str)
    print(found["fit"].metrics.baseline.metrics, found["use"].metrics.baseline.metrics)
    serial = experiment = Experiment(ExperimentInput(model=model), Pipeline([use()]), name="use")
    print({cell.how for cell in serial.run(strategy="resume").cells})
"""


def processes(count: int = 2, **more: Any) -> ParallelExecution:
    return ParallelExecution(count, "process", **more)


def test_cells_run_in_several_processes_that_are_not_this_one() -> None:
    found = experiment(cells.where(), replicates=8, plugin=processes(3)).run()
    pids = set(found.metrics.baseline.metrics["pid"])
    assert os.getpid() not in pids
    assert 1 <= len(pids) <= 3


def test_cells_run_side_by_side(tmp_path: Path) -> None:
    step = cells.together(folder=str(tmp_path), count=3)
    found = experiment(step, replicates=3, plugin=processes(3)).run()
    assert found.metrics.baseline.metrics["met"] == [True] * 3


def test_a_worker_gets_an_experiment_once_and_then_only_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[tuple[int, int]] = []
    send = Pool._send

    def count(self: Pool, each: Any, what: int, content: Any) -> None:
        sent.append((id(each), what))
        send(self, each, what, content)

    monkeypatch.setattr(Pool, "_send", count)
    experiment(cells.where(), treatments=levels(3), replicates=10, plugin=processes(2)).run()
    workers = {each for each, _ in sent}
    assert 1 <= len(workers) <= 2
    assert sorted(sent.count((each, worker.EXPERIMENT)) for each in workers) == [1] * len(workers)
    assert sum(what == worker.TASK for _, what in sent) == 40


@pytest.mark.parametrize("how", ["kill", "exit"])
def test_a_worker_that_dies_fails_its_cell_and_no_other(how: str) -> None:
    found = experiment(cells.die(at=(2,), how=how), replicates=8, plugin=processes(2)).run()
    assert list(found.errors) == ["baseline_rep_2"]
    error = found.errors["baseline_rep_2"]
    assert isinstance(error.__cause__, WorkerDied)
    expected = "killed by SIGKILL" if how == "kill" else "ended itself with status 3"
    assert expected in str(error)
    assert found.metrics.baseline.metrics["value"] == [0, 1, 3, 4, 5, 6, 7]


def test_the_cell_of_a_worker_that_died_is_retried_if_that_was_asked_for(tmp_path: Path) -> None:
    step = cells.die(at=(1,), once=str(tmp_path / "died"))
    found = experiment(step, replicates=3, plugin=processes(2, retries=1)).run()
    assert not found.errors
    assert found.metrics.baseline.metrics["value"] == [0, 1, 2]


def test_what_a_killed_workers_cell_had_started_is_killed_too(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    step = cells.start_and_wait(pid_file=str(pid_file))
    found = experiment(step, plugin=processes(1, timeout=1.5)).run()
    assert "longer than" in str(found.errors["baseline_rep_0"])
    pid = int(pid_file.read_text())
    until = time.monotonic() + 5
    while is_running(pid) and time.monotonic() < until:
        time.sleep(0.01)
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_template_that_died_between_two_runs_is_replaced() -> None:
    experiment(cells.where(), plugin=processes(1)).run()
    process = template()._process
    process.kill()
    process.wait()
    found = experiment(cells.where(), replicates=2, plugin=processes(1)).run()
    assert not found.errors


def test_tasks_of_a_worker_that_never_began_go_to_another_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fork, forked = Template.fork, []

    def fork_one_that_dies(self: Template) -> Any:
        child = fork(self)
        forked.append(child)
        if len(forked) == 1:
            self.kill(child)
        return child

    monkeypatch.setattr(Template, "fork", fork_one_that_dies)
    found = experiment(cells.where(), replicates=3, plugin=processes(1)).run()
    assert not found.errors
    assert len(forked) >= 1


def test_workers_that_all_die_at_once_end_the_run_and_not_never(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fork = Template.fork

    def fork_and_kill(self: Template) -> Any:
        child = fork(self)
        self.kill(child)
        return child

    monkeypatch.setattr(Template, "fork", fork_and_kill)
    with pytest.raises(ExecutorLost, match="end before they begin"):
        experiment(cells.where(), replicates=3, plugin=processes(2)).run()


def test_a_worker_whose_time_is_over_leaves_room_for_another_at_once() -> None:
    found = experiment(
        cells.sleep(seconds=60, at=(40, 41)), replicates=60, plugin=processes(1, timeout=0.4)
    ).run()
    assert sorted(found.errors) == ["baseline_rep_40", "baseline_rep_41"]


def test_large_artifacts_are_stored_by_the_worker_and_small_ones_handed_over() -> None:
    for size, inline in ((600_000, False), (100, True)):
        seen = []
        graph = ExperimentGraph.from_experiments(cells.chain(size, 2, processes(2)))
        original = payload_of_outcomes(seen)
        try:
            found = graph.run()
        finally:
            original()
        assert not found["sums"].errors
        assert [isinstance(data, bytes) for data in seen] == [inline] * 2


def payload_of_outcomes(seen: list[Any]) -> Any:
    """Notes what workers hand over as artifacts; returns what ends that."""
    from druse.executors import messages

    decode = messages.decode_outcome

    def note(data: bytes) -> Any:
        outcome = decode(data)
        seen.extend(artifact.data for artifact in outcome.artifacts)
        return outcome

    messages.decode_outcome = note
    return lambda: setattr(messages, "decode_outcome", decode)


def test_an_experiment_that_cannot_be_pickled_names_itself_and_its_steps() -> None:
    lock = threading.Lock()
    bad = experiment(cells.where(), cells.Hold(lock), plugin=processes(2), name="bad")
    with pytest.raises(NotPicklable, match=r"Failed to pickle experiment 'bad'.*WhereStep, Hold"):
        bad.run()
    with pytest.raises(RuntimeError, match="resource_factory"):
        bad.run()


def test_a_script_without_a_guard_works_and_its_classes_can_be_pickled(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project["script.py"] = SCRIPT
    command = [sys.executable, "script.py"]
    how = project.how()
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **how)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["{'elsewhere': [True]} {'score': [6]}", "{'hit'}"]


CONFIG = """
    name: odd
    replicates: 4
    datasource: {start: start}
    steps: [slow, late]
"""
SOURCES = """
    from druse import data_source

    @data_source
    def start(ctx):
        return 1
"""
STEPS = """
    import time
    from pathlib import Path
    from druse import pipeline_step
    import helper

    @pipeline_step()
    def slow(data, ctx):
        Path("began").write_text("")
        while Path("wait").exists():
            time.sleep(0.002)
        return data

    @pipeline_step()
    def late(data, ctx):
        import helper_two
        time.sleep(0.1)
        ctx.record("value", helper.value() + helper_two.value())
        return data
"""


def test_modules_beside_a_configuration_are_found_whatever_the_folder_is_called(
    project: Project,
) -> None:
    for folder in ("my experiment", "json"):
        project[f"{folder}/config.yaml"] = CONFIG
        project[f"{folder}/datasources.py"] = SOURCES
        project[f"{folder}/steps.py"] = STEPS
        project["helper.py"] = "def value():\n    return 1\n"
        project["helper_two.py"] = "def value():\n    return 10\n"
        found = project.run(folder, "-j", "2")["odd"]
        assert found["metrics"]["baseline"]["value"] == [11] * 4


def test_code_that_its_version_stands_for_is_found_too(project: Project) -> None:
    project["json/config.yaml"] = CONFIG.replace("[slow, late]", "[counted]")
    project["json/datasources.py"] = """
        from druse import data_source

        @data_source(version=1)
        def start(ctx):
            return 4
    """
    project["json/steps.py"] = """
        from druse import pipeline_step

        @pipeline_step(version=1)
        def counted(data, ctx):
            ctx.record("value", data)
            return data
    """
    assert project.run("json", "-j", "2")["odd"]["metrics"]["baseline"]["value"] == [4] * 4


def test_code_that_is_edited_while_a_run_goes_on_is_not_what_the_run_executes(
    project: Project,
) -> None:
    project["exp/config.yaml"] = CONFIG
    project["exp/datasources.py"] = SOURCES
    project["exp/steps.py"] = STEPS
    project["helper.py"] = "def value():\n    return 1\n"
    project["helper_two.py"] = "def value():\n    return 10\n"
    project["wait"] = ""
    command = project.command("run", "exp", "--executor", "process", "-j", "1", "--json")
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **project.how())
    # The run has read the code by now; the worker imports it after the edit.
    until = time.monotonic() + 30
    while not (project.root / "began").exists() and time.monotonic() < until:
        time.sleep(0.002)
    project["helper_two.py"] = "def value():\n    return 20\n"
    (project.root / "wait").unlink()
    out, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    found = json.loads(out)["experiments"][0]["metrics"]["baseline"]["value"]
    assert found == [11] * 4
    again = project.run("exp")["odd"]
    assert again["run"] == 4  # the edited code has another key
    assert again["metrics"]["baseline"]["value"] == [21] * 4


def test_code_that_was_edited_after_its_import_runs_as_it_was_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
        from druse import pipeline_step

        FACTOR = 2

        def times(value):
            return value * FACTOR

        @pipeline_step()
        def scale(data, ctx):
            ctx.record("value", times(data))
            return data
    """
    path = tmp_path / "edited_later.py"
    path.write_text(dedent(text))
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("edited_later")
    try:
        for value, edit in ((2, ""), (2, "value * FACTOR + 100"), (2, "value * 7")):
            if edit:
                path.write_text(dedent(text).replace("value * FACTOR", edit))
            found = experiment(module.scale(), plugin=processes(1)).run(strategy="resume")
            assert found.metrics.baseline.metrics["value"] == [value]
    finally:
        del sys.modules["edited_later"]


def test_the_workers_of_a_run_that_is_killed_end_with_it(project: Project) -> None:
    project["exp/config.yaml"] = CONFIG.replace("[slow, late]", "[stay]")
    project["exp/datasources.py"] = SOURCES
    project["exp/steps.py"] = """
        import os, time
        from pathlib import Path
        from druse import pipeline_step

        @pipeline_step()
        def stay(data, ctx):
            Path(f"pid-{os.getpid()}").write_text("")
            time.sleep(60)
            return data
    """
    command = project.command("run", "exp", "-j", "2", "-q")
    running = subprocess.Popen(command, **project.how())
    until = time.monotonic() + 30
    while len(list(project.root.glob("pid-*"))) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    pids = [int(path.name[4:]) for path in project.root.glob("pid-*")]
    assert len(pids) == 2
    running.send_signal(signal.SIGKILL)
    running.wait()
    until = time.monotonic() + 10
    while any(map(is_running, pids)) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(map(is_running, pids))


def test_messages_of_steps_are_shown_as_they_are_without_workers(project: Project) -> None:
    project["exp/config.yaml"] = CONFIG.replace("[slow, late]", "[speak]")
    project["exp/datasources.py"] = SOURCES
    project["exp/steps.py"] = """
        from druse import pipeline_step

        @pipeline_step()
        def speak(data, ctx):
            ctx.logger.warning("heard from %s", ctx.get("replicate"))
            ctx.logger.info("not heard")
            print("printed", flush=True)
            return data
    """
    done = project.druse("run", "exp", "-j", "2")
    assert done.status == 0
    assert sorted(line[-1] for line in done.err.splitlines() if "heard from" in line) == list(
        "0123"
    )
    assert "not heard" not in done.err
    assert done.out.count("printed") == 4


def test_steps_draw_differently_in_each_worker_where_they_ask_the_system() -> None:
    found = experiment(cells.entropy(), replicates=6, plugin=processes(3)).run()
    assert len(set(found.metrics.baseline.metrics["drawn"])) == 6


def test_metrics_equal_those_of_a_run_in_one_process_also_for_cacheable_steps() -> None:
    steps = [cells.costly(), cells.where()]
    alone = experiment(*steps, treatments=levels(2), replicates=3, name="alone").run()
    found = experiment(*steps, treatments=levels(2), replicates=3, plugin=processes(3)).run()
    drop = ("pid", "thread")
    for condition, values in metrics(found).items():
        expected = metrics(alone)[condition]
        assert {k: v for k, v in values.items() if k not in drop} == {
            k: v for k, v in expected.items() if k not in drop
        }


def test_the_store_that_workers_use_is_the_runs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRUSE_STORE", "elsewhere/.druse")
    graph = ExperimentGraph.from_experiments(cells.chain(600_000, 2, processes(2)))
    assert not graph.run()["sums"].errors
    with location.open_store(create=False) as store:
        assert store.run("sums") is not None
    assert not Path(".druse").exists()


def test_a_worker_that_has_something_to_say_to_a_dead_run_ends_without_a_word(
    project: Project,
) -> None:
    program = """
        import socket
        from multiprocessing.connection import Connection
        from druse.executors import worker

        mine, theirs = socket.socketpair()
        theirs.close()
        worker._Sender(Connection(mine.detach()))(worker.READY, None)
        print("goes on")
    """
    command = [sys.executable, "-c", dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **project.how())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
