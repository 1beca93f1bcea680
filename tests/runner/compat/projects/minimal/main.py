"""The smallest experiment: a datasource, three steps, a treatment, a hypothesis."""

import json

from crystallize import (
    Experiment,
    FrozenContext,
    Pipeline,
    data_source,
    hypothesis,
    pipeline_step,
    treatment,
    verifier,
)


@data_source
def laps(ctx: FrozenContext):
    return [61.0, 59.5, 60.25]


@pipeline_step()
def handicap(data: list, ctx: FrozenContext, *, seconds: float = 0.0) -> list:
    return [lap + seconds for lap in data]


@pipeline_step()
def tire(data, ctx: FrozenContext):
    return [lap + 0.125 * ctx.get("replicate", 0) for lap in data]


@pipeline_step()
def total(data):
    return data, {"total": sum(data)}


heavier = treatment("heavier", {"seconds": 2.0})
lighter = treatment(name="lighter", apply={"seconds": -1.5})


@verifier
def differs(baseline, treatment, threshold: float = 1.0):
    mean = sum(baseline["total"]) / len(baseline["total"])
    other = sum(treatment["total"]) / len(treatment["total"])
    return {"difference": other - mean, "significant": abs(other - mean) > threshold}


@hypothesis(verifier=differs(threshold=3.0), metrics="total")
def fastest_first(result):
    return result["difference"]


if __name__ == "__main__":
    experiment = Experiment(
        datasource=laps(),
        pipeline=Pipeline([handicap(), tire(), total()]),
        name="laps",
        treatments=[heavier, lighter],
        hypotheses=[fastest_first],
        replicates=4,
    )
    experiment.validate()
    result = experiment.run()
    found = result.get_hypothesis("fastest_first")
    print(
        json.dumps(
            {
                "baseline": result.metrics.baseline.metrics,
                "treatments": {n: t.metrics for n, t in result.metrics.treatments.items()},
                "results": found.results,
                "of heavier": found.get_for_treatment("heavier"),
                "ranking": found.ranking,
                "errors": sorted(result.errors),
                "replicates": result.provenance["replicates"],
                "signature": result.provenance["pipeline_signature"],
            }
        )
    )
