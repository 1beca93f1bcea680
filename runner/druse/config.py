"""Experiments as folders: config.yaml beside steps.py, datasources.py, outputs.py, verifiers.py."""

from __future__ import annotations

import difflib
import types
from glob import escape
from pathlib import Path
from typing import Any

from druse import modules, parameters, settings
from druse.artifact import Artifact
from druse.datasource import DataSource, ExperimentInput
from druse.errors import ConfigError, ConfigNotFound, DruseError
from druse.experiment import Experiment
from druse.hypotheses import Hypothesis
from druse.pipelines import Pipeline
from druse.plugins import BasePlugin, SeedPlugin
from druse.step import PipelineStep
from druse.treatments import Treatment

FILE = "config.yaml"
_KEYS = (
    "name",
    "description",
    "replicates",
    "seed",
    "datasource",
    "steps",
    "outputs",
    "treatments",
    "hypotheses",
    "cli",
)


# --- finding ---------------------------------------------------------------------------------


def find(path: Path) -> list[Path]:
    """The config.yaml of a file or folder; all of them for a folder of experiments."""
    if path.is_dir():
        own = path / FILE
        if own.is_file():
            return [own]
        found = sorted(p for p in path.glob(f"*/{FILE}") if p.is_file())
        if found:
            return found
        raise ConfigNotFound(
            f"{path} holds no {FILE}, nor folders with one: name an experiment's folder, its "
            f"{FILE}, or the folder of several experiments"
        )
    if not path.exists():
        near = sorted(found.parent for found in Path().glob(f"*/{escape(path.name)}/{FILE}"))
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigNotFound(
            f"{path} does not exist: name an experiment's folder or its {FILE}{hint}"
        )
    return [path]


def load_all(path: Path) -> list[Experiment]:
    """The experiments of a configuration, with all that it refers to, linked by artifacts.

    Raises ConfigError.
    """
    configs = find(path)
    loader = _Loader(configs[0].resolve().parent.parent)
    for config in configs:
        loader.load(config.resolve())
    return loader.linked()


