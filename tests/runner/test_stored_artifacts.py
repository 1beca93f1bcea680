"""`artifact_datasource`: paths of artifacts of earlier runs, or of experiments of the graph."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from druse import (
    Artifact,
    ArtifactPlugin,
    Experiment,
    ExperimentGraph,
    ExperimentInput,
    LoggingPlugin,
    ParallelExecution,
    Pipeline,
    Treatment,
    data_source,
    pipeline_step,
    standalone_context,
)
from druse.context import FrozenContext
from druse.errors import ArtifactNotFound
from druse.plugins import BasePlugin

executed: list[str] = []


@data_source
def number(ctx: FrozenContext) -> int:
    return 10 * ctx["replicate"]  # type: ignore[no-any-return]


@pipeline_step()
def write(data: int, ctx: FrozenContext, out: Artifact, plus: int = 1) -> int:
    executed.append("write")
    out.write(str(data + plus))
    return data


@pipeline_step()
def read(data: Any, ctx: FrozenContext) -> int:
    executed.append("read")
    paths = data if isinstance(data, dict) else {"one": data}
    value = sum(int(path.read_text()) for path in paths.values() if path.name == "n.txt")
    ctx.metrics.add("read", value)
    return value


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DRUSE_STORE", raising=False)
    executed.clear()
    return tmp_path


def quiet(*more: BasePlugin) -> list[BasePlugin]:
    return [ArtifactPlugin("data", versioned=True), LoggingPlugin(log_level="ERROR"), *more]


def producer(name: str = "up", plus: int = 1, replicates: int = 2) -> Experiment:
    out = Artifact("n.txt")
    treatments = [Treatment("more", {"plus": 5})]
    return Experiment(
        number(),
        Pipeline([write(out=out)]),
        quiet(),
        name=name,
        outputs=[out],
        initial_ctx={} if plus == 1 else {"plus": plus},
        treatments=treatments if plus == 1 else [],
        replicates=replicates,
    )


def consumer(source: Any, *more: BasePlugin, replicates: int = 2) -> Experiment:
    return Experiment(source, Pipeline([read()]), quiet(*more), name="down", replicates=replicates)


def values(results: Any, condition: str = "baseline") -> list[int]:
    found: list[int] = results["down"].metrics.conditions()[condition].metrics["read"]
    return found


def test_a_graph_links_them_and_reads_what_this_run_writes() -> None:
    up, other = producer(), producer("other", plus=100)
    source = ExperimentInput(
        a=up.artifact_datasource("WriteStep", "n.txt", "more"),
        b=other.artifact_datasource("WriteStep", "n.txt"),
    )
    graph = ExperimentGraph(consumer(source), other, up)
    assert graph.order()[-1] == "down"
    assert values(graph.run()) == [0 + 5 + 0 + 100, 10 + 5 + 10 + 100]


def test_what_an_earlier_run_wrote_is_not_taken_where_this_one_writes_anew() -> None:
    up = producer()
    ExperimentGraph(up, consumer(up.artifact_datasource("WriteStep", "n.txt"))).run()
    changed = producer(plus=3)
    down = consumer(changed.artifact_datasource("WriteStep", "n.txt"))
    graph = ExperimentGraph(changed, down)
    executed.clear()
    assert values(graph.run(strategy="resume")) == [3, 13]
    assert sorted(executed) == ["read", "read", "write", "write"]
    executed.clear()
    assert values(graph.run(strategy="resume")) == [3, 13]
    assert executed == []


def test_alone_and_in_a_graph_the_same_cells_hit() -> None:
    up = producer()
    ExperimentGraph(up, consumer(up.artifact_datasource("WriteStep", "n.txt"))).run()
    executed.clear()
    alone = consumer(producer().artifact_datasource("WriteStep", "n.txt"))
    assert alone.run(strategy="resume").metrics.baseline.metrics["read"] == [1, 11]
    assert executed == []


def test_workers_read_what_other_workers_have_just_written() -> None:
    up = producer(replicates=4)
    down = consumer(
        up.artifact_datasource("WriteStep", "n.txt"),
        ParallelExecution(2, executor_type="process"),
        replicates=4,
    )
    assert values(ExperimentGraph(up, down).run()) == [1, 11, 21, 31]


def test_only_the_condition_and_replicate_that_are_named_will_do() -> None:
    up = producer()
    down = consumer(up.artifact_datasource("WriteStep", "n.txt", "less"), replicates=1)
    result = ExperimentGraph(up, down).run()["down"]
    assert isinstance(result.errors["baseline_rep_0"], ArtifactNotFound)
    down = consumer(up.artifact_datasource("WriteStep", "n.txt"), replicates=3)
    result = ExperimentGraph(up, down).run(replicates=None)["down"]
    assert list(result.errors) == ["baseline_rep_2", "more_rep_2"]
    down = consumer(up.artifact_datasource("OtherStep", "n.txt"), replicates=1)
    result = ExperimentGraph(up, down).run()["down"]
    assert "OtherStep" in str(result.errors["baseline_rep_0"])


def test_outside_of_runs_the_latest_run_answers(here: Path) -> None:
    up = producer()
    source = up.artifact_datasource("WriteStep", "n.txt", "more")
    with pytest.raises(ArtifactNotFound, match="Metadata missing"):
        up.artifact_datasource("WriteStep", "n.txt", require_metadata=True)
    up.run()
    (here / "data/up/v0/replicate_1/more/WriteStep/n.txt").write_text("edited")
    assert source.fetch(standalone_context({"replicate": 1})).read_text() == "15"
    with pytest.raises(FileNotFoundError, match="missing for rep 7"):
        source.fetch(standalone_context({"replicate": 7}))


def test_a_file_fetched_outside_of_runs_goes_with_the_process() -> None:
    producer().run()
    program = (
        "from druse import standalone_context; from druse.stored import StoredArtifact\n"
        "source = StoredArtifact('up', 'WriteStep', 'n.txt', 'more', 2)\n"
        "path = source.fetch(standalone_context({'replicate': 1}))\n"
        "assert path.read_text() == '15'; print(path)"
    )
    path = subprocess.check_output([sys.executable, "-c", program], text=True).strip()
    assert path
    assert not Path(path).exists()


def test_an_order_that_is_only_said_holds() -> None:
    first, second = producer("up"), producer("later", plus=7)
    order: list[str] = []

    class Notes(BasePlugin):
        def after_step(self, experiment: Any, step: Any, data: Any, ctx: Any) -> None:
            order.append(experiment.name)

    first.plugins.append(Notes())
    second.plugins.append(Notes())
    graph = ExperimentGraph()
    graph.add_experiment(second)
    graph.add_experiment(first)
    graph.add_dependency(second, first)
    graph.run(replicates=2, treatments=[])
    assert order == ["up"] * 2 + ["later"] * 2
