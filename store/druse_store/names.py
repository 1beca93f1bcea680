"""Names of experiments, conditions and pins: what they may be, since they become keys and paths."""

from __future__ import annotations

from druse_store.errors import InvalidName

MAX_BYTES = 200


def check(name: str, what: str) -> str:
    """The name itself. Raises InvalidName for one that could not be a file's name."""
    if not isinstance(name, str) or not name or name in (".", ".."):
        raise InvalidName(f"the name of {what} has to be text, and not {name!r}")
    if "/" in name or "\0" in name:
        raise InvalidName(f"the name of {what} must not contain '/' or NUL: {name!r}")
    if len(name.encode("utf-8", "surrogateescape")) > MAX_BYTES:
        raise InvalidName(f"the name of {what} has more than {MAX_BYTES} bytes: {name[:60]!r}…")
    return name
