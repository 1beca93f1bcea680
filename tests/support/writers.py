"""Processes that work on a store, each a program of a few lines behind a common head."""

import subprocess
import sys
import textwrap

HEAD = """
import os, sys, time
from druse_store import *
path, number = sys.argv[1], int(sys.argv[2])
def record(n, blob, replicate=0):
    value = Digest.of(b"%d" % n)
    start = Digest.of(b"start")
    ref = ObjectRef("bytes", BlobRef(blob, 1, blob))
    return Record(extend(start, "ctx:n", value), replicate, "ok", Digest.of(b"base"), start,
        (Read("ctx:n", value),), {"n": n}, (ArtifactRef("a", 0, ref),), None, {}, None)
"""


def spawn(path, body, number=0):
    program = HEAD + textwrap.dedent(body)
    return subprocess.Popen(
        [sys.executable, "-c", program, str(path), str(number)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out
