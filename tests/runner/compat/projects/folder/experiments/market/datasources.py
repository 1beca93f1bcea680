from crystallize import data_source


@data_source
def price(ctx, cents: int = 40):
    return cents
