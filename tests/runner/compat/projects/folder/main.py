"""Experiments in folders, by their config.yaml: one alone, and a graph by its references."""

import contextlib
import io
import json

from crystallize import Experiment, ExperimentGraph


def ranked(result):
    return [[h.name, h.results, h.ranking] for h in result.metrics.hypotheses]


def shown(result):
    return {
        "baseline": result.metrics.baseline.metrics,
        "treatments": {n: t.metrics for n, t in result.metrics.treatments.items()},
    }


if __name__ == "__main__":
    alone = Experiment.from_yaml("experiments/harvest/config.yaml")
    alone.hypotheses = alone.hypotheses[:1]
    alone.validate()
    result = alone.run()
    graph = ExperimentGraph.from_yaml("experiments/market/config.yaml")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        ExperimentGraph.visualize_from_yaml("experiments/market/config.yaml")
    graph_of_all = ExperimentGraph.from_yaml("experiments")
    for experiment in (graph, graph_of_all):
        assert experiment.name == "market"
    results = graph.run(strategy="rerun")
    print(
        json.dumps(
            {
                "alone": shown(result),
                "hypotheses": ranked(result),
                "in the graph": ranked(results["harvest"]),
                "printed": printed.getvalue(),
                "described": [alone.name, alone.description, alone.replicates],
                "outputs": {n: a.name for n, a in alone.outputs.items()},
                "market": shown(results["market"]),
                "errors": sorted(results["market"].errors),
            }
        )
    )
