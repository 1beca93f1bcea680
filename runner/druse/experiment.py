"""Experiments: a datasource, a pipeline, treatments and replicates; and running one alone."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from druse import names
from druse.artifact import Artifact
from druse.background import in_thread
from druse.datasource import DataSource, ExperimentInput, as_source
from druse.errors import ArtifactNotFound, DefinitionError, ValidationError
from druse.names import BASELINE
from druse.pipelines import Pipeline
from druse.plugins import ArtifactPlugin, BasePlugin, LoggingPlugin, SeedPlugin
from druse.stored import StoredArtifact
from druse.treatments import Treatment

if TYPE_CHECKING:
    from druse.control import Wishes
    from druse.hypotheses import Hypothesis
    from druse.result import Result
    from druse.session import Wanted

STRATEGIES = ("rerun", "resume")
_Plugin = TypeVar("_Plugin", bound=BasePlugin)


class Experiment:
    """What is to be computed, for a baseline and treatments, so many replicates each."""

    strategy: str = "rerun"

    def __init__(
        self,
        datasource: DataSource | Callable[..., Any],
        pipeline: Pipeline,
        plugins: list[BasePlugin] | None = None,
        *,
        description: str | None = None,
        name: str | None = None,
        initial_ctx: Mapping[str, Any] | None = None,
        outputs: Sequence[Artifact] | Mapping[str, Artifact] | None = None,
        treatments: list[Treatment] | None = None,
        hypotheses: list[Hypothesis] | None = None,
        replicates: int = 1,
    ) -> None:
        check_replicates(replicates)
        if name is not None:
            names.check(name, "an experiment")
        self.datasource = as_source(datasource)
        self.pipeline = pipeline
        self.name = name
        self.description = description
        self.initial_ctx = dict(initial_ctx or {})
        self._due: Wanted | None = None
        self.treatments = listed(treatments or [])
        self.hypotheses = list(hypotheses or [])
        self.replicates = replicates
        self.outputs = self._own(outputs or [])
        self.plugins = list(plugins or [])
        self._add_default_plugins()
        self._config: Path | None = None
        for plugin in self.plugins:
            plugin.init_hook(self)

    def _own(self, outputs: Sequence[Artifact] | Mapping[str, Artifact]) -> dict[str, Artifact]:
        by_name = dict(outputs) if isinstance(outputs, Mapping) else {a.name: a for a in outputs}
        for artifact in by_name.values():
            artifact._producer = self
        names.check_distinct((a.name for a in by_name.values()), "outputs")
        return by_name

    def _add_default_plugins(self) -> None:
        for kind in (ArtifactPlugin, SeedPlugin, LoggingPlugin):
            if self.get_plugin(kind) is None:
                self.plugins.append(kind())

    def get_plugin(self, plugin_class: type[_Plugin]) -> _Plugin | None:
        """The first plugin of this class."""
        return next((p for p in self.plugins if isinstance(p, plugin_class)), None)

    # While it runs, an experiment shows what that run has to compute.

    @property
    def treatments(self) -> list[Treatment]:
        if self._due is not None:
            return [t for t in self._due.treatments if t.name != BASELINE]
        return self._treatments

    @treatments.setter
    def treatments(self, value: list[Treatment]) -> None:
        self._treatments = value

    @property
    def hypotheses(self) -> list[Hypothesis]:
        due = self._due.hypotheses if self._due is not None else None
        return self._hypotheses if due is None else due

    @hypotheses.setter
    def hypotheses(self, value: list[Hypothesis]) -> None:
        self._hypotheses = value

    @property
    def replicates(self) -> int:
        return self._replicates if self._due is None else self._due.replicates

    @replicates.setter
    def replicates(self, value: int) -> None:
        self._replicates = value

    @property
    def seed_plugin(self) -> SeedPlugin:
        return self.get_plugin(SeedPlugin) or SeedPlugin()

    @property
    def artifact_plugin(self) -> ArtifactPlugin:
        return self.get_plugin(ArtifactPlugin) or ArtifactPlugin()

    @property
    def folder_name(self) -> str:
        """The experiment's name in the store and in views: its name, else one from its steps."""
        return self.name or self.id

    @property
    def id(self) -> str:
        """16 hexadecimal digits that follow from the steps' names and parameters."""
        from druse_store import Digest

        return Digest.of(self.pipeline.signature().encode("utf-8", "surrogatepass")).hex()[:16]

    @property
    def source_folder(self) -> Path:
        """The folder of the configuration, or of the first step's code."""
        if self._config is not None:
            return self._config.parent
        step = self.pipeline.steps[0]
        try:
            file = inspect.getsourcefile(getattr(step, "fn", type(step)))
        except TypeError:
            file = None
        if file is not None and Path(file).is_file():
            return Path(file).parent
        return Path.cwd()

    def due_replicates(self) -> int:
        """How many replicates a run has unless it is told otherwise."""
        return max(1, self.replicates)

    def validate(self) -> None:
        """Raises ValidationError, DefinitionError for parts that do not fit together."""
        if not isinstance(self.datasource, DataSource) or not isinstance(self.pipeline, Pipeline):
            raise ValidationError("Experiment requires datasource and pipeline")
        if isinstance(self.datasource, ExperimentInput):
            _ = self.datasource.replicates
        names.check_distinct((t.name for t in self.treatments), "treatments")

    def check_hypotheses(
        self, treatments: list[Treatment], hypotheses: list[Hypothesis] | None = None
    ) -> None:
        """Raises DefinitionError for hypotheses that have nothing to compare the baseline with."""
        stated = self.hypotheses if hypotheses is None else hypotheses
        if stated and all(t.name == BASELINE for t in treatments):
            raise DefinitionError("Cannot verify hypotheses without treatments")

    # --- running -------------------------------------------------------------------------------

    def run(
        self,
        *,
        treatments: list[Treatment] | None = None,
        hypotheses: list[Hypothesis] | None = None,
        replicates: int | None = None,
        strategy: str | None = None,
        **wishes: Unpack[Wishes],
    ) -> Result:
        """Runs the experiment; `wishes`: see `Control`.

        In a running event loop (Jupyter), `await arun()` instead.
        """
        refuse_in_loop("experiment")
        return self._run(treatments, hypotheses, replicates, strategy, wishes)

    async def arun(
        self,
        *,
        treatments: list[Treatment] | None = None,
        hypotheses: list[Hypothesis] | None = None,
        replicates: int | None = None,
        strategy: str | None = None,
        **wishes: Unpack[Wishes],
    ) -> Result:
        """As `run`, in a thread, so that the loop goes on meanwhile; stops when it is cancelled."""
        return await in_thread(self._run, treatments, hypotheses, replicates, strategy, wishes)

    def _run(
        self,
        treatments: list[Treatment] | None,
        hypotheses: list[Hypothesis] | None,
        replicates: int | None,
        strategy: str | None,
        wishes: Wishes,
    ) -> Result:
        from druse import api
        from druse.session import Wanted

        check_replicates(replicates)
        self.validate()
        due = self.treatments if treatments is None else listed(treatments)
        count = replicates or getattr(self.datasource, "replicates", None) or self.replicates
        wanted = Wanted(self, due, max(1, count), hypotheses)
        self.check_hypotheses(due, hypotheses)
        chosen = strategy or self.strategy
        return api.run([wanted], strategy=chosen, **wishes)[self.folder_name]

    def apply(
        self, treatment: Treatment | None = None, *, data: Any = None, seed: int | None = None
    ) -> Any:
        """Runs the pipeline once, outside of the store; returns what its last step gave.

        `data` stands in for the datasource's, `seed` for the root seed. Raises what steps raise.
        """
        from druse import trial

        return trial.apply(self, treatment, data=data, seed=seed)

    def debug(
        self, treatment: str | Treatment | None = None, *, verbose: bool = True, replicate: int = 0
    ) -> Result:
        """Runs one replicate of the baseline (and of a treatment, by itself or its name), here and
        now, outside of the store: an error is raised where it arises, for a debugger to look at.

        `verbose` logs every step, and what it reads. Hypotheses are left out.
        """
        from druse import trial

        return trial.debug(self, treatment, replicate, verbose)

    def artifact_datasource(
        self,
        step: str,
        name: str = "data.json",
        condition: str = BASELINE,
        *,
        require_metadata: bool = False,
    ) -> DataSource:
        """A datasource of the path of an artifact of this experiment's latest run.

        With `require_metadata`, raises ArtifactNotFound at once where there is no run.
        """
        from druse import location

        replicates = self.due_replicates()
        path = location.store_path()
        run = None
        if (path / "format").exists():
            with location.open_store(path, read_only=True) as store:
                run = store.run(self.folder_name)
        if run is not None and isinstance(run.info.get("replicates"), int):
            replicates = int(run.info["replicates"])  # type: ignore[arg-type]
        if run is None and require_metadata:
            raise ArtifactNotFound(
                f"Metadata missing: {self.folder_name} has no run in the store at {path}. Run it "
                "first"
            )
        return StoredArtifact(self.folder_name, step, name, condition, replicates)

    @classmethod
    def from_yaml(cls, config_path: str | Path) -> Experiment:
        """The experiment of a folder's config.yaml. Raises ConfigError."""
        from druse import config

        return config.load(Path(config_path))

    def __repr__(self) -> str:
        return f"Experiment({self.folder_name!r}, {len(self.pipeline.steps)} steps)"


def check_replicates(value: object) -> None:
    """Raises TypeError."""
    if value is not None and type(value) is not int:
        raise TypeError(f"replicates must be an integer, but got {type(value).__name__}")


def listed(treatments: Iterable[Treatment]) -> list[Treatment]:
    """Raises DefinitionError for anything else."""
    found = list(treatments)
    for each in found:
        if not isinstance(each, Treatment):
            raise DefinitionError(
                "treatments have to be a list of what Treatment('name', {'key': 1}) makes, "
                f"and not of {each!r}"
            )
    return found


def refuse_in_loop(what: str) -> None:
    """Raises RuntimeError where an event loop runs: a blocking call would stop it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(
        "An asyncio event loop is already running (likely Jupyter). Please use "
        f"'await {what}.arun(...)' instead of '{what}.run(...)'."
    )
