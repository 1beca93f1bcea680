"""A project of a user's own files, of which each key is made in a process of its own.

The processes are forked from one that has druse loaded and nothing of the user's, so they cost
little; each imports the files as they are then.
"""

from __future__ import annotations

import os
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import druse
import druse_store
from support.forkserver import ForkServer

SERVER = r"""
import os, sys, traceback
import druse.fingerprint.session, druse.fingerprint.functions, druse.fingerprint.classes
import druse.fingerprint.standard, druse.fingerprint.inert, druse.fingerprint.manifest
from druse.fingerprint import Fingerprinter
sys.dont_write_bytecode = True

def answer(request):
    sys.path[:0] = request["path"]
    os.chdir(request["path"][0])
    space = {"__name__": "asked", "Fingerprinter": Fingerprinter}
    from druse.fingerprint import value_digest
    space["value_digest"] = value_digest
    try:
        exec(request["first"], space)
        fingerprinter = Fingerprinter(packages=request["packages"])
        closure = fingerprinter.closure(eval(request["target"], space))
    except Exception as error:
        trace = traceback.format_exc()
        return {"error": type(error).__name__, "message": str(error), "trace": trace}
    return {
        "digest": closure.digest.hex(),
        "components": [
            [c.kind, c.name, c.digest.hex(), c.file, c.line, c.detail] for c in closure.components
        ],
        "warnings": list(closure.warnings),
        "uncacheable": closure.uncacheable,
        "blind_spots": list(closure.blind_spots),
    }
"""


def environment() -> dict[str, str]:
    packages = [str(Path(package.__file__).parents[1]) for package in (druse, druse_store)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(packages))}


class Server(ForkServer):
    """The process that the others are forked from."""

    def __init__(self) -> None:
        super().__init__(SERVER, environment())


@dataclass(frozen=True)
class Key:
    digest: str
    components: tuple = ()
    warnings: tuple = ()
    uncacheable: str | None = None
    blind_spots: tuple = ()

    def names(self, kind: str) -> set[str]:
        return {c[1] for c in self.components if c[0] == kind}


class Failed(Exception):
    """The process answered with an error, whose class is `kind`."""

    def __init__(self, kind: str, message: str, trace: str) -> None:
        super().__init__(f"{kind}: {message}\n{trace}")
        self.kind = kind
        self.message = message


@dataclass
class Project:
    folder: Path
    server: Server
    path: list[str] = field(default_factory=list)

    def write(self, **files: str) -> None:
        """Files by module name; `pkg__mod` is pkg/mod.py."""
        for name, text in files.items():
            self.write_file(name.replace("__", "/") + ".py", text)

    def write_file(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))

    def key(
        self, target: str = "steps.step", first: str = "import steps", packages: str = "used"
    ) -> Key:
        """The key of `target` in a new process, after `first` ran there."""
        found = self.server.answer(
            {
                "path": [str(self.folder), *self.path],
                "target": target,
                "first": textwrap.dedent(first),
                "packages": packages,
            }
        )
        if "error" in found:
            raise Failed(found["error"], found["message"], found["trace"])
        return Key(
            found["digest"],
            tuple(map(tuple, found["components"])),
            tuple(found["warnings"]),
            found["uncacheable"],
            tuple(found["blind_spots"]),
        )
