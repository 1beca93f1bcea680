from crystallize import FrozenContext, pipeline_step


@pipeline_step(cacheable=True)
def spread(data: list, ctx: FrozenContext) -> dict:
    return {"squares": [sum(value**2 for value in column) for column in zip(*data, strict=True)]}
