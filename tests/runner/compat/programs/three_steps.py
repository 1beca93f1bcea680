"""Three steps that write a file each, of which the second fails where it is told to."""

from pathlib import Path

from crystallize import Experiment, Pipeline, data_source, pipeline_step


@data_source
def start(ctx):
    return ctx["replicate"]


@pipeline_step()
def first(data, ctx, add=0):
    ctx.artifacts.add("first.txt", f"{ctx['condition']}/{data}".encode())
    ctx.metrics.add("first", data + add)
    return data + add


@pipeline_step()
def second(data, ctx, fail_at=None):
    ctx.artifacts.add("second.txt", b"2")
    ctx.metrics.add("second", data)
    if fail_at == data:
        raise ValueError("it fails here")
    return data


@pipeline_step()
def third(data, ctx):
    ctx.artifacts.add("third.txt", b"3")
    return data


def experiment(steps, name="exp", **more):
    return Experiment(
        datasource=more.pop("datasource", None) or start(),
        pipeline=Pipeline(steps),
        name=name,
        **more,
    )


def files(folder):
    return sorted(
        str(path.relative_to(folder))
        for path in Path(folder).rglob("*")
        if path.is_file() and "replicate_" in str(path)
    )
