from druse import FrozenContext, data_source


@data_source
def handwritten_digits(ctx: FrozenContext):
    """1797 images of 64 grey values (0 to 16), and the digit that each shows."""
    from sklearn.datasets import load_digits  # here, so that a run of hits does not import it

    digits = load_digits()
    return {"pixels": digits.data, "labels": digits.target}
