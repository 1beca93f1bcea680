"""Classes that were unpickled while a cell ran: their code counts, since no digest shows it.

The user's own by their closures (`class:models:Model`), those of packages by the package's version
(`package:scikit-learn`).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from druse.errors import Unhashable
from druse.fingerprint.packages import origin_of_module
from druse.fingerprint.values import value_digest
from druse.reads import ABSENT
from druse_store import Digest

if TYPE_CHECKING:
    from druse.key import Keys


def class_digest(keys: Keys, rest: str) -> Digest | None:
    """The closure of what `module:qualified.name` names now; None where that is nothing."""
    module, _, name = rest.partition(":")
    try:
        target = importlib.import_module(module)
        for part in name.split("."):
            target = getattr(target, part)
        return keys.fingerprinter.closure(target).digest
    except (ImportError, AttributeError, Unhashable):
        return None


def package_digest(name: str) -> Digest:
    """The digest of a distribution's version; ABSENT where it is not installed."""
    try:
        return value_digest(version(name), "version")
    except PackageNotFoundError:
        return ABSENT


def finished(seen: Mapping[str, Digest | None], keys: Keys) -> dict[str, Digest]:
    """What a watch has seen, with the digests of the classes that were unpickled."""
    found: dict[str, Digest] = {}
    for name, digest in seen.items():
        if digest is not None:
            found[name] = digest
            continue
        rest = name.partition(":")[2]
        origin = origin_of_module(rest.partition(":")[0])
        if origin.is_user:
            found[name] = class_digest(keys, rest) or ABSENT
        elif origin.distribution is not None and keys.packages == "used":
            distribution = origin.distribution.name
            found.setdefault(f"package:{distribution}", package_digest(distribution))
    return found
