"""Experiments: runs, treatments, hypotheses, hooks, errors, artifacts."""

import json
from pathlib import Path

from crystallize import (
    Artifact,
    ArtifactPlugin,
    BasePlugin,
    DataSource,
    Experiment,
    Hypothesis,
    Pipeline,
    Treatment,
    data_source,
    get_datasource,
    hypothesis,
    list_datasources,
    pipeline_step,
    quick_experiment,
    register_datasource,
    treatment,
    verifier,
)
from raising import raised


@data_source
def one(ctx):
    return 1 + ctx.get("offset", 0)


class Counted(DataSource):
    def __init__(self, replicates):
        self.replicates = replicates

    def fetch(self, ctx):
        return ctx["replicate"]


@pipeline_step()
def value(data, ctx, factor=1):
    ctx.metrics.add("value", data * factor)
    ctx.metrics.add("condition", ctx["condition"])
    return data * factor


@pipeline_step()
def fails(data, ctx, at=1):
    if ctx["condition"] == "bad" and ctx["replicate"] == at:
        raise ValueError("no such luck")
    return data


@pipeline_step()
def seen(data, ctx):
    ctx.metrics.add("keys", sorted(ctx.as_dict()))
    ctx.metrics.add("nested", ctx.get("nested"))
    return data


@pipeline_step()
def write(data, ctx, out: Artifact):
    ctx.metrics.add("before", len(ctx.artifacts))
    out.write(f"{ctx['condition']}/{ctx['replicate']}")
    ctx.artifacts.add("plain.bin", bytes([ctx["replicate"]]))
    return data


@pipeline_step()
def look(data, ctx):
    ctx.metrics.add("after", len(ctx.artifacts))
    ctx.artifacts.add("plain.bin", b"the same name in another step")
    return data


def experiment(*steps, **more):
    return Experiment(datasource=one(), pipeline=Pipeline(list(steps)), **more)


def shown(result):
    return {
        "baseline": result.metrics.baseline.metrics,
        "treatments": {n: t.metrics for n, t in result.metrics.treatments.items()},
        "errors": sorted(result.errors),
    }


def case_treatments():
    @treatment("called")
    def called(ctx):
        ctx.add("factor", ctx["replicate"] + 10)

    made = experiment(value(), replicates=2, treatments=[Treatment("own", {"factor": 3})])
    return {
        "own": shown(made.run()),
        "given": shown(made.run(treatments=[called(), Treatment("offset", {"offset": 5})])),
        "none": shown(made.run(treatments=[])),
        "baseline": shown(
            made.run(treatments=[Treatment("baseline", {"factor": 7}), Treatment("x", {})])
        ),
        "map": [Treatment("m", {"a": 1}).apply_map, called().apply_map],
        "name": [called().name, repr(Treatment("m", {})) in ("Treatment(name='m')",)],
    }


def case_a_treatment_that_sets_what_is_set():
    made = experiment(value(), initial_ctx={"factor": 2})
    result = made.run(treatments=[Treatment("again", {"factor": 3}), Treatment("fine", {})])
    return shown(result)


def case_initial_context():
    made = experiment(seen(), initial_ctx={"nested": {"deep": [1, {"er": 2}]}})
    return shown(made.run(treatments=[Treatment("t", {"more": None})]))


def case_replicates():
    made = Experiment(datasource=Counted(3), pipeline=Pipeline([value()]), replicates=5)
    return {
        "of the source": made.run().metrics.baseline.metrics["value"],
        "given": made.run(replicates=2).metrics.baseline.metrics["value"],
        "none": experiment(value(), replicates=0).run().metrics.baseline.metrics["value"],
        "no number": raised(lambda: experiment(value(), replicates="3"), "must be an integer"),
        "provenance": made.run(replicates=4).provenance["replicates"],
        "seeds": len(made.run(replicates=4).provenance["seeds"]["baseline"]),
    }


