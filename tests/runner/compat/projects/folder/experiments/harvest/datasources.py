from crystallize import FrozenContext, data_source


@data_source
def trees(ctx: FrozenContext) -> list[int]:
    return [3, 5, 8 + ctx["replicate"]]


@data_source
def rows(ctx):
    return 2
