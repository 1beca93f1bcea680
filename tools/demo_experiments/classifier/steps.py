import time

import numpy as np

from druse import Artifact, FrozenContext, pipeline_step


@pipeline_step()
def split(data: dict, ctx: FrozenContext, train_share: float = 0.5):
    """Each replicate draws its own split; all conditions of a replicate draw the same one."""
    digits = data["digits"]
    order = np.random.permutation(len(digits["labels"]))
    train, test = np.split(order, [int(train_share * len(order))])
    return {
        "train": (digits["features"][train], digits["labels"][train]),
        "test": (digits["features"][test], digits["labels"][test]),
    }


@pipeline_step()
def fit(data: dict, ctx: FrozenContext, model: Artifact, kernel: str = "rbf", C: float = 1.0):
    """`kernel` and `C` are what the treatments in config.yaml set; else they are these defaults."""
    from sklearn.svm import SVC

    started = time.perf_counter()
    classifier = SVC(kernel=kernel, C=C).fit(*data["train"])
    ctx.metrics.add("fit_seconds", time.perf_counter() - started)
    model.write(classifier)
    return {"classifier": classifier, "test": data["test"]}


@pipeline_step()
def score(data: dict, ctx: FrozenContext, confusion: Artifact, picture: Artifact):
    from sklearn.metrics import confusion_matrix

    features, labels = data["test"]
    matrix = confusion_matrix(labels, data["classifier"].predict(features))
    confusion.write(matrix)
    picture.write(matrix)
    return matrix, {"accuracy": float(matrix.trace() / matrix.sum())}
