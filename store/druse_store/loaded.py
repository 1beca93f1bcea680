"""Packages that the program may have loaded: what is stored may be theirs, or be stored faster."""

from __future__ import annotations

import sys
from types import ModuleType


def loaded(name: str) -> ModuleType | None:
    """A module, if it is here, and whole: another thread may be importing it just now."""
    module = sys.modules.get(name)
    is_begun = getattr(getattr(module, "__spec__", None), "_initializing", False)
    return None if is_begun else module
