"""Names that become folders: what they may be; and the fixed names of Crystallize's format."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from druse.errors import InvalidName

BASELINE = "baseline"
SOURCE = "the datasource"  # where a cell fails before its first step
REPLICATE_KEY = "replicate"
CONDITION_KEY = "condition"
SEED_USED_KEY = "seed_used"
STEP_NAME_KEY = "step_name"

MARKER = ".crystallize_complete"
METADATA = "metadata.json"
MANIFEST = "_manifest.json"
RESULTS = "results.json"

_REPLICATE_FOLDER = re.compile(r"replicate_\d+", re.ASCII | re.IGNORECASE)
_MAX_BYTES = 200


def check(name: object, what: str) -> str:
    """The name itself. Raises InvalidName for one that could not be a folder's."""
    return _checked(name, what) if type(name) is str else _check(name, what)


def _check(name: object, what: str) -> str:
    if not isinstance(name, str) or not name:
        raise InvalidName(f"the name of {what} has to be text, and not {name!r}")
    if name in (".", "..") or "/" in name or "\0" in name or "\\" in name:
        raise InvalidName(
            f"{name!r} cannot be the name of {what}: it becomes the name of a folder or file, so "
            "it must not be '.' or '..', nor contain '/', '\\' or NUL"
        )
    if len(name.encode("utf-8", "surrogateescape")) > _MAX_BYTES:
        raise InvalidName(f"the name of {what} has more than {_MAX_BYTES} bytes: {name[:60]!r}…")
    return name


_checked = lru_cache(1024)(_check)  # artifacts of one name are written by many cells


def check_condition(name: object) -> str:
    """As `check`, and no name of a folder that a view keeps beside the conditions."""
    text = check(name, "a treatment")
    reserved = {MARKER, METADATA, MANIFEST, "index.html"}
    if _REPLICATE_FOLDER.fullmatch(text) or text in reserved:
        raise InvalidName(
            f"{text!r} cannot be the name of a treatment: a run's folder has something else by "
            "that name"
        )
    return text


def check_distinct(names: Iterable[str], what: str) -> None:
    """Raises InvalidName for names that are equal, or differ only in case."""
    seen: dict[str, str] = {}
    for name in names:
        folded = name.casefold()
        if folded in seen:
            if seen[folded] == name:
                raise InvalidName(f"two {what} are called {name!r}: rename one of them")
            raise InvalidName(
                f"two {what} are called {seen[folded]!r} and {name!r}; their folders would be one "
                "where file names ignore case: rename one of them"
            )
        seen[folded] = name
