"""What retention is asked to keep: a policy, as code or as the `retention:` section of a file.

    retention:
      keep_last: 5            # the newest complete runs keep everything
      keep_within: 30d        # and so do all that ended within this time
      keep_daily: 7           # and the newest of each of the last days (weeks, months) with one
      keep_metrics: forever   # what the others keep, and for how long; then they go
      max_size: 50GB          # of the whole store
      experiments:
        classifier: {artifact_retention: 3, big_file_threshold: 10MiB}

Rules add up: a run is kept as well as the kindest one says. Without a rule about artifacts, runs
keep them for as long as they are kept at all. An experiment takes what it does not say from above.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from druse_store.errors import InvalidPolicy

FOREVER = math.inf
BIG_FILE = 10 << 20  # bytes, as Crystallize has it

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdwy])")
_SIZES = {"": 1, "b": 1}
_SIZES |= {f"{prefix}b": 1000**power for power, prefix in enumerate("kmgt", 1)}
_SIZES |= {f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgt", 1)}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?b?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What to keep. Durations are seconds, sizes are bytes; None: no such rule.

    `artifact_retention` is Crystallize's rule: the newest run keeps everything, the N newest keep
    artifacts of at most `big_file_threshold` bytes, older ones metrics; 0 or less keeps all.
    `max_size` is about the whole store, and `experiments` holds complete policies of their own.
    """

    keep_last: int | None = None
    keep_within: float | None = None
    keep_daily: int | None = None
    keep_weekly: int | None = None
    keep_monthly: int | None = None
    keep_metrics: float = FOREVER
    artifact_retention: int | None = None
    big_file_threshold: int = BIG_FILE
    max_size: int | None = None
    experiments: Mapping[str, Policy] = field(default_factory=dict)

    def of(self, experiment: str) -> Policy:
        """The rules for one experiment."""
        return self.experiments.get(experiment, self)

    def with_experiment(self, experiment: str, **rules: Any) -> Policy:
        """This policy, with other rules (fields by name) for one experiment."""
        own = replace(self.of(experiment), **rules)
        return replace(self, experiments={**self.experiments, experiment: own})

    @property
    def limits_artifacts(self) -> bool:
        """Whether a rule says which runs keep their artifacts."""
        return any(getattr(self, name) is not None for name in _ABOUT_ARTIFACTS)

    @classmethod
    def parse(cls, section: Mapping[str, Any] | None, where: str = "retention") -> Policy:
        """The policy of a `retention:` section. Raises InvalidPolicy, which names the key."""
        if section is None:
            return cls()
        rules, experiments = _split(section, where)
        general = cls(**rules)
        own = {}
        for name, part in experiments.items():
            place = f"{where}.experiments.{name}"
            special, deeper = _split({} if part is None else part, place)
            if deeper or "max_size" in special:
                what = "experiments" if deeper else "max_size"
                raise InvalidPolicy(f"{place}.{what}: only {where} itself can say this: move it up")
            own[str(name)] = replace(general, **special)
        return replace(general, experiments=own)


_ABOUT_ARTIFACTS = (
    *("keep_last", "keep_within", "keep_daily", "keep_weekly", "keep_monthly"),
    "artifact_retention",
)


# --- values of a section -----------------------------------------------------------------------


def duration(value: Any) -> float:
    """Seconds: `30d`, `12h`, `1.5y`, `forever`. Raises ValueError."""
    text = str(value).strip().lower()
    if text == "forever" or value == FOREVER:
        return FOREVER
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError("a duration is a number and a unit of s, m, h, d, w or y, or forever: 30d")
    return float(found[1]) * _UNITS[found[2]]


def size(value: Any) -> int:
    """Bytes: `50GB`, `10MiB`, or a number. Raises ValueError."""
    found = None if isinstance(value, bool) else _SIZE.fullmatch(str(value).strip().lower())
    if found is None or found[2] not in _SIZES:
        raise ValueError("a size is a number and a unit: 500MB, 50GB, 10MiB")
    return int(float(found[1]) * _SIZES[found[2]])


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("a number of runs is 0 or more")
    return value


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise ValueError("a whole number")
    return value


def _megabytes(value: Any) -> int:
    """Bytes: as ArtifactPlugin has it, whose megabytes are 2 to the power of 20."""
    if type(value) is not int or value < 0:
        raise ValueError("a whole number of MiB, 0 or more (big_file_threshold takes 500KB)")
    return value << 20


def _or_none(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else parse(value)


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "keep_last": _or_none(_count),
    "keep_within": _or_none(duration),
    "keep_daily": _or_none(_count),
    "keep_weekly": _or_none(_count),
    "keep_monthly": _or_none(_count),
    "keep_metrics": duration,
    "artifact_retention": _or_none(_integer),
    "big_file_threshold": size,
    "max_size": _or_none(size),
}
assert {*_PARSERS, "experiments"} == {f.name for f in fields(Policy)}


def _split(section: Any, where: str) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """The rules of a section, parsed, and what it says about experiments."""
    if not isinstance(section, Mapping):
        raise InvalidPolicy(f"{where}: rules by name (keep_last: 5), not {section!r}")
    rules: dict[str, Any] = {}
    experiments: Any = {}
    for key, value in section.items():
        if key == "experiments":
            experiments = {} if value is None else value
            if not isinstance(experiments, Mapping):
                raise InvalidPolicy(f"{where}.experiments: experiments by name, not {value!r}")
        elif key == "big_file_threshold_mb":
            rules["big_file_threshold"] = _parsed(where, key, value, _megabytes)
        elif key in _PARSERS:
            rules[key] = _parsed(where, key, value, _PARSERS[key])
        else:
            raise InvalidPolicy(f"{where}.{key}: no such rule; {_hint(str(key))}")
    return rules, experiments


def _hint(key: str) -> str:
    known = sorted({*_PARSERS, "big_file_threshold_mb", "experiments"})
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"


def _parsed(where: str, key: str, value: Any, parse: Callable[[Any], Any]) -> Any:
    try:
        return parse(value)
    except ValueError as error:
        raise InvalidPolicy(f"{where}.{key}: {error}, not {value!r}") from error
