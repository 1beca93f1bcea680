"""What the other programs leave out: order under errors, directions, defaults, the words said."""

import asyncio
import contextlib
import io
import json
from pathlib import Path

from crystallize import (
    Artifact,
    ArtifactPlugin,
    DataSource,
    Experiment,
    ExperimentGraph,
    ExperimentInput,
    FrozenContext,
    Hypothesis,
    Pipeline,
    PipelineStep,
    Treatment,
    hypothesis,
    inject_from_ctx,
    pipeline_step,
    resource_factory,
    verifier,
)
from raising import raised
from three_steps import experiment, files, first, second, start, third

# --- hypotheses ------------------------------------------------------------------------------


@verifier
def means(baseline, treatment, scale=1):
    return {"gain": scale * (sum(treatment["first"]) - sum(baseline["first"]))}


def case_the_direction_of_a_ranking():
    exp = experiment(
        [first()],
        treatments=[Treatment("low", {"add": -5}), Treatment("high", {"add": 5})],
        hypotheses=[
            Hypothesis(means(), "first", lambda r: r["gain"], name="least"),
            Hypothesis(means(), "first", lambda r: -r["gain"], name="most"),
            Hypothesis(means(scale=2), ["first"], ranker=lambda r: 0, name="tie"),
        ],
        replicates=2,
    )
    result = exp.run()
    return {
        h.name: [dict(h.results), h.ranking["best"], [list(each) for each in h.ranking["ranked"]]]
        for h in result.metrics.hypotheses
    }


def case_names_of_hypotheses():
    def by_gain(result):
        return result["gain"]

    @hypothesis(verifier=means(), metrics="first")
    def ranked(result):
        return result["gain"]

    return [
        Hypothesis(means(), "first", by_gain).name,
        Hypothesis(means(), "first").name,
        Hypothesis(means(), "first", by_gain, name="own").name,
        ranked.name,
    ]


def case_ranking_without_p_values():
    stated = Hypothesis(means(), "first", name="h")
    return [
        stated.rank_treatments({"a": {"p_value": 0.3}, "b": {"p_value": 0.1}, "c": {}}),
        stated.rank_treatments({}),
    ]


def case_hypotheses_over_groups_of_metrics():
    @verifier
    def names(baseline, treatment):
        return {"names": sorted(baseline) + sorted(treatment)}

    base, treated = {"a": [1], "b": [2], "c": [3]}, {"a": [4], "b": [5], "c": [6]}
    return [
        Hypothesis(names(), spec, name="h").verify(base, treated)
        for spec in (None, "a", ["a", "b"], [["a"], ["b", "c"]])
    ]


# --- steps -----------------------------------------------------------------------------------


@pipeline_step()
async def waits(data, ctx, seconds=0.001):
    await asyncio.sleep(seconds)
    ctx.metrics.add("waited", data)
    return data


def case_async_steps_within_a_running_loop():
    async def main():
        one = await experiment([waits()], "one", replicates=2).arun()
        both = await asyncio.gather(
            experiment([waits()], "two").arun(), experiment([waits()], "three").arun()
        )
        refused = raised(lambda: experiment([waits()], "four").run(), "event loop", "await", "arun")
        return [one.metrics.baseline.metrics, [r.metrics.baseline.metrics for r in both], refused]

    return asyncio.run(main())


def case_parameters_by_injection():
    made = []

    def make(ctx):
        made.append(1)
        return ctx.get("size", 1) * 10

    @inject_from_ctx
    def called(ctx, *, size=3, room=None, factory=make):
        return [size, room, factory]

    class Step(PipelineStep):
        @property
        def params(self):
            return {}

        @inject_from_ctx
        def __call__(self, data, ctx, *, size=1, other="none"):
            ctx.metrics.add("seen", [size, other])
            return data

    ctx = FrozenContext({"size": 5, "room": "r"})
    result = experiment([Step()], treatments=[Treatment("t", {"size": 9, "other": "x"})]).run()
    return [
        called(ctx),
        called(ctx, size=1, factory=2),
        called(FrozenContext({})),
        len(made),
        result.metrics.baseline.metrics,
        result.metrics.treatments["t"].metrics,
    ]


def case_resources_are_made_once_for_a_process():
    made = []

    def connect(ctx):
        made.append(1)
        return {"number": len(made)}

    shared = resource_factory(connect, key="connection of this case")
    ctx = FrozenContext({})
    return [shared(ctx) is shared(ctx), shared(ctx)["number"], len(made)]


