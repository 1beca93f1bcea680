"""Druse: experiments whose results are kept, found again and shared.

The public names are Crystallize's. They are imported when first used, so that importing the
package costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from druse.artifact import Artifact
    from druse.context import FrozenContext, standalone_context
    from druse.datasource import (
        DataSource,
        ExperimentInput,
        data_source,
        get_datasource,
        list_datasources,
        register_datasource,
    )
    from druse.declare import EnvVar, InputFile
    from druse.errors import DruseError
    from druse.execution import (
        AsyncExecution,
        DaskExecution,
        ParallelExecution,
        SerialExecution,
    )
    from druse.experiment import Experiment
    from druse.graph import ExperimentGraph
    from druse.hypotheses import Hypothesis, hypothesis, verifier
    from druse.inject import inject_from_ctx, resource_factory
    from druse.pipelines import Pipeline, pipeline
    from druse.plugins import ArtifactPlugin, BasePlugin, LoggingPlugin, SeedPlugin
    from druse.quick import quick_experiment
    from druse.result import Result
    from druse.step import PipelineStep, pipeline_step
    from druse.treatments import Treatment, treatment

_HOMES = {
    "artifact": ("Artifact",),
    "context": ("FrozenContext", "standalone_context"),
    "datasource": (
        "DataSource",
        "ExperimentInput",
        "data_source",
        "get_datasource",
        "list_datasources",
        "register_datasource",
    ),
    "declare": ("EnvVar", "InputFile"),
    "errors": ("DruseError",),
    "execution": ("AsyncExecution", "DaskExecution", "ParallelExecution", "SerialExecution"),
    "experiment": ("Experiment",),
    "graph": ("ExperimentGraph",),
    "hypotheses": ("Hypothesis", "hypothesis", "verifier"),
    "inject": ("inject_from_ctx", "resource_factory"),
    "pipelines": ("Pipeline", "pipeline"),
    "plugins": ("ArtifactPlugin", "BasePlugin", "LoggingPlugin", "SeedPlugin"),
    "quick": ("quick_experiment",),
    "result": ("Result",),
    "step": ("PipelineStep", "pipeline_step"),
    "treatments": ("Treatment", "treatment"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Artifact",
    "ArtifactPlugin",
    "AsyncExecution",
    "BasePlugin",
    "DaskExecution",
    "DataSource",
    "DruseError",
    "EnvVar",
    "Experiment",
    "ExperimentGraph",
    "ExperimentInput",
    "FrozenContext",
    "Hypothesis",
    "InputFile",
    "LoggingPlugin",
    "ParallelExecution",
    "Pipeline",
    "PipelineStep",
    "Result",
    "SeedPlugin",
    "SerialExecution",
    "Treatment",
    "data_source",
    "get_datasource",
    "hypothesis",
    "inject_from_ctx",
    "list_datasources",
    "pipeline",
    "pipeline_step",
    "quick_experiment",
    "register_datasource",
    "resource_factory",
    "standalone_context",
    "treatment",
    "verifier",
]


def __getattr__(name: str) -> Any:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import_module(f"{__name__}.imports").install()  # what the user imports from here on
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
