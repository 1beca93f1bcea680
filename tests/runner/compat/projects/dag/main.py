"""Two experiments that write artifacts, and one that reads both; replicates that differ."""

import json
import os

from crystallize import (
    Artifact,
    ArtifactPlugin,
    Experiment,
    ExperimentGraph,
    ExperimentInput,
    FrozenContext,
    Pipeline,
    Treatment,
    data_source,
    pipeline_step,
)


def to_json(value) -> bytes:
    return json.dumps(value).encode()


def from_json(path):
    return json.loads(path.read_text())


@data_source
def sunshine(ctx: FrozenContext):
    return [6, 8 + ctx.get("replicate"), 7]


@data_source
def rain(ctx: FrozenContext):
    return [1.5, 0.25, 3.0]


@pipeline_step()
def average(data, ctx: FrozenContext, out: Artifact):
    mean = sum(data) / len(data) * ctx.get("factor", 1.0)
    out.write({"mean": mean, "condition": ctx.get("condition")})
    ctx.metrics.add("mean", mean)
    return mean


@pipeline_step()
def mood(data: dict, ctx: FrozenContext, weight: float = 1.0):
    value = data["sun"]["mean"] - weight * data["rain"]["mean"]
    ctx.metrics.add("mood", value)
    ctx.metrics.add("from", [data["sun"]["condition"], data["rain"]["condition"]])
    return value


sun_out = Artifact("sun.json", loader=from_json, writer=to_json)
rain_out = Artifact("rain.json", loader=from_json, writer=to_json)
plugins = [ArtifactPlugin(root_dir="out", versioned=True)]

sun = Experiment(
    datasource=sunshine(),
    pipeline=Pipeline([average(out=sun_out)]),
    plugins=list(plugins),
    name="sun",
    outputs=[sun_out],
    replicates=2,
    treatments=[Treatment("bright", {"factor": 1.5})],
)
wet = Experiment(
    datasource=rain(),
    pipeline=Pipeline([average(out=rain_out)]),
    plugins=list(plugins),
    name="wet",
    outputs=[rain_out],
)
feeling = Experiment(
    datasource=ExperimentInput(sun=sun_out, rain=rain_out),
    pipeline=Pipeline([mood()]),
    plugins=list(plugins),
    name="feeling",
    replicates=3,
    treatments=[Treatment("careless", {"weight": 0.5})],
)


def shown(results):
    return {
        name: {
            "baseline": result.metrics.baseline.metrics,
            "treatments": {n: t.metrics for n, t in result.metrics.treatments.items()},
            "errors": sorted(result.errors),
        }
        for name, result in results.items()
    }


def files():
    found = (os.path.join(folder, n) for folder, _, names in os.walk("out") for n in names)
    return sorted(os.path.relpath(f, "out") for f in found if ".views" not in f)


if __name__ == "__main__":
    graph = ExperimentGraph(sun, wet, feeling)
    results = graph.run()
    paths = results["sun"].get_artifact("sun.json")
    first = shown(results)
    again = shown(graph.run(treatments=[Treatment("everywhere", {"factor": 3.0})], replicates=2))
    print(
        json.dumps(
            {
                "name": graph.name,
                "first": first,
                "artifact": {n: from_json(p) for n, p in paths.items()},
                "again": again,
                "files": [f for f in files() if not f.endswith(".crystallize_complete")],
            }
        )
    )
