"""Runs each `case_...` of the programs beside it, in a folder of its own; prints what it gave."""

import importlib
import json
import logging
import os
import sys
import tempfile
import traceback
from pathlib import Path


def main() -> None:
    logging.disable(logging.CRITICAL)
    here = Path(__file__).parent
    sys.path.insert(0, str(here))
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(here.glob("*_cases.py")):
            module = importlib.import_module(path.stem)
            for name in [n for n in vars(module) if n.startswith("case_")]:
                place = Path(folder) / path.stem / name
                place.mkdir(parents=True)
                os.chdir(place)
                found[f"{path.stem}:{name[5:]}"] = outcome(getattr(module, name))
        os.chdir(here)
    print(json.dumps(found, sort_keys=True))


def outcome(case):
    try:
        return json.loads(json.dumps(case()))
    except Exception:
        return {"raised": traceback.format_exc()}


if __name__ == "__main__":
    main()
