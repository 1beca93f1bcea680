"""Whether a step changes what it is given in place: that changes what others were given, too."""

from __future__ import annotations

import logging
from typing import Any

from druse.artifact import Artifact
from druse.errors import InputChanged, Unhashable
from druse.fingerprint.values import value_digest
from druse_store import Digest


class Inputs:
    """What one step is given, as it was before it ran."""

    def __init__(self, step: Any, data: Any) -> None:
        self._name = type(step).__name__
        self._values = {"its input": data}
        for name, value in step.params.items():
            if not isinstance(value, Artifact) and not callable(value):
                self._values[f"its parameter {name!r}"] = value
        self._before = self._digests()

    def _digests(self) -> dict[str, Digest]:
        found = {}
        for what, value in self._values.items():
            try:
                found[what] = value_digest(value, f"{self._name}, {what}")
            except Unhashable as error:
                logging.getLogger("druse").warning("cannot be checked: %s", error)
        return found

    def require_unchanged(self) -> None:
        """Raises InputChanged."""
        after = self._digests()
        for what, digest in self._before.items():
            if after.get(what) != digest:
                raise InputChanged(
                    f"{self._name} changed {what} in place: whoever made it, or is given it too, "
                    "holds something else now. Let the step work on a copy (copy.deepcopy)"
                )
