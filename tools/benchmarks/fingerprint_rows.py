"""What fingerprints cost, beside their targets: the rows of `tools/bench runner` on them.

usage: python tools/benchmarks/fingerprint_rows.py [--lines N]

--lines N   about how long each of the project's 200 functions is (default: 4)

A project of 200 functions in 20 modules is written and fingerprinted in fresh processes; the time
is that of the first closure in a process, all else imported. Values are hashed in this process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import druse
import druse_store

MODULES, FUNCTIONS = 20, 10
ROUNDS = 5
# Seconds after which a compiled file can be told to be of its source: else each is compiled again.
SETTLED = 2.5

HEAD = "import numpy as np\n{imports}\nLIMIT = 3\nEPS = 1e-9\n"
BODY = '''
def step_{m}_{i}(frame, columns=("a", "b"), scale=1.5):
    """Scales the columns."""
    values = np.asarray(frame[columns[0]], dtype=float) / (LIMIT + EPS)
{more}    return {call}([value * scale for value in values if value > 0.0])
'''
MORE = """\
    if len(values) % {n} == 0 and LIMIT > {n}:
        values = (values - values.mean()) / EPS
"""

FRESH = """
import json, sys, time
import m0
import druse.fingerprint.session, druse.fingerprint.functions, druse.fingerprint.classes
import druse.fingerprint.standard, druse.fingerprint.inert
from druse.fingerprint import Fingerprinter
times = []
for _ in range(2):
    fingerprinter = Fingerprinter()
    began, used = time.perf_counter(), time.process_time()
    closure = fingerprinter.closure(m0.step_0_0)
    times.append((time.perf_counter() - began, time.process_time() - used))
assert closure.uncacheable is None
assert sum(c.kind == "function" for c in closure.components) == 200
print(json.dumps(times))
"""


def write_project(folder, lines):
    more = "".join(MORE.format(n=n) for n in range(2, 2 + max(0, lines - 3) // 2))
    for m in range(MODULES):
        following = f"from m{m + 1} import step_{m + 1}_0" if m + 1 < MODULES else ""
        text = HEAD.format(imports=following)
        for i in range(FUNCTIONS):
            call = f"step_{m}_{i + 1}" if i + 1 < FUNCTIONS else f"step_{m + 1}_0"
            if call == f"step_{MODULES}_0":
                call = "list"
            text += BODY.format(m=m, i=i, call=call, more=more)
        (folder / f"m{m}.py").write_text(text)
    return sum(len(path.read_text().splitlines()) for path in folder.glob("m*.py"))


def code_rows(lines):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = write_project(folder, lines)
        time.sleep(SETTLED)
        sources = [str(Path(package.__file__).parents[1]) for package in (druse, druse_store)]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([name, *sources])}
        runs = [
            json.loads(subprocess.check_output([sys.executable, "-c", FRESH], env=env))
            for _ in range(ROUNDS)
        ]
    first = min(run[0][0] for run in runs)
    cpu = min(run[0][1] for run in runs)
    again = min(run[1][0] for run in runs)
    yield f"code of 200 functions in 20 modules, {written} lines, once a process", first, 0.050
    yield "  of that, processor time", cpu, None
    yield "  again in the process, by a new fingerprinter", again, None


def value_rows():
    import numpy as np
    import pandas as pd

    from druse.fingerprint import value_digest

    array = np.random.default_rng(0).random(10_000_000)
    missing = np.where(array < 0.01, np.nan, array)
    frame = pd.DataFrame({f"c{n}": array[n * 1_000_000 : (n + 1) * 1_000_000] for n in range(8)})
    parameters = {"lr": 0.1, "layers": [64, 32], "name": "net", "dropout": None}
    yield "80 MB array", best(value_digest, array), 0.050
    yield "80 MB array with NaN", best(value_digest, missing), 0.050
    yield "80 MB array in Fortran order", best(value_digest, array.reshape(1000, -1).T), None
    yield "64 MB frame", best(value_digest, frame), None
    yield "1,000,000 integers in a list", best(value_digest, list(range(1_000_000))), None
    yield "a float", best(value_digest, 0.1, 1000), None
    yield "a dict of four parameters", best(value_digest, parameters, 1000), None


def best(call, value, repeat=1):
    def once():
        began = time.perf_counter()
        for _ in range(repeat):
            call(value)
        return (time.perf_counter() - began) / repeat

    return min(once() for _ in range(ROUNDS))


def shown(seconds):
    return f"{seconds * 1e3:9.2f} ms" if seconds > 1e-4 else f"{seconds * 1e6:9.2f} µs"


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=4)
    lines = parser.parse_args(arguments).lines
    for name, seconds, target in (*code_rows(lines), *value_rows()):
        against = "" if target is None else f"  target {shown(target).strip()}"
        print(f"{name:<72}{shown(seconds)}{against}")


if __name__ == "__main__":
    main(sys.argv[1:])
