"""Plugins: hooks around an experiment's run; seeding, logging, artifacts."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from druse.errors import DefinitionError

if TYPE_CHECKING:
    from druse.context import FrozenContext
    from druse.experiment import Experiment
    from druse.result import Result
    from druse.step import PipelineStep


class BasePlugin:
    """Hooks, called in the order of the experiment's plugins. Override what is needed.

    The hooks of a cell (`before_replicate`, `before_step`, `after_step`) can change what it
    computes, so their code is part of its key, and they run only when it is executed. A plugin
    that just looks says `observes_only = True`.
    """

    observes_only: ClassVar[bool] = False

    def init_hook(self, experiment: Experiment) -> None:
        """When the experiment is made."""

    def before_run(self, experiment: Experiment) -> None:
        """Before a run, whether cells are executed or not."""

    def before_replicate(self, experiment: Experiment, ctx: FrozenContext) -> None:
        """Before a cell is executed."""

    def before_step(self, experiment: Experiment, step: PipelineStep) -> None:
        """Before each step of a cell."""

    def after_step(
        self, experiment: Experiment, step: PipelineStep, data: Any, ctx: FrozenContext
    ) -> None:
        """After each step of a cell."""

    def on_hit(self, experiment: Experiment, condition: str, replicate: int) -> None:
        """For each cell that was not executed, since its result was there."""

    def after_run(self, experiment: Experiment, result: Result) -> None:
        """After a run."""

    def run_experiment_loop(
        self, experiment: Experiment, replicate_fn: Callable[[int], Any]
    ) -> Any:
        """Calls `replicate_fn` for each replicate that is due. NotImplemented: druse does it."""
        return NotImplemented


def default_seed_function(seed: int) -> None:
    """Seeds `random`, numpy's global generator, and torch's where torch is loaded."""
    from druse.seeds import seed_generators

    seed_generators(seed)


@dataclass
class SeedPlugin(BasePlugin):
    """The root seed, and what it sets.

    Before each step the generators are set from the root seed, the replicate and the step's place,
    the same in all conditions; with `auto_seed=False`, the same in all replicates too. Without a
    seed the root is 0. `seed_fn(seed)` sets other generators instead of the usual ones.
    """

    seed: int | None = None
    auto_seed: bool = True
    seed_fn: Callable[[int], None] | None = None

    @property
    def root(self) -> int:
        return 0 if self.seed is None else self.seed


def show_messages(level: int) -> None:
    """Has the logger `druse` show messages of this level on, where nothing shows any yet."""
    logger = logging.getLogger("druse")
    logger.setLevel(level)
    if not logger.handlers and not logging.getLogger().handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(
            logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s")
        )
        logger.addHandler(handler)


@dataclass
class LoggingPlugin(BasePlugin):
    """Messages of a run to the logger `druse`; with `verbose`, of each step and read too."""

    verbose: bool = False
    log_level: str = "INFO"

    observes_only: ClassVar[bool] = True

    def before_run(self, experiment: Experiment) -> None:
        show_messages(getattr(logging, self.log_level.upper(), logging.INFO))
        logging.getLogger("druse").info(
            "Experiment: %d replicates, %d treatments, %d hypotheses (seed=%s)",
            experiment.replicates,
            len(experiment.treatments),
            len(experiment.hypotheses),
            experiment.seed_plugin.root,
        )
        self._started = time.perf_counter()

    def after_step(
        self, experiment: Experiment, step: PipelineStep, data: Any, ctx: FrozenContext
    ) -> None:
        if self.verbose:
            logging.getLogger("druse").info(
                "Rep %s/%s %s finished step %s",
                ctx._data.get("replicate", 0) + 1,
                max(experiment.replicates, ctx._data.get("replicate", 0) + 1),  # one tried alone
                ctx._data.get("condition"),
                type(step).__name__,
            )

    def after_run(self, experiment: Experiment, result: Result) -> None:
        logging.getLogger("druse").info(
            "Completed in %.1fs | %d errors",
            time.perf_counter() - getattr(self, "_started", time.perf_counter()),
            len(result.errors),
        )


@dataclass
class ArtifactPlugin(BasePlugin):
    """Where runs are exported to, and how long their artifacts are kept.

    `versioned` gives each run a folder of its own; without it the folder v0 is replaced (the store
    keeps every run all the same). The newest run is kept whole, the `artifact_retention` newest
    without artifacts over `big_file_threshold_mb`, older ones by their metrics; 0 keeps all.
    """

    root_dir: str = "data"
    versioned: bool = False
    artifact_retention: int = 3
    big_file_threshold_mb: int = 10

    observes_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.artifact_retention = _from_environment(
            "ARTIFACT_RETENTION", self.artifact_retention, default=3
        )
        self.big_file_threshold_mb = _from_environment(
            "BIG_FILE_THRESHOLD_MB", self.big_file_threshold_mb, default=10
        )
        threshold = self.big_file_threshold_mb
        if threshold < 0:
            raise DefinitionError(
                f"ArtifactPlugin: big_file_threshold_mb is not negative: {threshold}"
            )
        self.version: int | None = None


def _from_environment(name: str, value: int, *, default: int) -> int:
    """What DRUSE_<name> (or Crystallize's variable) says, where the code left the default."""
    if type(value) is not int:
        raise DefinitionError(f"ArtifactPlugin: {name.lower()} is a whole number, not {value!r}")
    if value != default:
        return value
    for variable in (f"DRUSE_{name}", f"CRYSTALLIZE_{name}"):
        text = os.environ.get(variable, "").strip()
        if text:
            try:
                return int(text)
            except ValueError:
                raise DefinitionError(f"{variable} is a whole number, not {text!r}") from None
    return default


BUILT_IN: tuple[type[BasePlugin], ...] = (SeedPlugin, LoggingPlugin, ArtifactPlugin)
