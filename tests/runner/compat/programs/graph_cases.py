"""Graphs: what they refuse, in which order they run, what is inherited, what is read."""

import asyncio

from crystallize import (
    Artifact,
    Experiment,
    ExperimentGraph,
    ExperimentInput,
    Pipeline,
    Treatment,
    data_source,
    pipeline_step,
)
from raising import raised


@data_source
def nothing(ctx):
    return 0


@pipeline_step()
def write(data, ctx, out: Artifact, level=1):
    out.write(f"{ctx['condition']}/{ctx['replicate']}/{level}")
    return data, {"level": level}


@pipeline_step()
def read(data, ctx, level=1):
    value = data["in"] if isinstance(data, dict) else data
    return data, {"read": value.decode(), "level": level}


@pipeline_step()
def done(data):
    return data, {"done": 1}


def producer(name, artifact, **more):
    return Experiment(
        datasource=nothing(),
        pipeline=Pipeline([write(out=artifact)]),
        name=name,
        outputs=[artifact],
        **more,
    )


def consumer(name, source, **more):
    return Experiment(datasource=source, pipeline=Pipeline([read()]), name=name, **more)


def shown(results):
    return {
        name: [result.metrics.baseline.metrics]
        + [[n, t.metrics] for n, t in sorted(result.metrics.treatments.items())]
        for name, result in results.items()
    }


def case_refused():
    a, b, unknown = Artifact("a"), Artifact("b"), Artifact("unknown")
    source = ExperimentInput(**{"in": unknown})

    def cycle():
        first = Experiment(
            datasource=ExperimentInput(x=b),
            pipeline=Pipeline([done()]),
            name="first",
            outputs=[a],
        )
        second = Experiment(
            datasource=ExperimentInput(x=a),
            pipeline=Pipeline([done()]),
            name="second",
            outputs=[b],
        )
        return ExperimentGraph.from_experiments([first, second])

    def cycle_by_hand():
        first, second = (producer(n, Artifact(n)) for n in ("p", "q"))
        graph = ExperimentGraph()
        graph.add_experiment(first)
        graph.add_experiment(second)
        graph.add_dependency(first, second)
        graph.add_dependency(second, first)
        return graph.run()

    def alone():
        x = Artifact("x")
        three = [
            producer("w", x),
            consumer("r", ExperimentInput(i=x)),
            producer("u", Artifact("y")),
        ]
        return ExperimentGraph(*three)

    graph = ExperimentGraph()
    named = producer("named", Artifact("n"))
    nameless = producer(None, Artifact("m"))
    return {
        "no name": raised(lambda: ExperimentGraph(nameless), "Experiment must have a name"),
        "added": raised(lambda: graph.add_experiment(nameless), "Experiment must have a name"),
        "not added": raised(
            lambda: graph.add_dependency(named, named), "Experiments must be added to the graph"
        ),
        "both": raised(lambda: graph.add_dependency(named, nameless), "must have a name"),
        "unknown": raised(
            lambda: ExperimentGraph(consumer("c", source)), "'unknown' has no producing experiment"
        ),
        "cycle": raised(cycle, "contains cycles"),
        "by hand": raised(cycle_by_hand, "contains cycles"),
        "unused": raised(alone, "Unused experiments", "u"),
        "no inputs": raised(ExperimentInput, "At least one input must be provided"),
        "empty": ExperimentGraph().run(),
    }


def case_by_hand():
    first, second = producer("first", Artifact("f")), producer("second", Artifact("s"))
    graph = ExperimentGraph(name="mine")
    graph.add_experiment(second)
    graph.add_experiment(first)
    graph.add_dependency(second, first)
    events = []

    async def note(what, name):
        events.append([what, name])

    results = asyncio.run(graph.arun(progress_callback=note, replicates=2))
    return {
        "name": graph.name,
        "order": list(results),
        "events": events,
        "shown": shown(results),
    }


def case_inheritance_and_mixed_replicates():
    out, middle = Artifact("out"), Artifact("middle")
    first = producer("first", out, treatments=[Treatment("high", {"level": 3})], replicates=2)
    second = Experiment(
        datasource=ExperimentInput(**{"in": out}),
        pipeline=Pipeline([read(), write(out=middle)]),
        name="second",
        outputs=[middle],
        treatments=[Treatment("low", {"level": -1})],
        replicates=3,
    )
    third = consumer("third", middle, treatments=[Treatment("high", {"level": 9})], replicates=4)
    return shown(ExperimentGraph.from_experiments([third, first, second]).run())


def case_fewer_conditions_upstream():
    out = Artifact("out")
    first = producer("first", out)
    second = consumer("second", ExperimentInput(**{"in": out}))
    graph = ExperimentGraph(first, second)
    both = [Treatment("a", {"level": 5})]
    return [shown(graph.run(treatments=both)), shown(graph.run())]


def case_a_single_artifact_as_datasource():
    out = Artifact("out", loader=lambda path: path.read_bytes()[:8])
    return shown(ExperimentGraph(producer("w", out), consumer("r", out)).run(replicates=2))


def case_in_a_loop():
    out = Artifact("out")
    graph = ExperimentGraph(producer("w", out), consumer("r", out))

    async def run():
        return shown(await graph.arun())

    experiment = producer("alone", Artifact("x"))

    async def run_one():
        return raised(experiment.run, "An asyncio event loop is already running", "arun")

    return [asyncio.run(run()), asyncio.run(run_one())]
