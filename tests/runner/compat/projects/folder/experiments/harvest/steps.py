from crystallize import Artifact, FrozenContext, pipeline_step


@pipeline_step()
def pick(data: dict, ctx: FrozenContext, *, reach: int = 1) -> list[int]:
    ctx.add("reach_used", reach)
    return [apples * reach * data["rows"] for apples in data["trees"]]


@pipeline_step(cacheable=True)
def sort_out(data, limit: int = 0):
    return [apples for apples in data if apples > limit]


@pipeline_step()
def store(data, ctx, box: Artifact):
    box.write({"apples": data, "reach": ctx["reach_used"]})
    ctx.metrics.add("baskets", len(data))
    return data, {"apples": sum(data)}