class _Loader:
    """Loads experiments, and those that they refer to, each once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[str, Experiment] = {}

    def load(self, config: Path) -> Experiment:
        experiment = load(config)
        name = experiment.folder_name
        known = self._loaded.get(name)
        if known is not None:
            if known._config != experiment._config:
                raise ConfigError(
                    f"{config} and {known._config} are both called {name!r}: give one another name"
                )
            return known
        self._loaded[name] = experiment
        for artifact in _references(experiment):
            reference = str(artifact._source_experiment)
            if reference not in self._loaded:
                self.load(self._find(reference, config))
        return experiment

    def _find(self, name: str, referring: Path) -> Path:
        """The configuration of an experiment that another one refers to."""
        roots = [self._folder, *_experiment_roots(referring)]
        for root in roots:
            if (root / name / FILE).is_file():
                return (root / name / FILE).resolve()
        for root in roots:
            for config in sorted(root.glob(f"*/{FILE}")):
                if _peek_name(config) == name:
                    return config.resolve()
        near = difflib.get_close_matches(name, [p.parent.name for p in roots[0].glob(f"*/{FILE}")])
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigNotFound(
            f"Experiment '{name}' not found: {referring} refers to it, and {roots[0]} has no "
            f"folder of that name with a {FILE}{hint}"
        )

    def linked(self) -> list[Experiment]:
        """All experiments, their references replaced by what the others write."""
        for experiment in self._loaded.values():
            source = experiment.datasource
            if isinstance(source, ExperimentInput):
                inputs = {k: self._link(experiment, v) for k, v in source._inputs.items()}
                experiment.datasource = ExperimentInput(**inputs)
            else:
                experiment.datasource = self._link(experiment, source)
        return list(self._loaded.values())

    def _link(self, experiment: Experiment, source: DataSource) -> DataSource:
        if not isinstance(source, Artifact) or source._source_experiment is None:
            return source
        producer = self._loaded[source._source_experiment]
        if source.name in producer.outputs:
            return producer.outputs[source.name]
        for artifact in producer.outputs.values():
            if artifact.name == source.name:
                return artifact
        has = ", ".join(sorted(producer.outputs)) or "none"
        raise ConfigError(
            f"{experiment._config} refers to {source._source_experiment}#{source.name}, and "
            f"{source._source_experiment} has no such output (it has: {has})"
        )


def _references(experiment: Experiment) -> list[Artifact]:
    source = experiment.datasource
    sources = list(source._inputs.values()) if isinstance(source, ExperimentInput) else [source]
    return [s for s in sources if isinstance(s, Artifact) and s._source_experiment is not None]


def _experiment_roots(config: Path) -> list[Path]:
    found = []
    for folder in config.parents:
        if folder.name == "experiments":
            found.append(folder)
        elif (folder / "experiments").is_dir():
            found.append(folder / "experiments")
    return found


def _peek_name(config: Path) -> str | None:
    try:
        name = read(config).get("name")
    except ConfigError:
        return None
    return name if isinstance(name, str) else None


def read(config: Path) -> dict[str, Any]:
    """What a config.yaml says. Raises ConfigError."""
    values = settings.read(config, f"the keys {', '.join(_KEYS[:8])}, ...")
    for key in values:
        close = difflib.get_close_matches(str(key), _KEYS, n=1, cutoff=0.8)
        if key not in _KEYS and close:
            raise ConfigError(f"{config}: there is no key {key!r}; did you mean {close[0]!r}?")
    return values


# --- one experiment --------------------------------------------------------------------------


def load(config: Path) -> Experiment:
    """The experiment of a config.yaml, its references not linked yet. Raises ConfigError."""
    if config.is_dir():
        config = config / FILE
    return _Reading(config.resolve()).experiment()


class _Reading:
    """One config.yaml while it is turned into an experiment."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self._folder = config.parent
        self._values = read(config)
        modules.make_importable(Path.cwd(), self._folder.parent)
        self._modules: dict[str, types.ModuleType | None] = {}

    def experiment(self) -> Experiment:
        try:
            return self._experiment()
        except ConfigError:
            raise
        except (DruseError, TypeError) as error:
            raise ConfigError(f"{self._config}: {error}") from error

    def _experiment(self) -> Experiment:
        outputs = self._outputs()
        steps = self._steps(outputs)
        experiment = Experiment(
            datasource=self._datasource(),
            pipeline=Pipeline(steps),
            plugins=self._plugins(),
            description=self._values.get("description"),
            name=str(self._values.get("name", self._folder.name)),
            outputs=outputs,
            treatments=self._treatments(),
            hypotheses=self._hypotheses(),
            replicates=self._replicates(),
        )
        experiment._config = self._config
        return experiment

    def _get(self, stem: str, name: Any, what: str) -> Any:
        if stem not in self._modules:
            self._modules[stem] = modules.load(self._folder, stem)
        return modules.get(self._modules[stem], self._folder, stem, str(name), what)

    def _fail(self, text: str) -> ConfigError:
        return ConfigError(f"{self._config}: {text}")

    def _replicates(self) -> int:
        value = self._values.get("replicates", 1)
        if isinstance(value, str) and value.strip().isdecimal():  # as text: Crystallize takes it
            value = int(value)
        if type(value) is not int or value < 1:
            raise self._fail(f"replicates has to be a whole number from 1, and not {value!r}")
        return value

    def _plugins(self) -> list[BasePlugin] | None:
        if "seed" not in self._values:
            return None
        seed = self._values["seed"]
        if type(seed) is not int:
            raise self._fail(f"seed has to be a whole number, and not {seed!r}")
        return [SeedPlugin(seed=seed)]

    # --- datasources ---------------------------------------------------------------------------

    def _datasource(self) -> DataSource:
        spec = self._values.get("datasource")
        if isinstance(spec, list):
            spec = {key: value for item in spec for key, value in dict(item).items()}
        if not spec:
            raise self._fail(
                "config.yaml must declare at least one datasource: `datasource: {name: function}`"
            )
        if not isinstance(spec, dict):
            raise self._fail("datasource must be a mapping of names to functions or references")
        inputs = {str(alias): self._input(value) for alias, value in spec.items()}
        if len(inputs) == 1:
            only = next(iter(inputs.values()))
            if not (isinstance(only, Artifact) and only._source_experiment):
                return only
        return ExperimentInput(**inputs)

    def _input(self, value: Any) -> DataSource:
        if isinstance(value, str) and "#" in value:
            experiment, _, artifact = value.partition("#")
            reference = Artifact(artifact)
            reference._source_experiment = experiment
            return reference
        name, given = self._called(value, "datasource")
        source = self._get("datasources", name, "datasource")(**given)
        if not isinstance(source, DataSource):
            raise self._fail(f"the datasource {name!r} is not decorated with @data_source")
        return source

    def _called(self, value: Any, what: str) -> tuple[str, dict[str, Any]]:
        """A name, or a mapping of one name to its parameters."""
        if isinstance(value, str):
            return value, {}
        if isinstance(value, dict) and len(value) == 1:
            name, given = next(iter(value.items()))
            if given is None or isinstance(given, dict):
                return str(name), dict(given or {})
        raise self._fail(f"a {what} is a name, or `name: {{parameter: value}}`, and not {value!r}")

    # --- outputs and steps ---------------------------------------------------------------------

    def _outputs(self) -> dict[str, Artifact]:
        spec = self._values.get("outputs") or {}
        if not isinstance(spec, dict):
            raise self._fail("outputs must be a mapping of names to file_name, writer and loader")
        return {str(alias): self._output(str(alias), value or {}) for alias, value in spec.items()}

    def _output(self, alias: str, spec: Any) -> Artifact:
        if not isinstance(spec, dict):
            raise self._fail(f"the output {alias!r} must be a mapping: file_name, writer, loader")
        functions = {
            kind: self._get("outputs", spec[kind], kind) if spec.get(kind) else None
            for kind in ("loader", "writer")
        }
        return Artifact(str(spec.get("file_name") or alias), **functions)

    def _steps(self, outputs: dict[str, Artifact]) -> list[PipelineStep]:
        spec = self._values.get("steps")
        if not isinstance(spec, list) or not spec:
            raise self._fail("steps must be a list of at least one step")
        used: set[str] = set()
        steps = [self._step(each, outputs, used) for each in spec]
        unused = sorted(set(outputs) - used)
        if unused:
            raise self._fail(
                f"Outputs not used in any step: {', '.join(unused)} (a step uses one by a "
                "parameter of that name that is annotated with Artifact)"
            )
        return steps

    def _step(self, spec: Any, outputs: dict[str, Artifact], used: set[str]) -> PipelineStep:
        name, given = self._called(spec, "step")
        factory = self._get("steps", name, "step")
        for parameter in parameters.annotated(factory, Artifact):
            alias = given.get(parameter, parameter)
            if isinstance(alias, str) and alias in outputs:
                given[parameter] = outputs[alias]
                used.add(alias)
            elif parameter in given:
                raise self._fail(
                    f"Output '{alias}' requested by step '{name}' is not in experiment outputs"
                )
        try:
            step = factory(**given)
        except TypeError as error:
            raise self._fail(f"step {name!r}: {error}") from error
        if not isinstance(step, PipelineStep):
            raise self._fail(f"the step {name!r} is not decorated with @pipeline_step()")
        return step

    # --- treatments and hypotheses -------------------------------------------------------------

    def _treatments(self) -> list[Treatment]:
        spec = self._values.get("treatments") or {}
        if not isinstance(spec, dict):
            raise self._fail("Treatments must be specified as a dictionary")
        treatments = []
        for name, values in spec.items():
            if values is not None and not isinstance(values, dict):
                raise self._fail(f"Treatment '{name}' must map to a dictionary")
            treatments.append(Treatment(str(name), dict(values or {})))
        return treatments

    def _hypotheses(self) -> list[Hypothesis]:
        return [self._hypothesis(each) for each in self._values.get("hypotheses") or []]

    def _hypothesis(self, spec: Any) -> Hypothesis:
        if not isinstance(spec, dict) or not spec.get("verifier"):
            raise self._fail("Each hypothesis must specify a 'verifier'.")
        name, given = self._called(spec["verifier"], "verifier")
        verifier = self._get("verifiers", name, "verifier")(**given)
        return Hypothesis(verifier, metrics=spec.get("metrics"), name=spec.get("name"))
