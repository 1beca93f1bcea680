from __future__ import annotations

import pytest

from druse import (
    Artifact,
    Experiment,
    ExperimentGraph,
    ExperimentInput,
    FrozenContext,
    Pipeline,
    Treatment,
    data_source,
    pipeline_step,
)
from druse.errors import DefinitionError


@data_source
def nothing(ctx: FrozenContext) -> int:
    return 0


@pipeline_step()
def same(data: object, ctx: FrozenContext) -> object:
    return data


def experiment(
    name: str | None,
    *inputs: Artifact,
    writes: list[Artifact] | None = None,
    treatments: list[Treatment] | None = None,
    replicates: int = 1,
) -> Experiment:
    named = {f"input_{place}": artifact for place, artifact in enumerate(inputs)}
    return Experiment(
        ExperimentInput(**named) if named else nothing(),
        Pipeline([same()]),
        name=name,
        outputs=writes or [],
        treatments=treatments,
        replicates=replicates,
    )


def test_the_order_follows_the_artifacts() -> None:
    a, b = Artifact("a"), Artifact("b")
    last = experiment("last", a, b)
    middle = experiment("middle", a, writes=[b])
    first = experiment("first", writes=[a])
    graph = ExperimentGraph.from_experiments([last, middle, first])
    assert graph.order() == ["first", "middle", "last"]
    assert graph.name == "last"
    assert list(ExperimentGraph(last, middle, first).experiments) == ["first", "middle", "last"]


def test_treatments_are_inherited_by_name() -> None:
    a = Artifact("a")
    first = experiment("first", writes=[a], treatments=[Treatment("x", {"k": 1})])
    own = Treatment("x", {"k": 2})
    last = experiment("last", a, treatments=[own, Treatment("y", {})])
    graph = ExperimentGraph(first, last)
    assert [t.name for t in graph.treatments_of("last")] == ["x", "y"]
    assert graph.treatments_of("last")[0] is own
    assert [t.name for t in graph.treatments_of("first")] == ["x"]


def test_a_graph_that_cannot_run_is_refused() -> None:
    a, b, unknown = Artifact("a"), Artifact("b"), Artifact("unknown")
    with pytest.raises(ValueError, match="Experiment must have a name"):
        ExperimentGraph(experiment(None))
    with pytest.raises(ValueError, match="'unknown' has no producing experiment"):
        ExperimentGraph(experiment("reads", unknown))
    with pytest.raises(ValueError, match=r"contains cycles: \w+ -> \w+ -> \w+"):
        ExperimentGraph(experiment("p", b, writes=[a]), experiment("q", a, writes=[b]))
    with pytest.raises(ValueError, match="Unused experiments detected: alone"):
        first = experiment("first", writes=[a])
        ExperimentGraph(first, experiment("last", a), experiment("alone"))
    with pytest.raises(ValueError, match="produced by multiple experiments"):
        ExperimentGraph(experiment("one", writes=[a]), experiment("two", writes=[a]))
    with pytest.raises(DefinitionError, match="where file names ignore case"):
        ExperimentGraph(experiment("Same", writes=[a]), experiment("same", a))


def test_dependencies_can_be_added_by_hand() -> None:
    first, last = experiment("first"), experiment("last")
    graph = ExperimentGraph(name="by hand")
    with pytest.raises(ValueError, match="must be added to the graph first"):
        graph.add_dependency(last, first)
    graph.add_experiment(last)
    graph.add_experiment(first)
    graph.add_dependency(last, first)
    assert graph.order() == ["first", "last"]


def test_two_inputs_with_different_counts_of_replicates_are_refused() -> None:
    a, b = Artifact("a"), Artifact("b")
    experiment("two", writes=[a], replicates=2)
    experiment("three", writes=[b], replicates=3)
    with pytest.raises(ValueError, match="Conflicting replicates across artifacts"):
        ExperimentInput(a=a, b=b)
