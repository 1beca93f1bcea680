import io
from pathlib import Path

import numpy as np


def write_table(arrays: dict) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def read_table(path: Path) -> dict:
    with np.load(path) as arrays:
        return dict(arrays)
