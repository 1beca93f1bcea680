"""Commands and programs in processes that cost little: forked from one that has druse loaded.

Nothing of the user's is loaded there, so each process imports the files as they are then.
"""

from __future__ import annotations

import os
from pathlib import Path
from textwrap import dedent
from typing import Any

from support.forkserver import ForkServer
from support.project import SOURCES, Done, Project

_SERVER = r"""
import contextlib, importlib, io, os, pkgutil, random, sys, traceback
import numpy, numpy.random
import druse, druse_store
for package in (druse, druse_store):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if ".tui" not in module.name and ".remote" not in module.name:
            with contextlib.suppress(ImportError):
                importlib.import_module(module.name)
sys.dont_write_bytecode = True

def answer(request):
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = ["druse", *request.get("arguments", ())]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = execute(request)
        except BaseException:
            traceback.print_exc()
            status = 99
    return {"status": status, "out": out.getvalue(), "err": err.getvalue()}

def execute(request):
    if "program" in request:
        sys.path.insert(0, request["cwd"])
        importlib.import_module("program")
        return 0
    return druse.cli.run_command(request["arguments"])
"""


class Server(ForkServer):
    """The process that the others are forked from."""

    def __init__(self) -> None:
        single = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")
        super().__init__(_SERVER, {**os.environ, **single, "PYTHONPATH": SOURCES})

    def ask(self, request: dict[str, Any]) -> Done:
        found = self.answer(request)
        return Done(found["status"], found["out"], found["err"])


class Forked(Project):
    """A project whose commands are run in forked processes."""

    def __init__(self, root: Path, server: Server) -> None:
        super().__init__(root)
        self.server = server

    def druse(self, *arguments: str, env: dict[str, str] | None = None) -> Done:
        return self._ask(env, arguments=list(arguments))

    def python(self, program: str, env: dict[str, str] | None = None) -> str:
        """What a program prints that can import the project's files."""
        (self.root / "program.py").write_text(dedent(program))
        done = self._ask(env, program=True)
        assert done.status == 0, done.err
        return done.out

    def _ask(self, env: dict[str, str] | None, **request: Any) -> Done:
        environment = self.how(env)["env"]
        return self.server.ask({"cwd": str(self.root), "env": environment, **request})