def case_steps_that_return_pairs():
    @pipeline_step()
    def pair(data, ctx):
        return data, {"size": 3, "name": "x"}

    @pipeline_step()
    def triple(data, ctx):
        return data, {"size": 4}, "more"

    @pipeline_step()
    def not_metrics(data, ctx):
        return 1, 2

    @pipeline_step()
    def shows(data, ctx):
        ctx.metrics.add("kind", type(data).__name__)
        return data

    return [
        experiment(steps, f"e{place}").run().metrics.baseline.metrics
        for place, steps in enumerate(
            ([pair(), shows()], [triple(), shows()], [not_metrics(), shows()])
        )
    ]


# --- experiments -----------------------------------------------------------------------------


def case_what_validate_and_run_refuse():
    return {
        "no pipeline": raised(lambda: Experiment(datasource=start(), pipeline=None).validate()),
        "no steps": raised(lambda: Pipeline([]), "at least one step"),
        "no name in a graph": raised(
            lambda: ExperimentGraph.from_experiments(
                [Experiment(datasource=start(), pipeline=Pipeline([first()]))]
            ),
            "Experiment must have a name",
        ),
        "strategy": experiment([first()]).strategy,
        "validated": experiment([first()]).validate(),
    }


def case_what_run_overrides_is_not_kept():
    exp = experiment([first()], treatments=[Treatment("a", {"add": 1})], replicates=2)
    other = exp.run(treatments=[Treatment("b", {"add": 2})], replicates=1)
    again = exp.run()
    return [
        sorted(other.metrics.treatments),
        other.metrics.baseline.metrics,
        sorted(again.metrics.treatments),
        again.metrics.baseline.metrics,
        [t.name for t in exp.treatments],
        exp.replicates,
    ]


def case_artifacts_read_by_path():
    exp = experiment([first()], plugins=[ArtifactPlugin(root_dir="out")], replicates=3)
    early = raised(
        lambda: exp.artifact_datasource(step="FirstStep", name="first.txt", require_metadata=True),
        "etadata",
    )
    lenient = exp.artifact_datasource(step="FirstStep", name="first.txt")
    missing = raised(lambda: lenient.fetch(FrozenContext({"replicate": 0})), "first.txt")
    exp.run()
    source = exp.artifact_datasource(step="FirstStep", name="first.txt", require_metadata=True)
    path = source.fetch(FrozenContext({"replicate": 2}))
    beyond = raised(lambda: source.fetch(FrozenContext({"replicate": 3})), "first.txt")
    return [
        early,
        missing,
        source.replicates,
        path.read_text(),
        path.name,
        isinstance(path, Path),
        beyond,
        isinstance(source, DataSource),
    ]


def case_what_a_run_leaves_in_its_folder():
    exp = experiment(
        [first(), third()],
        plugins=[ArtifactPlugin(root_dir="out")],
        treatments=[Treatment("t", {"add": 1})],
        replicates=2,
    )
    result = exp.run()
    base = Path("out/exp/v0")
    manifest = json.loads((base / "_manifest.json").read_text())
    metadata = json.loads((base / "metadata.json").read_text())
    return {
        "manifest": manifest,
        "metadata": [metadata["name"], metadata["replicates"], sorted(metadata)],
        "results": json.loads((base / "t/results.json").read_text()),
        "files": files(base),
        "artifacts": {
            k: {c: str(p)[-40:] for c, p in v.items()} for k, v in sorted(result.artifacts.items())
        },
        "got": sorted(result.get_artifact("first.txt")),
        "none": result.get_artifact("nothing"),
    }


def case_applying_a_treatment():
    exp = experiment([first(), second()], treatments=[Treatment("t", {"add": 7})])
    failing = Treatment("u", {"fail_at": 1})
    return [
        exp.apply(data=1),
        exp.apply(treatment=Treatment("u", {"add": 3}), data=1),
        raised(lambda: exp.apply(treatment=failing, data=1), "it fails here"),
    ]


# --- graphs ----------------------------------------------------------------------------------


def chain():
    out = Artifact("number.txt")

    @pipeline_step()
    def write(data, ctx, out, add=0):
        out.write(str(data + add).encode())
        ctx.metrics.add("made", data + add)
        return data

    @pipeline_step()
    def read(data, ctx, factor=1):
        ctx.metrics.add("read", int(data["n"]) * factor)
        return data

    up = experiment([write(out=out)], "up", outputs=[out], replicates=2)
    down = Experiment(
        datasource=ExperimentInput(n=out), pipeline=Pipeline([read()]), name="down", replicates=2
    )
    return up, down


