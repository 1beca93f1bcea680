from crystallize import pipeline_step


@pipeline_step()
def sell(data: dict, *, factor: int = 1):
    return data, {"cents": sum(data["crate"]["apples"]) * data["price"] * factor}
