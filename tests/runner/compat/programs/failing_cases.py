"""Cells that fail: what is left of them, what hooks and results say."""

from crystallize import (
    ArtifactPlugin,
    BasePlugin,
    Hypothesis,
    Treatment,
    pipeline_step,
    verifier,
)
from raising import raised
from three_steps import experiment, files, first, second, third


def case_artifacts_of_a_cell_that_fails():
    exp = experiment(
        [first(), second(), third()],
        plugins=[ArtifactPlugin(root_dir="out")],
        treatments=[Treatment("bad", {"fail_at": 1})],
        replicates=2,
    )
    result = exp.run()
    return {
        "files": files("out/exp/v0"),
        "names": sorted(result.artifacts),
        "conditions": {k: sorted(v) for k, v in sorted(result.artifacts.items())},
    }


def case_metrics_of_a_cell_that_fails():
    exp = experiment(
        [first(), second()], treatments=[Treatment("bad", {"fail_at": 1})], replicates=3
    )
    result = exp.run()
    return {
        "bad": result.metrics.treatments["bad"].metrics,
        "errors": sorted(result.errors),
        "words": ["it fails here" in str(e) for e in result.errors.values()],
        "kinds": [type(e).__name__ for e in result.errors.values()],
        "traceback": ["it fails here" in e.traceback_str for e in result.errors.values()],
    }


def case_a_treatment_of_which_every_cell_fails():
    @pipeline_step()
    def never(data, ctx, fails=False):
        if fails:
            raise RuntimeError("never")
        ctx.metrics.add("value", data)
        return data

    result = experiment(
        [never()], treatments=[Treatment("bad", {"fails": True})], replicates=2
    ).run()
    bad = result.metrics.treatments.get("bad")
    return [sorted(result.errors), None if bad is None else bad.metrics]


class Noting(BasePlugin):
    def __init__(self):
        self.said = []

    def init_hook(self, experiment):
        self.said.append("init")

    def before_run(self, experiment):
        self.said.append("before_run")

    def before_replicate(self, experiment, ctx):
        self.said.append(f"before {ctx.get('condition')} {ctx.get('replicate')}")

    def before_step(self, experiment, step):
        self.said.append(f"before {type(step).__name__}")

    def after_step(self, experiment, step, data, ctx):
        self.said.append(f"after {type(step).__name__} {data}")

    def after_run(self, experiment, result):
        self.said.append(f"after_run {len(result.errors)}")


def case_hooks_where_cells_fail():
    noting = Noting()
    exp = experiment(
        [first(), second()],
        plugins=[noting],
        treatments=[Treatment("bad", {"fail_at": 1})],
        replicates=2,
    )
    exp.run()
    return noting.said


def case_a_hook_that_raises():
    class Raising(BasePlugin):
        def after_step(self, experiment, step, data, ctx):
            if ctx["condition"] == "t":
                raise KeyError("a hook's")

    result = experiment([first()], plugins=[Raising()], treatments=[Treatment("t", {"x": 1})]).run()
    return [sorted(result.errors), result.metrics.baseline.metrics]


def case_a_verifier_that_asks_for_a_metric_that_is_missing():
    @verifier
    def compare(baseline, treatment):
        return {"p_value": 0.5}

    stated = Hypothesis(verifier=compare(), metrics="nothing", name="h")
    return raised(lambda: stated.verify({"a": [1]}, {"a": [1]}), "nothing")
