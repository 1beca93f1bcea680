from crystallize import FrozenContext, pipeline_step


@pipeline_step()
def share(data: dict, ctx: FrozenContext) -> dict:
    squares = data.get("squares", [])
    first = squares[0] / sum(squares)
    ctx.metrics.add("share", first)
    ctx.record("squares", sum(squares), tags={"columns": len(squares)})
    return {"share": first}
