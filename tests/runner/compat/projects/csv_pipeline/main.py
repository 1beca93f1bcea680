"""A CSV file through steps in modules of their own; a treatment reads another file."""

import json
from pathlib import Path

from crystallize import Experiment, Pipeline, hypothesis, treatment, verifier
from source import table
from stages.centre import centre
from stages.share import share
from stages.spread import spread

here = Path(__file__).parent


@verifier
def rises(baseline, treatment, *, by: float = 0.0):
    pairs = list(zip(baseline["share"], treatment["share"], strict=True))
    return {"p_value": sum(b + by >= t for b, t in pairs) / len(pairs)}


@hypothesis(verifier=rises(by=0.01), metrics="share")
def risen(result):
    return result["p_value"]


wider = treatment("wider", {"csv_path": str(here / "wider.csv")})


@treatment("halves")
def halves(ctx):
    ctx.add("csv_path", str(here / ("wider.csv" if ctx["replicate"] % 2 else "baseline.csv")))


if __name__ == "__main__":
    experiment = Experiment(
        datasource=table(default_path=str(here / "baseline.csv")),
        pipeline=Pipeline([centre(), spread(), share()]),
        name="csv",
    )
    experiment.validate()
    result = experiment.run(treatments=[wider, halves()], hypotheses=[risen], replicates=2)
    print(
        json.dumps(
            {
                "baseline": result.metrics.baseline.metrics,
                "treatments": {n: t.metrics for n, t in result.metrics.treatments.items()},
                "hypothesis": result.get_hypothesis("risen").results,
                "ranking": result.get_hypothesis("risen").ranking,
                "applied": experiment.apply(wider),
                "given": experiment.apply(data=[[1.0, 2.0], [3.0, 5.0]]),
            }
        )
    )