def case_treatments_are_inherited_by_name():
    up, down = chain()
    up.treatments = [Treatment("more", {"add": 10}), Treatment("both", {"add": 100})]
    down.treatments = [Treatment("own", {"factor": 3}), Treatment("both", {"factor": 2})]
    found = ExperimentGraph.from_experiments([up, down]).run()
    return {
        name: {
            "baseline": result.metrics.baseline.metrics,
            **{t: m.metrics for t, m in result.metrics.treatments.items()},
        }
        for name, result in found.items()
    }


def case_treatments_that_run_is_given_count_for_all():
    up, down = chain()
    up.treatments = [Treatment("mine", {"add": 10})]
    found = ExperimentGraph.from_experiments([up, down]).run(
        treatments=[Treatment("given", {"add": 1, "factor": 2})], replicates=3
    )
    return {
        name: [sorted(r.metrics.treatments), r.metrics.treatments["given"].metrics]
        for name, r in found.items()
    }


def case_what_a_progress_callback_is_told():
    up, down = chain()
    told = []

    async def note(*said):
        told.append(list(said))

    asyncio.run(ExperimentGraph.from_experiments([up, down]).arun(progress_callback=note))
    first = sorted(told)  # theirs begins the second one when the first has ended
    told.clear()
    asyncio.run(
        ExperimentGraph.from_experiments(list(chain())).arun(
            strategy="resume", progress_callback=note
        )
    )
    return [first, told]


def case_what_graphs_refuse():
    up, down = chain()
    alone = experiment([first()], "alone")
    nameless = Experiment(datasource=start(), pipeline=Pipeline([first()]))
    graph = ExperimentGraph()
    graph.add_experiment(up)
    graph.add_experiment(down)
    graph.add_dependency(down, up)
    graph.add_dependency(up, down)
    return {
        "no producer": raised(
            lambda: ExperimentGraph.from_experiments([down]),
            "number.txt",
            "no producing experiment",
        ),
        "unused": raised(
            lambda: ExperimentGraph.from_experiments([up, down, alone]),
            "Unused experiments",
            "alone",
        ),
        "nameless": raised(lambda: ExperimentGraph().add_experiment(nameless), "must have a name"),
        "not added": raised(
            lambda: ExperimentGraph().add_dependency(down, up), "added to the graph first"
        ),
        "cycle": raised(graph.run, "contains cycles"),
        "name": ExperimentGraph(up, down).name,
    }


SOURCES = """
from PACKAGE import data_source

@data_source
def numbers(ctx):
    return 1
"""
STEPS = """
from PACKAGE import Artifact, pipeline_step

@pipeline_step()
def write(data, ctx, out: Artifact):
    out.write(b"1")
    return data

@pipeline_step()
def read(data, ctx):
    return data
"""


def case_a_graph_from_yaml_is_shown():
    package = Experiment.__module__.partition(".")[0]
    for name, source, step in (("up", "numbers", "write"), ("down", "up#out", "read")):
        folder = Path("experiments") / name
        folder.mkdir(parents=True)
        outputs = "outputs: {out: {}}\n" if name == "up" else ""
        config = f"name: {name}\ndatasource: {{n: {source}}}\nsteps: [{step}]\n{outputs}"
        (folder / "config.yaml").write_text(config)
        (folder / "datasources.py").write_text(SOURCES.replace("PACKAGE", package))
        (folder / "steps.py").write_text(STEPS.replace("PACKAGE", package))
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        ExperimentGraph.visualize_from_yaml("experiments/down/config.yaml")
    return said.getvalue().split()


# --- results ---------------------------------------------------------------------------------


def case_a_result_as_plain_data():
    result = experiment(
        [first()],
        treatments=[Treatment("t", {"add": 1})],
        hypotheses=[Hypothesis(means(), "first", lambda r: r["gain"], name="h")],
        replicates=2,
    ).run()
    said = result.to_dict()
    return {
        "keys": sorted(said.keys() - {"run"}),
        "metrics": said["metrics"],
        "hypotheses": json.loads(json.dumps(said["hypotheses"])),
        "json": sorted(json.loads(result.to_json()).keys() - {"run"}),
        "found": result.get_hypothesis("h").name,
        "none": result.get_hypothesis("other"),
    }


def case_trees_of_all_forms():
    result = experiment([first()], treatments=[Treatment("t", {"add": 1})], replicates=2).run()
    return {
        "unknown": raised(lambda: result.print_tree("treatment > nothing"), "Invalid format spec"),
        "not last": raised(lambda: result.print_tree("action > step > treatment"), "final element"),
    }
