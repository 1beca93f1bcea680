"""druse.yaml: what a project's runs have in common. It lies at the project's root, or nowhere.

    views: full            # or: metrics, none - what a run exports by itself
    packages: used         # or: ignore - whether the versions of used packages count
    remote: team           # the remote that is used unless a command names another one
    remote_timeouts:       # seconds, see TIMEOUTS
      request: 30
    retention:             # how long runs are kept (druse gc)
      keep_last: 5

What is not understood is an error: a setting with a typo would otherwise be one that is not there.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from druse.errors import ConfigError

FILE = "druse.yaml"
VIEWS = ("full", "metrics", "none")
PACKAGES = ("used", "ignore")
TIMEOUTS = ("request", "patience", "first", "total")
"""For one answer; for a server that was there; for one that was not heard of; for one operation of
a run in all."""
_KEYS = ("packages", "remote", "remote_timeouts", "retention", "views")


class Section:
    """A mapping within druse.yaml. Whatever it is asked for raises ConfigError, with the place."""

    def __init__(self, file: Path, name: str, values: Mapping[str, Any]) -> None:
        self._file = file
        self._name = name
        self._values = values

    def fail(self, key: str, problem: str) -> ConfigError:
        """The error about one of its settings."""
        place = f"{self._name}.{key}" if self._name else key
        return ConfigError(f"{self._file}: {place} {problem}")

    def allow(self, *known: str) -> None:
        """Raises ConfigError for a key that is none of these."""
        for key in self._values:
            if key not in known:
                close = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
                raise self.fail(str(key), f"is not a setting ({hint})")

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def get(self, key: str) -> Any:
        """What was written; None where nothing was."""
        return self._values.get(key)

    def text(self, key: str) -> str | None:
        value = self.get(key)
        if value is None or (isinstance(value, str) and value):
            return value
        raise self.fail(key, f"has to be text, and not {value!r}")

    def choice(self, key: str, options: tuple[str, ...]) -> str | None:
        """One of a few words."""
        value = self.get(key)
        if value is False and "none" in options:  # YAML 1.1 reads `no` and `off` so
            return "none"
        if value is None or value in options:
            return value  # type: ignore[no-any-return]
        raise self.fail(key, f"has to be one of {', '.join(options)}, and not {value!r}")

    def whole(self, key: str, *, least: int = 0) -> int | None:
        """A whole number."""
        value = self.get(key)
        if value is None or (type(value) is int and value >= least):
            return value
        raise self.fail(key, f"has to be a whole number from {least}, and not {value!r}")

    def seconds(self, key: str) -> float | None:
        """A length of time."""
        value = self.get(key)
        if value is None:
            return None
        if type(value) in (int, float) and 0 < value < float("inf"):
            return float(value)
        raise self.fail(key, f"has to be a number of seconds above 0, and not {value!r}")

    def section(self, key: str) -> Section:
        """The mapping below a key; an empty one where there is none."""
        value = self.get(key)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise self.fail(key, f"has to be a mapping of settings, and not {value!r}")
        name = f"{self._name}.{key}" if self._name else key
        return Section(self._file, name, value)


@dataclass(frozen=True)
class Project:
    """What druse.yaml says. `file` is None where there is none; then everything is as usual."""

    file: Path | None
    views: str
    packages: str
    remote: str | None
    remote_timeouts: Mapping[str, float]
    retention: Section


def find(start: Path) -> Path | None:
    """The druse.yaml of the nearest folder upward that has one."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / FILE).is_file():
            return folder / FILE
    return None


def load(start: Path) -> Project:
    """The project that a folder belongs to. Raises ConfigError."""
    file = find(start)
    top = Section(file or start / FILE, "", {} if file is None else _read(file))
    top.allow(*_KEYS)
    timeouts = top.section("remote_timeouts")
    timeouts.allow(*TIMEOUTS)
    seconds = {name: timeouts.seconds(name) for name in timeouts}
    return Project(
        file=file,
        views=top.choice("views", VIEWS) or "full",
        packages=top.choice("packages", PACKAGES) or "used",
        remote=top.text("remote"),
        remote_timeouts={name: value for name, value in seconds.items() if value is not None},
        retention=top.section("retention"),
    )


def _read(file: Path) -> Mapping[str, Any]:
    from druse import settings  # most projects have no such file

    return settings.read(file, f"the settings {', '.join(_KEYS)}")
