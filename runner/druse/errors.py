"""Every error that the runner raises on purpose, under one base.

Where Crystallize raises a ValueError or a TypeError, ours is one too, so that callers who moved
from it catch what they used to catch.
"""

from __future__ import annotations

import traceback


class DruseError(Exception):
    """The base of everything that the runner raises on purpose."""


# --- what was defined ------------------------------------------------------------------------


class DefinitionError(DruseError, ValueError):
    """An experiment, graph, step or treatment that cannot be run as it was defined."""


class ConfigError(DefinitionError):
    """A configuration file that cannot be used: which one, what in it, what to do."""


class ConfigNotFound(ConfigError, FileNotFoundError):
    """A configuration file, or what it names, is not there."""


class InvalidName(DefinitionError):
    """A name that cannot become a folder's."""


class ParameterError(DruseError, TypeError):
    """A step or datasource was called with parameters that it does not take, or without some."""


class ValidationError(DruseError, ValueError):
    """An experiment's parts do not fit together."""


# --- keys ------------------------------------------------------------------------------------


class Unhashable(DruseError, TypeError):
    """A value that counts for a key has no canonical form; the message names its path."""

    def __init__(self, path: str, kind: str) -> None:
        super().__init__(
            f"{path}: {kind} cannot be part of a key. Pass plain data instead, make it inside the "
            "step, or wrap what makes it in resource_factory(...)"
        )
        self.path = path
        self.kind = kind

    def __reduce__(self) -> tuple[type[Unhashable], tuple[str, str]]:
        return type(self), (self.path, self.kind)


# --- while cells run -------------------------------------------------------------------------


class Blocked(DruseError):
    """A cell was not executed, since one that it needs failed."""


class CellTimeout(DruseError, TimeoutError):
    """A cell took longer than it was allowed to."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the cell took longer than the {seconds:g} s that it had")
        self.seconds = seconds

    def __reduce__(self) -> tuple[type[CellTimeout], tuple[float]]:
        return type(self), (self.seconds,)


class WorkerDied(DruseError):
    """The process that executed a cell is gone."""


class ExecutorLost(DruseError):
    """What executes cells cannot be had any more; what had finished is kept."""


class NotPicklable(DruseError, RuntimeError):
    """An experiment cannot be sent to another process."""


class ContextMutationError(DruseError):
    """A key of the context, or an artifact of the cell, was to be written a second time."""


class PipelineExecutionError(DruseError):
    """A step failed. `traceback_str` is its whole traceback."""

    def __init__(self, step_name: str, original_exception: BaseException | str) -> None:
        super().__init__(f"Step '{step_name}' failed: {original_exception}")
        self.step_name = step_name
        self.original_exception = original_exception
        self.traceback_str = ""
        self.replicate: int | None = None
        self.condition: str | None = None

    def __reduce__(self) -> tuple[type[PipelineExecutionError], tuple[str, str]]:
        return type(self), (self.step_name, str(self.original_exception))


class InputChanged(DruseError):
    """A step changed in place what it was given; found only where a run is asked to check."""


class ArtifactNotFound(DruseError, FileNotFoundError):
    """An artifact was asked for that no run has, or whose bytes are gone."""


class InvalidMetric(DruseError, TypeError):
    """A metric's value is not plain data."""


class MissingMetricError(DruseError):
    """A hypothesis needs a metric that the results do not have."""

    def __init__(self, metric: str) -> None:
        super().__init__(f"Required metric '{metric}' missing from pipeline output.")
        self.metric = metric

    def __reduce__(self) -> tuple[type[MissingMetricError], tuple[str]]:
        return type(self), (self.metric,)


class RunNotFound(DruseError, LookupError):
    """No run of this name is in the store."""


def traceback_of(error: BaseException) -> str:
    """The traceback from the user's code on: the runner's own frames say nothing to them."""
    trace = error.__traceback__
    while trace is not None and _is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    kept = trace if trace is not None else error.__traceback__
    return "".join(traceback.format_exception(type(error), error, kept))


_HERE = __file__.rpartition("/")[0]


def _is_ours(filename: str) -> bool:
    return filename.startswith(_HERE)
