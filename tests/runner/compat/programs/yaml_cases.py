"""config.yaml: what it may say, and what is refused."""

from pathlib import Path

from crystallize import Experiment, ExperimentGraph
from raising import raised

STEPS = """
from PACKAGE import Artifact, pipeline_step

@pipeline_step()
def add(data, ctx, *, delta: int = 1):
    return data["n"] + delta if isinstance(data, dict) else data + delta

@pipeline_step()
def keep(data, ctx, out: Artifact):
    out.write(str(data))
    ctx.metrics.add("kept", data)
    return data
"""
SOURCES = """
from PACKAGE import data_source

@data_source
def n(ctx):
    return 1
"""
VERIFIERS = """
from PACKAGE import verifier

@verifier
def same(baseline, treatment):
    return {"p_value": 0.5, "same": baseline == treatment}
"""


def write(name, config, **files):
    folder = Path("experiments") / name
    folder.mkdir(parents=True, exist_ok=True)
    package = Experiment.__module__.partition(".")[0]
    texts = {"steps": STEPS, "datasources": SOURCES, "verifiers": VERIFIERS, **files}
    for stem, text in texts.items():
        (folder / f"{stem}.py").write_text(text.replace("PACKAGE", package))
    (folder / "config.yaml").write_text(config)
    return folder / "config.yaml"


def kept(config, **arguments):
    result = Experiment.from_yaml(config).run(**arguments)
    metrics = [result.metrics.baseline.metrics]
    return metrics + [[n, t.metrics] for n, t in result.metrics.treatments.items()]


def case_forms():
    plain = write("plain", "datasource: {n: n}\nsteps: [add, keep]\noutputs: {out: {}}\n")
    given = write(
        "given",
        "name: called\ndescription: words\nreplicates: 2\ndatasource: [{n: n}]\n"
        "steps:\n  - {add: {delta: 4}}\n  - {keep: {out: final}}\n"
        "outputs: {final: {file_name: final.txt}}\n"
        "treatments: {baseline: {}, none: , three: {delta: 3}}\n"
        "hypotheses: [{verifier: same, metrics: kept}]\n",
    )
    loaded = Experiment.from_yaml(given)
    return {
        "plain": kept(plain),
        "name": Experiment.from_yaml(str(plain)).name,
        "given": kept(given),
        "loaded": [loaded.name, loaded.description, loaded.replicates, list(loaded.outputs)],
        "file": loaded.outputs["final"].name,
        "treatments": [t.name for t in loaded.treatments],
        "hypothesis": [h.name for h in loaded.hypotheses],
    }


def case_graphs():
    write(
        "w",
        "datasource: {n: n}\nsteps: [add, keep]\noutputs: {out: {loader: number}}\n",
        outputs="def number(path):\n    return int(path.read_text())\n",
    )
    final = write(
        "r",
        "datasource: {n: w#out}\nsteps: [add, keep2]\n",
        steps=STEPS + ("\n@pipeline_step()\ndef keep2(data):\n    return data, {'kept': data}\n"),
    )
    graph = ExperimentGraph.from_yaml(final)
    everything = ExperimentGraph.from_yaml("experiments")
    return [
        graph.name,
        {n: r.metrics.baseline.metrics for n, r in graph.run().items()},
        {n: r.metrics.baseline.metrics for n, r in everything.run(replicates=2).items()},
    ]


def case_refused():
    rest = "steps: [add]\n"

    def load(name, config):
        path = write(name, config)
        return lambda: Experiment.from_yaml(path)

    ref = write("ref", "datasource: {n: nowhere#x}\nsteps: [add]\n")
    return {
        "no source": raised(load("a", rest), "datasource"),
        "empty source": raised(load("b", "datasource: {}\n" + rest), "at least one datasource"),
        "unused": raised(
            load("c", "datasource: {n: n}\nsteps: [add]\noutputs: {x: {}}\n"),
            "Outputs not used in any step: x",
        ),
        "unknown output": raised(
            load("d", "datasource: {n: n}\nsteps: [{keep: {out: y}}]\noutputs: {x: {}}\n"),
            "Output 'y' requested by step 'keep' is not in experiment outputs",
        ),
        "treatment": raised(
            load("e", "datasource: {n: n}\nsteps: [add]\ntreatments: {t: 3}\n"),
            "Treatment 't' must map to a dictionary",
        ),
        "no verifier": raised(
            load("f", "datasource: {n: n}\nsteps: [add]\nhypotheses: [{name: x}]\n"),
            "Each hypothesis must specify a 'verifier'.",
        ),
        "unknown verifier": raised(
            load("g", "datasource: {n: n}\nsteps: [add]\nhypotheses: [{verifier: x}]\n"), "'x'"
        ),
        "reference": raised(
            lambda: ExperimentGraph.from_yaml(ref), "Experiment 'nowhere' not found"
        ),
        "no file": raised(lambda: Experiment.from_yaml("nothing.yaml"), "nothing.yaml"),
    }
