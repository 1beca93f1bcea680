"""Reads the folders of `numbers`, which druse exported below `data/`, by Crystallize's readers."""

import json
import logging
from pathlib import Path

from crystallize import (
    Artifact,
    ArtifactPlugin,
    Experiment,
    FrozenContext,
    Pipeline,
    data_source,
    pipeline_step,
)
from crystallize.plugins import load_all_metrics, load_metrics


@data_source
def nothing(ctx):
    return None


@pipeline_step()
def count(data, ctx):
    ctx.metrics.add("bytes", len(data.read_bytes()))
    return data


@pipeline_step()
def joined(data, ctx):
    ctx.metrics.add("text", data)
    return data


def text(path):
    return path.read_text()


def main():
    logging.disable(logging.CRITICAL)
    base = Path("data/numbers")
    out = Artifact("number.txt", loader=text)
    produced = Experiment(
        datasource=nothing(),
        pipeline=Pipeline([count()]),
        plugins=[ArtifactPlugin(root_dir="data", versioned=True)],
        name="numbers",
        outputs=[out],
        replicates=7,
    )
    source = produced.artifact_datasource(
        step="WriteStep", name="number.txt", condition="doubled", require_metadata=True
    )
    fetched = {}
    for condition in ("baseline", "doubled", "unknown"):
        for replicate in range(4):
            ctx = FrozenContext({"condition": condition, "replicate": replicate})
            fetched[f"{condition}/{replicate}"] = out.fetch(ctx)
    consumer = Experiment(
        datasource=out, pipeline=Pipeline([joined()]), name="consumer", replicates=3
    )
    by_path = Experiment(datasource=source, pipeline=Pipeline([count()]), name="by_path")
    print(
        json.dumps(
            {
                "latest": load_metrics(base),
                "first": load_metrics(base, 0),
                "all": load_all_metrics(base),
                "all of the first": load_all_metrics(base, version=0),
                "fetched": fetched,
                "replicates": source.replicates,
                "consumed": consumer.run().metrics.baseline.metrics,
                "by path": by_path.run().metrics.baseline.metrics,
                "resumed": {
                    name: each.metrics for name, each in resumed().metrics.treatments.items()
                },
            }
        )
    )


def resumed():
    """Crystallize takes druse's folder for a completed run of its own."""
    from crystallize import Treatment

    experiment = Experiment(
        datasource=nothing(),
        pipeline=Pipeline([count()]),
        plugins=[ArtifactPlugin(root_dir="data", versioned=True)],
        name="numbers",
        treatments=[Treatment("doubled", {})],
    )
    return experiment.run(strategy="resume")


if __name__ == "__main__":
    main()
