"""Steps and pipelines: classes, decorated functions, parameters, resources, async."""

import asyncio
import pickle

from crystallize import (
    DataSource,
    Experiment,
    FrozenContext,
    Pipeline,
    PipelineStep,
    data_source,
    inject_from_ctx,
    pipeline,
    pipeline_step,
    resource_factory,
    standalone_context,
    treatment,
)
from raising import raised


class Source(DataSource):
    def fetch(self, ctx):
        return [1, 2, ctx.get("replicate", 0)]


class Scale(PipelineStep):
    def __init__(self, factor):
        self.factor = factor
        self.begun = 0
        self.ended = 0

    def setup(self, ctx):
        self.begun += 1
        ctx.add("from_setup", self.factor * 100)

    def teardown(self, ctx):
        self.ended += 1

    def __call__(self, data, ctx):
        ctx.metrics.add("name", ctx.get("step_name"))
        ctx.metrics.add("setup", ctx.get("from_setup"))
        return [value * self.factor for value in data]

    @property
    def params(self):
        return {"factor": self.factor}


@pipeline_step()
def shift(data, ctx: FrozenContext, by: int = 1, *, times: int = 1):
    ctx.metrics.add("name", ctx["step_name"])
    return [value + by * times for value in data]


@pipeline_step()
def needed(data, ctx, must):
    return data + must


@pipeline_step()
def pair(data):
    return (sum(data), len(data))


@pipeline_step()
def measured(data):
    return data, {"first": data[0], "list": [1, 2]}


@pipeline_step()
async def later(data, ctx, plus=0):
    await asyncio.sleep(0)
    return data, {"later": data[0] + plus}


@pipeline_step()
def use(data, handle=None, plain=lambda: 5):
    return data, {"handle": handle, "plain": plain}


@data_source
def numbers(ctx, start=1, *, step=2):
    return [start, start + step]


def case_class_style():
    scale = Scale(3)
    experiment = Experiment(datasource=Source(), pipeline=Pipeline([scale, shift(times=2)]))
    result = experiment.run(replicates=2)
    return {
        "metrics": result.metrics.baseline.metrics,
        "begun and ended": [scale.begun, scale.ended],
        "signature": experiment.pipeline.signature(),
    }


def case_parameters():
    step = shift(by=5)
    ctx = standalone_context({"times": 4, "step_name": "alone"})
    return {
        "called": step([1], ctx),
        "params": step.params,
        "class": type(step).__name__,
        "cacheable": step.cacheable,
        "unknown": raised(lambda: shift(bye=1, hello=2), "Unknown parameters: bye, hello"),
        "missing": raised(needed, "Missing parameters: must"),
        "pickled": pickle.loads(pickle.dumps(step))([1], ctx),
        "pickled params": pickle.loads(pickle.dumps(step)).params,
        "wrapped": [shift.__name__, measured.__doc__],
    }


def case_sources():
    source = numbers(step=7)
    return {
        "fetched": source.fetch(standalone_context()),
        "params": source.params,
        "class": type(source).__name__,
        "pickled": pickle.loads(pickle.dumps(source)).params,
    }


def case_pipelines():
    ctx = standalone_context()
    made = pipeline(measured(), shift(), pair())
    return {
        "data": made.run([1, 2], ctx),
        "async": asyncio.run(Pipeline([later(plus=1)]).arun([5], standalone_context())),
        "metrics": {k: list(v) for k, v in ctx.metrics.as_dict().items()},
        "steps": [type(step).__name__ for step in made.steps],
        "empty": raised(lambda: Pipeline([]), "Pipeline must contain at least one step."),
        "failing": raised(
            lambda: Pipeline([shift()]).run([None], standalone_context()), "Step 'ShiftStep' failed"
        ),
    }


def case_provenance_of_a_pipeline():
    made = Pipeline([measured(), shift(by=2)])
    data, found = made.run([1], standalone_context(), return_provenance=True)
    keys = ("step", "params", "cache_hit")
    return {
        "data": data,
        "steps": [{key: each[key] for key in keys} for each in found],
        "metrics": [each["ctx_changes"]["metrics"] for each in found],
        "wrote": [
            {k: v for k, v in each["ctx_changes"]["wrote"].items() if k != "step_name"}
            for each in found
        ],
        "again": [each["step"] for each in made.get_provenance()],
    }


def case_async_steps_in_an_experiment():
    experiment = Experiment(datasource=Source(), pipeline=Pipeline([later(plus=3), measured()]))
    in_a_loop = asyncio.run(experiment.arun(replicates=2)).metrics.baseline.metrics
    return [experiment.run(replicates=2).metrics.baseline.metrics, in_a_loop]


def case_resources():
    made = []

    def connect(ctx):
        made.append(ctx.get("replicate"))
        return 40 + len(made)

    experiment = Experiment(
        datasource=Source(),
        pipeline=Pipeline([measured(), use(plain=3), use(plain=4)]),
        initial_ctx={"handle": resource_factory(connect, key="a key")},
    )
    found = experiment.run(replicates=1).metrics.baseline.metrics
    return [found["handle"], found["plain"], len(made)]


def case_values_of_treatments_that_can_be_called():
    experiment = Experiment(datasource=Source(), pipeline=Pipeline([measured(), use()]))
    treatments = [
        treatment("with", {"handle": lambda ctx: ctx["condition"]}),
        treatment("without", {"handle": lambda: 7, "plain": 8}),
    ]
    result = experiment.run(treatments=treatments)
    return {n: t.metrics for n, t in result.metrics.treatments.items()}


def case_injection():
    @inject_from_ctx
    def call(data, ctx, a, b=2, c=lambda: 3):
        return [data, a, b, c, ctx.get("a")]

    @inject_from_ctx
    def without_ctx(data, a):
        return [data, a]

    ctx = standalone_context({"a": 10, "c": lambda ctx: ctx["a"] + 1})
    return {
        "injected": call("d", ctx),
        "given": call("d", ctx, a=1, b=3, c=4),
        "no ctx": without_ctx("d", ctx),
        "nor a ctx": raised(lambda: without_ctx("d"), "inject_from_ctx requires 'ctx' argument"),
        "missing": raised(
            lambda: call("d", standalone_context()), "Dependency Injection Error: Parameter 'a'"
        ),
        "other": raised(lambda: call("d", {"a": 1}), "'ctx' must be a FrozenContext"),
    }
