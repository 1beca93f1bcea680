"""Which executor: the one that an experiment's plugins ask for, or one for the whole run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from druse.errors import DefinitionError
from druse.executors.spec import Spec

if TYPE_CHECKING:
    from druse.experiment import Experiment


@dataclass(frozen=True)
class Choice:
    """Where an experiment's cells are executed, for how long at most, and how often again."""

    spec: Spec
    timeout: float | None = None
    retries: int = 0


def choose(
    experiments: Iterable[Experiment],
    override: Spec | None = None,
    timeout: float | None = None,
    retries: int | None = None,
) -> Mapping[str, Choice]:
    """The choice for each experiment by name. Raises DefinitionError."""
    return {each.folder_name: _choice(each, override, timeout, retries) for each in experiments}


def _choice(
    experiment: Experiment, override: Spec | None, timeout: float | None, retries: int | None
) -> Choice:
    from druse import execution

    plugin = execution.of(experiment)
    spec = execution.spec_of(plugin, experiment) if override is None else override
    limit = timeout if timeout is not None else getattr(plugin, "timeout", None)
    again = retries if retries is not None else getattr(plugin, "retries", 0)
    if limit is not None and not limit > 0:
        raise DefinitionError(f"a timeout has to be a number of seconds above 0, and not {limit!r}")
    if type(again) is not int or again < 0:
        raise DefinitionError(f"retries has to be a whole number from 0, and not {again!r}")
    if spec.kind == "serial" and limit is not None:
        # A cell in the run's own thread cannot be given up.
        spec = Spec("thread", 1)
    return Choice(spec, limit, again)
