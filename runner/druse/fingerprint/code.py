"""The closure of code, for a caller that makes one of them only."""

from __future__ import annotations

from typing import Any

from druse.fingerprint.closures import Closure
from druse.fingerprint.session import current


def closure(obj: Any, *, packages: str | None = None) -> Closure:
    """All that `obj` depends on; see `Fingerprinter.closure`."""
    return current().closure(obj, packages=packages)
