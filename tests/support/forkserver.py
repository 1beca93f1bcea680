"""A process that answers each request in a child of its own, which costs little: what the children
need is loaded once. Requests and answers are lines of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

_LOOP = r"""
import json, os, sys

for line in sys.stdin:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        with os.fdopen(writing, "w") as stream:
            json.dump(answer(json.loads(line)), stream)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        print(stream.read(), flush=True)
    os.waitpid(child, 0)
"""


class ForkServer:
    """`program` loads what is needed, and defines `answer(request)`."""

    def __init__(self, program: str, env: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", program + _LOOP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline().strip()
        assert line, f"the process died: {request}"
        return json.loads(line)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=20)
        self._process.stdout.close()