def case_failures():
    made = experiment(fails(at=1), value())
    result = made.run(treatments=[Treatment("bad", {}), Treatment("good", {})], replicates=3)
    error = result.errors["bad_rep_1"]
    return {
        "shown": shown(result),
        "message": str(error),
        "original": [type(error.original_exception).__name__, str(error.original_exception)],
        "traceback": "no such luck" in error.traceback_str and "fails" in error.traceback_str,
    }


def case_a_datasource_that_fails():
    class Bad(DataSource):
        def fetch(self, ctx):
            if ctx["replicate"] == 1:
                raise KeyError("lost")
            return 4

    result = Experiment(datasource=Bad(), pipeline=Pipeline([value()])).run(replicates=3)
    error = result.errors["baseline_rep_1"]
    return {
        "shown": shown(result),
        "kind": isinstance(error, KeyError),
        "where": [error.replicate, error.condition, "lost" in error.traceback_str],
    }


@verifier
def compare(baseline, treatment, margin=0):
    return {
        "p_value": baseline["value"][0] - treatment["value"][0] + margin,
        "names": sorted(baseline),
    }


@hypothesis(verifier=compare(), metrics="value")
def by_p(result):
    return result["p_value"]


def case_hypotheses():
    treatments = [Treatment("two", {"factor": 2}), Treatment("five", {"factor": 5})]
    grouped = Hypothesis(
        compare(margin=1),
        metrics=[["value"], ["value", "condition"]],
        ranker=lambda results: results[0]["p_value"],
        name="grouped",
    )
    unnamed = Hypothesis(compare())
    made = experiment(value(), treatments=treatments, hypotheses=[by_p, grouped, unnamed])
    result = made.run()
    return {
        "all": [[h.name, h.results, h.ranking] for h in result.metrics.hypotheses],
        "one": result.get_hypothesis("grouped").get_for_treatment("two"),
        "none": [result.get_hypothesis("?"), result.get_hypothesis("by_p").get_for_treatment("?")],
        "given": [h.name for h in made.run(hypotheses=[by_p]).metrics.hypotheses],
        "without": made.run(hypotheses=[]).metrics.hypotheses,
        "no treatments": raised(
            lambda: made.run(treatments=[]), "Cannot verify hypotheses without treatments"
        ),
        "missing": raised(
            lambda: Hypothesis(compare(), metrics="other").verify({"value": [1]}, {"value": [2]}),
            "Required metric 'other' missing from pipeline output",
        ),
        "unknown": raised(lambda: compare(margn=1), "Unknown parameters: margn"),
        "ranked": by_p.rank_treatments({"b": {"p_value": 2}, "a": {"p_value": 1}}),
        "ranked none": by_p.rank_treatments({}),
    }


class Noting(BasePlugin):
    def __init__(self, name, notes):
        self.name = name
        self.notes = notes

    def init_hook(self, experiment):
        self.notes.append(f"{self.name} init {experiment.name}")

    def before_run(self, experiment):
        self.notes.append(f"{self.name} before run {experiment.replicates}")

    def before_replicate(self, experiment, ctx):
        self.notes.append(f"{self.name} before {ctx['condition']}/{ctx.get('replicate', 0)}")

    def before_step(self, experiment, step):
        self.notes.append(f"{self.name} before {type(step).__name__}")

    def after_step(self, experiment, step, data, ctx):
        self.notes.append(f"{self.name} after {type(step).__name__} {data}")

    def after_run(self, experiment, result):
        self.notes.append(f"{self.name} after run {result.metrics.baseline.metrics['value']}")


def case_hooks():
    notes = []
    made = experiment(
        value(),
        fails(),
        name="noted",
        plugins=[Noting("first", notes), Noting("second", notes)],
        treatments=[Treatment("t", {"factor": 2})],
    )
    made.run(replicates=2)
    made.run(replicates=1, treatments=[Treatment("bad", {})])
    notes.append("apply")
    made.apply(Treatment("t", {"factor": 3}))
    return notes


