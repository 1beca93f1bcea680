"""What a step depends on that no hook can see, declared: `depends_on=[InputFile(p), EnvVar(n)]`."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class InputFile:
    """The content of a file counts, whether anything opens it or not."""

    path: str | os.PathLike[str]


@dataclass(frozen=True)
class EnvVar:
    """The value of an environment variable counts."""

    name: str


Declared = InputFile | EnvVar
