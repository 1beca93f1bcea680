import statistics

from crystallize import FrozenContext, pipeline_step


@pipeline_step()
def centre(data: list, ctx: FrozenContext) -> list:
    means = [statistics.fmean(column) for column in zip(*data, strict=True)]
    return [[value - mean for value, mean in zip(row, means, strict=True)] for row in data]
