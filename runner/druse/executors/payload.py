"""An experiment as it is sent to other processes: once to each, with what its plan found out."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from druse.errors import NotPicklable
from druse.key import Part
from druse.plugins import ArtifactPlugin, SeedPlugin
from druse.setups import has_part_in_cells

if TYPE_CHECKING:
    from druse.experiment import Experiment
    from druse.prepared import Prepared


def pack(prepared: Prepared, changed: Iterable[ModuleType] = ()) -> bytes:
    """Raises NotPicklable. `changed`: modules that cannot be imported as they are here."""
    import cloudpickle

    by_value = list(changed)
    for module in by_value:
        cloudpickle.register_pickle_by_value(module)
    try:
        packed: bytes = cloudpickle.dumps(_lean(prepared))
    except Exception as error:
        raise _not_picklable(prepared, error) from error
    finally:
        for module in by_value:
            cloudpickle.unregister_pickle_by_value(module)
    return packed


def _not_picklable(prepared: Prepared, error: Exception) -> NotPicklable:
    return NotPicklable(
        f"Failed to pickle experiment {prepared.name!r}, so it cannot be sent to another process: "
        f"{type(error).__name__}: {error}. Pipeline steps: {', '.join(prepared.step_names)}. What "
        "cannot be pickled (an open file, a lock, a connection) belongs into a function that "
        "resource_factory(...) wraps: each process makes its own then"
    )


def _lean(prepared: Prepared) -> Prepared:
    """What workers need, with every digest that is known already."""
    lean = copy.copy(prepared)
    _ = lean.start, lean.table, lean.uncacheable, lean.volatile, lean.step_names
    lean.__dict__.pop("manifest", None)
    lean.experiment = _lean_experiment(prepared.experiment)
    lean.treatments = []
    lean.parts = [Part(p.label, p.digests, [], p.uncacheable) for p in prepared.parts]
    lean.conditions = {name: each.lean() for name, each in prepared.conditions.items()}
    return lean


def _lean_experiment(experiment: Experiment) -> Experiment:
    """Without what takes no part in cells: verifiers, and plugins that only look on."""
    lean = copy.copy(experiment)
    lean._due = None
    lean.treatments, lean.replicates = experiment.treatments, experiment.replicates
    lean.hypotheses = []
    lean.plugins = [
        plugin
        for plugin in experiment.plugins
        if isinstance(plugin, SeedPlugin | ArtifactPlugin) or has_part_in_cells(plugin)
    ]
    return lean


def unpack(packed: bytes) -> Prepared:
    """In a worker. Raises whatever importing the user's code does."""
    import cloudpickle

    prepared: Prepared = cloudpickle.loads(packed)
    _provide_main(prepared)
    return prepared


def _provide_main(prepared: Prepared) -> None:
    """Puts what the user's script defines where pickles look for it: into `__main__`."""
    main = vars(sys.modules["__main__"])
    for function in _functions(prepared):
        if function.__module__ == "__main__" and function.__globals__ is not main:
            for name, value in list(function.__globals__.items()):
                if not name.startswith("__"):
                    main[name] = value


def _functions(prepared: Prepared) -> Iterable[FunctionType]:
    experiment = prepared.experiment
    things: list[Any] = [experiment.datasource, *prepared.steps, *experiment.plugins]
    things += getattr(experiment.datasource, "_inputs", {}).values()
    for thing in things:
        members = [getattr(type(thing), "fn", None), *vars(type(thing)).values()]
        members += [getattr(thing, name, None) for name in ("loader", "writer")]
        for member in members:
            found = getattr(member, "__wrapped__", member)
            if isinstance(found, FunctionType):
                yield found
