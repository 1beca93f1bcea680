import numpy as np

from druse import Artifact, FrozenContext, pipeline_step


@pipeline_step()
def recall_by_digit(data: dict, ctx: FrozenContext, chart: Artifact):
    matrix = data["confusion"]
    recall = matrix.diagonal() / matrix.sum(axis=1)
    chart.write(recall)
    return {"matrix": matrix, "recall": recall}


@pipeline_step()
def summarise(data: dict, ctx: FrozenContext, summary: Artifact):
    matrix, recall = data["matrix"], data["recall"]
    hardest = int(recall.argmin())
    mistakes = matrix[hardest].copy()
    mistakes[hardest] = 0
    summary.write(
        f"{hardest} is the hardest digit: {recall[hardest]:.1%} of them are recognised, "
        f"and {int(mistakes.argmax())} is what it is taken for most often.\n"
    )
    errors = int(matrix.sum() - np.trace(matrix))
    return hardest, {"worst_recall": float(recall.min()), "errors": errors}