def case_plugins_by_class():
    plugin = ArtifactPlugin(root_dir="elsewhere")
    made = experiment(value(), plugins=[plugin])
    return {
        "found": made.get_plugin(ArtifactPlugin) is plugin,
        "any": made.get_plugin(BasePlugin) is plugin,
        "none": made.get_plugin(Noting),
        "kinds": sorted(type(p).__name__ for p in made.plugins),
    }


def case_artifacts():
    out = Artifact("out.txt", loader=lambda path: path.read_text().upper())
    made = experiment(
        write(out=out),
        look(),
        name="writer",
        outputs=[out],
        treatments=[Treatment("t", {})],
        plugins=[ArtifactPlugin(root_dir="here", versioned=True)],
    )
    result = made.run(replicates=2)
    made.run(replicates=2)
    source = made.artifact_datasource(step="WriteStep", name="out.txt", condition="t")
    reader = Experiment(
        datasource=made.artifact_datasource("WriteStep", "out.txt"), pipeline=Pipeline([text()])
    )
    return {
        "metrics": shown(result),
        "text": {c: Path(p).read_text() for c, p in result.get_artifact("out.txt").items()},
        "no such": result.get_artifact("none"),
        "replicates": source.replicates,
        "chained": shown(reader.run()),
        "missing": raised(
            lambda: experiment(text(), name="never").artifact_datasource(
                step="x", name="y", require_metadata=True
            ),
            "Metadata missing",
        ),
        "unbound": raised(lambda: out.write("x"), "Artifact not bound to context"),
        "manifest": json.loads(Path("here/writer/v1/_manifest.json").read_text()),
    }


@pipeline_step()
def text(data, ctx):
    return data, {"text": data.read_text(), "name": data.name}


DEFAULT = Artifact("default.txt")


@pipeline_step()
def write_default(data, ctx, by_default: Artifact = DEFAULT):
    by_default.write("d")
    return data


def case_an_artifact_by_default():
    made = experiment(
        write_default(),
        name="writer",
        outputs=[DEFAULT],
        plugins=[ArtifactPlugin(root_dir="here")],
    )
    return {
        "metrics": shown(made.run()),
        "files": sorted(str(p) for p in Path("here").rglob("*.txt")),
    }


def case_applying():
    made = experiment(value(), replicates=3, treatments=[Treatment("t", {"factor": 2})])
    return [
        made.apply(),
        made.apply(Treatment("x", {"factor": 4})),
        made.apply(data=10),
        made.apply(Treatment("x", {"offset": 4}), seed=3),
    ]


def case_validation():
    return {
        "no source": raised(
            lambda: Experiment(datasource=None, pipeline=Pipeline([value()])).validate(),
            "Experiment requires datasource and pipeline",
        ),
        "run": raised(
            lambda: Experiment(datasource=None, pipeline=Pipeline([value()])).run(),
            "Experiment requires datasource and pipeline",
        ),
    }


def case_registered_sources():
    @data_source("by name", register=True)
    def named(ctx, start=4):
        return start

    @data_source(register=True)
    def by_function(ctx):
        return 5

    @data_source("never")
    def unregistered(ctx):
        return 6

    register_datasource("own", named(start=7))
    return {
        "names": sorted(list_datasources()),
        "values": [get_datasource(n).fetch(None) for n in ("by name", "by_function", "own")],
        "missing": raised(lambda: get_datasource("nothing"), "nothing"),
        "twice": raised(lambda: register_datasource("own", unregistered()), "already registered"),
    }


def case_quick():
    def scored(config, ctx):
        return [config["x"], ctx["replicate"], ctx["condition"]]

    return {
        "configs": quick_experiment(scored, {"a": {"x": 1}, "b": {"x": 2}}, replicates=2),
        "none": quick_experiment(lambda: 3, replicates=2),
        "no ctx": quick_experiment(lambda config: config, {"a": 5}),
    }


def case_the_default_strategy():
    return [Experiment.strategy, experiment(value()).strategy]
