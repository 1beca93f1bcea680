import io
import pickle
from pathlib import Path

import numpy as np


def write_model(classifier) -> bytes:
    return pickle.dumps(classifier, protocol=5)


def write_matrix(matrix: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savetxt(buffer, matrix, fmt="%d", delimiter=",")
    return buffer.getvalue()


def read_matrix(path: Path) -> np.ndarray:
    return np.loadtxt(path, dtype=int, delimiter=",")


def draw_matrix(matrix: np.ndarray) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3, 3), layout="constrained")
    axes = figure.subplots()
    axes.imshow(np.log1p(matrix), cmap="Blues")
    axes.set(xlabel="taken for", ylabel="digit", xticks=range(10), yticks=range(10))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})  # same picture, same bytes
    return buffer.getvalue()
