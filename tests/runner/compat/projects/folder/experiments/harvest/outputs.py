import json
from pathlib import Path


def dump(value) -> bytes:
    return json.dumps(value).encode("utf-8")


def load(path: Path):
    return json.loads(path.read_text())
